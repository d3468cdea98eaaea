"""JSON values compared with a part that somebody wants of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["differences", "holds"]


def holds(whole: Any, part: Any) -> bool:
    """Tell whether a JSON value has all that a part says: keys of objects; lists must be equally long, item by item."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(key in whole and holds(whole[key], value) for key, value in part.items())
    if isinstance(part, list | tuple):
        return isinstance(whole, list) and len(whole) == len(part) and all(holds(a, b) for a, b in zip(whole, part, strict=True))
    if (isinstance(whole, bool) and _is_number(part)) or (_is_number(whole) and isinstance(part, bool)):
        return False  # to Python, True is 1
    return bool(whole == part)  # so that an enum's text, `mock.ANY` and `pytest.approx` may stand there as well


def _is_number(value: object) -> bool:
    """Tell whether a value is a number of JSON, which makes no difference between 1 and 1.0."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def plainly(path: str, value: object) -> str:
    """Return a value as it is."""
    return repr(value)


def differences(whole: Any, part: Any, path: str = "", shown: Callable[[str, Any], str] = plainly) -> Iterator[str]:
    """Yield a line for each value of a JSON body that is not as wanted; `shown` makes its text, by its path."""
    if isinstance(part, Mapping) and isinstance(whole, Mapping):
        for key, value in part.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in whole:
                yield f"{here} is missing"
            else:
                yield from differences(whole[key], value, here, shown)
    elif not holds(whole, part):
        yield f"{path or 'the body'} is {shown(path, whole)}, not {shown(path, part)}"
