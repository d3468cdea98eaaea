"""Writes golden trees: nothing outside of the project, nothing through a link, and each only once in a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .difference import difference
from .inside import shown
from .nodes import Node, Tree, nodes_of_path, unkept
from .selection import Selection

__all__ = ["Updates"]

OURS = ".testbed-new-"
"""What the names of files begin with that are not yet whole."""


class Updates:
    """Writes the golden trees of one test.

    Args:
        project: the directory that nothing is written outside of.
        ledger: a file that all processes of the run know: what each test has written.
        home: the test's file.
        owner: the test's name.
        tell: takes a line for the run's summary.
    """

    def __init__(self, project: Path, ledger: Path, home: Path, owner: str, tell: Callable[[str], None]) -> None:
        self._project, self._ledger, self._home, self._owner, self._tell = project, ledger, home, owner, tell

    def write(self, place: Path, part: Path, found: Tree, selection: Selection) -> None:
        """Make a tree the golden one.

        Args:
            place: of the golden tree.
            part: what was compared.
            found: its nodes.
            selection: the names that are compared; others in the golden tree stay.

        Raises:
            AssertionError: it cannot be one, the place is not one for it, or another test has written another there.
        """
        real = self._checked(place, part, found)
        view = {name: node.digest() for name, node in found.items()}
        with _locked(self._ledger):
            self._refuse_conflict(real, view, selection)
            wanted = nodes_of_path(real, selection) if os.path.exists(real) else {}
            self._refuse_stranger(real, wanted, found)
            differs = difference(wanted, found)
            for name in wanted.keys() - found.keys():
                _remove(real, name)
            for name in (found.keys() - wanted.keys()) | differs.changed.keys():
                _write(real, name, found[name])
            row = [str(real), self._owner, selection.ignore, selection.only, view]
            with self._ledger.open("a", encoding="ascii") as file:
                file.write(json.dumps(row) + "\n")
        counts = ((found.keys() - wanted.keys(), "new"), (differs.changed, "changed"), (wanted.keys() - found.keys(), "deleted"))
        if differs:
            done = ", ".join(f"{len(names):,} {word}" for names, word in counts if names)
            self._tell(f"golden {self._relative(real)} written for {self._owner}: {done}")

    def _checked(self, place: Path, part: Path, found: Tree) -> Path:
        real, project, home = (Path(os.path.realpath(each)) for each in (place, self._project, self._home))
        if bad := unkept(found):
            name, other = bad[0]
            raise AssertionError(f"{shown(name)} is a {other.kind}: a golden tree cannot have that; leave it out by ignore=.")
        if not found:
            raise AssertionError(f"nothing would be in the golden tree {place}: there is no file that could be compared.")
        head = f"the golden tree {place} is not written:"
        if not real.is_relative_to(project) or real == project:
            hint = "pytest takes the folder of its ini file for that, or what --rootdir says."
            raise AssertionError(f"{head} {real} is not a place below the rootdir {project}; {hint}")
        if home.is_relative_to(real):
            raise AssertionError(f"{head} the test itself is in it, and would be deleted; give it a folder of its own.")
        if ".git" in real.relative_to(project).parts:
            raise AssertionError(f"{head} it is a folder of git.")
        if os.path.exists(real) and real.is_dir() != part.is_dir():
            kinds = ("folder", "file") if real.is_dir() else ("file", "folder")
            raise AssertionError(f"{head} there is a {kinds[0]}, and a {kinds[1]} is compared; delete it first if it is meant.")
        return real

    def _refuse_conflict(self, real: Path, view: dict[str, str], selection: Selection) -> None:
        with suppress(FileNotFoundError):
            for line in self._ledger.read_text("ascii").splitlines():
                place, owner, ignore, only, earlier = json.loads(line)
                if place != str(real):
                    continue
                other = Selection(ignore, only)
                names = [name for name in sorted(view.keys() | earlier.keys()) if selection.has(name) and other.has(name)]
                differing = [shown(name) or real.name for name in names if view.get(name) != earlier.get(name)]
                if differing:
                    raise AssertionError(
                        f"the golden tree {self._relative(real)} was written for {owner} in this run, and here "
                        f"{', '.join(differing[:5])}{' and others' if differing[5:] else ''} would be different. Each of them "
                        "needs a golden tree of its own, for instance with the test's parameter in its name."
                    )

    def _refuse_stranger(self, real: Path, wanted: Tree, found: Tree) -> None:
        if len(wanted) > 1 and not wanted.keys() & found.keys():
            raise AssertionError(
                f"the golden tree {self._relative(real)} is not written: none of its {len(wanted):,} files is among those that "
                "are compared, so it looks like another folder. If it is the right one, delete it first."
            )

    def _relative(self, real: Path) -> str:
        return real.relative_to(os.path.realpath(self._project)).as_posix()


def _remove(real: Path, name: str) -> None:
    path = real / name
    path.unlink()
    while (path := path.parent) != real:
        with suppress(OSError):  # something else is in it
            path.rmdir()


def _write(real: Path, name: str, node: Node) -> None:
    path = real / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name and not Path(os.path.realpath(path.parent)).is_relative_to(real):
        raise AssertionError(f"{shown(name)} is not written to the golden tree: a link in {real} leads out of it.")
    if path.is_dir() and not path.is_symlink():
        path.rmdir()  # git would not have had it
    new = path.with_name(f"{OURS}{os.getpid()}")
    try:
        if node.kind == "link":
            new.symlink_to(node.target)
        else:
            new.write_bytes(node.read())
            if node.executable:
                mode = new.stat().st_mode
                new.chmod(mode | (mode & 0o444) >> 2)
        new.replace(path)  # nobody ever sees half a file
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def _locked(ledger: Path) -> Iterator[None]:
    """Hold a lock for all processes of the run; it ends with its process, however that ends."""
    with open(f"{ledger}.lock", "ab") as file:
        with suppress(ImportError):  # Windows: there it is for one process alone
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
