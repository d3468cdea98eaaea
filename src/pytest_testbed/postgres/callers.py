"""Which line of the application a call comes from, found from the frames above it, at little cost."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType

__all__ = ["OURS", "Place", "place_of", "shown"]

Place = tuple[CodeType, int]
"""A function's code, and a line in it."""

OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
STANDARD_LIBRARY = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_LIBRARY, _APPLICATION, _OURS = range(3)
_kinds: dict[str, int] = {}  # by file name: most frames of a run are of a few hundred files


class _Ours:
    """Stands for a call that this plugin makes for itself."""


OURS = _Ours()


def _kind(filename: str) -> int:
    if filename.startswith(OWN_FOLDER):
        kind = _OURS
    elif filename.startswith(("<", *STANDARD_LIBRARY)) or any(part in filename for part in LIBRARIES):
        kind = _LIBRARY
    else:
        kind = _APPLICATION
    _kinds[filename] = kind
    return kind


def place_of(frame: FrameType | None) -> Place | _Ours | None:
    """Find the innermost line that is of no library.

    Args:
        frame: where to begin; the search goes outwards, and on through greenlets that wait for this one.

    Returns:
        The place; `OURS` where a file of this plugin comes first; None where there are libraries alone.
    """
    found = _first(frame)
    if found is None and "greenlet" in sys.modules:
        for waiting in _waiting_frames():
            if (found := _first(waiting)) is not None:
                break
    return found


def _first(frame: FrameType | None) -> Place | _Ours | None:
    while frame is not None:
        code = frame.f_code
        filename = code.co_filename
        kind = _kinds.get(filename)
        if kind is None:
            kind = _kind(filename)
        if kind:
            return (code, frame.f_lineno or 0) if kind == _APPLICATION else OURS
        frame = frame.f_back
    return None


def _waiting_frames() -> Iterator[FrameType | None]:
    """Yield where the greenlets stand that wait for the running one: with asyncio, the coroutine that awaits it."""
    waiting = sys.modules["greenlet"].getcurrent().parent
    while waiting is not None:
        yield waiting.gr_frame
        waiting = waiting.parent


def shown(place: Place | None, root: str) -> str:
    """Return a place as people read it, such as "shop/orders.py:41 in place_order"; "" for none.

    Args:
        place: the place.
        root: the directory that is left out of its path.
    """
    if place is None:
        return ""
    code, line = place
    path = code.co_filename
    if root and path.startswith(root.rstrip(os.sep) + os.sep):
        path = path[len(root.rstrip(os.sep)) + 1 :]
    return f"{path}:{line} in {code.co_name}"
