"""What is suggested: lines of the ini file, and what is to be done beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .tree import Place

__all__ = ["Advice", "Entry", "Line", "places"]


@dataclass
class Entry:
    """One entry of a list, or the value of a text.

    Attributes:
        text: as it stands in the ini file.
        reason: why, with places.
        is_active: whether it counts; else it is shown as a comment.
    """

    text: str
    reason: str
    is_active: bool = True


@dataclass
class Line:
    """One key of the ini file with its entries, and what is to be known of all of them."""

    key: str
    entries: list[Entry] = field(default_factory=list)
    is_list: bool = True
    note: str = ""


@dataclass
class Advice:
    """All that is suggested.

    Attributes:
        lines: by their keys, in the order in which they are shown.
        extras: the package's extras that are needed, with reasons.
        packages: other distributions that are needed, with reasons.
        by_hand: what the project must change, or can.
        undecided: what could not be told.
        pages: pages of the documentation that fit, with reasons.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    extras: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)

    def entry(self, key: str, text: str, reason: str, *, is_active: bool = True, is_list: bool = True) -> None:
        """Add an entry; the same text is said once."""
        line = self.lines.setdefault(key, Line(key, is_list=is_list))
        if all(each.text != text for each in line.entries):
            line.entries.append(Entry(text, reason, is_active))

    def text(self, key: str, text: str, reason: str, *, is_active: bool = True) -> None:
        """Add the value of a text; a second one is an alternative."""
        is_first = not any(each.is_active for each in self.lines[key].entries) if key in self.lines else True
        self.entry(key, text, reason, is_active=is_active and is_first, is_list=False)

    def active(self, key: str) -> list[str]:
        """Return the entries of a key that count."""
        return [each.text for each in self.lines[key].entries if each.is_active] if key in self.lines else []


def places(found: Iterable[Place], most: int = 3) -> str:
    """Return where something was seen, in short."""
    all_of_them = list(dict.fromkeys(found))
    shown = ", ".join(map(str, all_of_them[:most]))
    more = len(all_of_them) - most
    return f"{shown} and {more} more" if more > 0 else shown
