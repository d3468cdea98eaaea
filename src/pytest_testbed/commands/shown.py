"""Ages, sizes, tables and other people's words as people read them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..services.model import masked

__all__ = ["age", "bytes_of", "home_short", "printable", "size", "table", "without_passwords"]


def age(seconds: float) -> str:
    """Return 12 s, 3 min, 2 h or 5 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{int(max(seconds, 0))} s"


def size(number: int | None) -> str:
    """Return 512 B, 12 kB, 3.4 MB; "-" for what is not known."""
    if number is None:
        return "-"
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"


def bytes_of(path: Path) -> int:
    """Return how many bytes lie in a file, or in a directory and below; links are not followed."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
    except OSError:
        return 0
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_size
            except OSError:
                continue  # removed meanwhile
    return total


def home_short(path: str) -> str:
    """Return a path with `~` for the user's home."""
    home = os.path.expanduser("~").rstrip("/")
    return "~" + path.removeprefix(home) if home and (path == home or path.startswith(home + "/")) else path


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns, with two spaces between them."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def without_passwords(text: str) -> str:
    """Return somebody else's words, such as an error's, with the passwords of the addresses in them masked."""
    return re.sub(r"\S*://\S*", lambda word: masked(word[0]), text)


def printable(text: str, encoding: str | None) -> str:
    """Return a text as a stream of this encoding can take it: it may know ASCII alone, and a file's name may be no text."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        plain = text.translate({ord("–"): "-", ord("→"): ">", ord("…"): "..."})
        return plain.encode(encoding, "replace").decode(encoding)
    return text
