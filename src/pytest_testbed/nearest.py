"""The nearest of the names that there are, for errors about one that there is not."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["suggestion"]


def suggestion(word: object, words: Iterable[str], skip: int = 0, cutoff: float = 0.6) -> str:
    """Return "; did you mean 'x'?" or ""; the first `skip` letters, which all have, do not count."""
    from difflib import get_close_matches

    stems = {each[skip:].lower(): each for each in words}
    near = get_close_matches(str(word)[skip:].lower(), stems, 1, cutoff)
    return f"; did you mean {stems[near[0]]!r}?" if near else ""
