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

OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
HANDED_ON = (f"{OWN_FOLDER}factories{os.sep}",)
"""Files of ours that stand between a test and a library, and send nothing of their own."""
STANDARD_LIBRARY = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
LIBRARIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_libraries: set[str] = set()  # files: nearly all frames of a run are of a few hundred
_ours: dict[str, bool] = {}  # whether a file that is of no library is this plugin's


class _Ours:
    """Stands for a call that this plugin makes for itself."""


OURS = _Ours()


def _is_library(filename: str) -> bool:
    """Tell whether a file is a library's, and remember it."""
    if filename.startswith(OWN_FOLDER) and not filename.startswith(HANDED_ON):
        _ours[filename] = True
    elif filename.startswith(("<", *HANDED_ON, *STANDARD_LIBRARY)) or any(part in filename for part in LIBRARIES):
        _libraries.add(filename)
        return True
    else:
        _ours[filename] = False
    return False


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
    libraries = _libraries
    while frame is not None:  # some thirty times for each statement of an ORM: no call, one look
        if (filename := frame.f_code.co_filename) not in libraries and (filename in _ours or not _is_library(filename)):
            return OURS if _ours[filename] else (frame.f_code, frame.f_lineno or 0)
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
