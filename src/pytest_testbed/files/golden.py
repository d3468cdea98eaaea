"""Compares what a test has written with what it should be: a tree that somebody has looked at before, the golden one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .difference import difference
from .inside import Name, nothing_there, shown, some_names
from .nodes import Tree, nodes_of_dict, nodes_of_path
from .selection import Selection, Substitutes

if TYPE_CHECKING:
    from .updates import Updates

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """One comparison of a test.

    `part` is the file or folder of the directory `root` that is compared. `bases` is where relative golden paths begin,
    `owner` the test's name. `updates` writes golden trees; None where they are only read.
    """

    root: Path
    part: Path
    selection: Selection
    substitutes: Substitutes
    bases: Sequence[Path] = ()
    owner: str = ""
    updates: Updates | None = None

    def with_dict(self, tree: Mapping[str, object]) -> str:
        """Return how the tree differs from one that the test says; "" if it does not.

        Raises:
            TypeError: a name or a content is of no use.
        """
        wanted = nodes_of_dict(tree, self.selection)
        found = self._found(folders=True)
        if not wanted and not found and self.selection.only:
            return self._nothing("the tree that the test says")
        differs = difference(wanted, found)
        return "\n".join([f"{self._what()} is not as it should be: {differs.counts()}.", *differs.lines()]) if differs else ""

    def with_path(self, golden: Name) -> str:
        """Return how the tree differs from a golden folder or file; "" if it does not, or if it is the golden one now."""
        place = self._place(golden)
        found = self._found()
        if self.updates is not None:
            self.updates.write(place, self.part, found, self.selection)
            return ""
        if not os.path.exists(place):
            return self._missing(golden, place, found)
        if place.is_dir() != self.part.is_dir():
            kinds = ("a folder", "a file") if place.is_dir() else ("a file", "a folder")
            return f"the golden {place} is {kinds[0]}, and {self._what()} is {kinds[1]}; of= says which part is meant."
        wanted = nodes_of_path(place, self.selection)
        if not wanted and not found:
            return self._nothing(str(place))
        differs = difference(wanted, found)
        if not differs:
            return ""
        head = f"{self._what()} is not like {place}: {differs.counts()}."
        return "\n".join([head, *differs.lines(), f"Is it right as it is now? {self._command()} makes it the golden one."])

    def _found(self, *, folders: bool = False) -> Tree:
        return nodes_of_path(self.part, self.selection, self.substitutes, folders=folders)

    def _what(self) -> str:
        return "the workdir" if self.part == self.root else f"{self.part.relative_to(self.root).as_posix()!r} in the workdir"

    def _place(self, golden: Name) -> Path:
        """Return where a golden tree is, or would be written.

        Raises:
            ValueError: it is relative, and nobody knows to what.
        """
        if os.path.isabs(golden):
            return Path(golden)
        if not self.bases:
            raise ValueError(f"{os.fspath(golden)!r} is relative, and there is no test file that it could begin at.")
        places = [base / golden for base in self.bases]
        return next((place for place in places if os.path.lexists(place)), places[0])

    def _missing(self, golden: Name, place: Path, found: Tree) -> str:
        places = [Path(golden)] if os.path.isabs(golden) else list(dict.fromkeys(base / golden for base in self.bases))
        looked = " and ".join(map(str, places))
        return (
            f"there is no golden tree {os.fspath(golden)!r}: looked for {looked}. {self._command()} writes what the test has now "
            f"as {place}; look at it, and commit it. {some_names([name or self.part.name for name in found])}"
        )

    def _nothing(self, golden: str) -> str:
        said = str(self.selection)
        return f"nothing was compared: neither {self._what()} nor {golden} has a file{f' with {said}' if said else ''}."

    def _command(self) -> str:
        return f"`pytest --testbed-update-golden '{shown(self.owner)}'`" if self.owner else "`pytest --testbed-update-golden`"


def part_of(root: Path, part: Path) -> Path:
    """Return a part of a directory.

    Raises:
        AssertionError: it is not there.
    """
    if not os.path.lexists(part):
        raise AssertionError(nothing_there(root, part.relative_to(root)))
    return part
