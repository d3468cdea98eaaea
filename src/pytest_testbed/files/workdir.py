"""A directory of a test's own: what the test writes in it, waits for, and compares."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .ages import moment, set_age
from .inside import Name, inside, nothing_there, source
from .leaving import current, go_back, make_deletable
from .selection import Patterns, Replacing, Selection, Substitutes, patterns_of, skipping
from .tree import Link, contents, read_bytes
from .waiting import Containing, Matching, Wait
from .writing import copy_into, write_tree

if TYPE_CHECKING:
    from .updates import Updates

__all__ = ["WorkDir"]

Content = str | bytes | Mapping[str, object] | Link | os.PathLike[str]

WITHIN = 5.0
"""Seconds for which `expect` waits if nobody says."""
STILL = 0.05
"""Seconds for which a file must not have changed, if nobody says."""


class WorkDir(os.PathLike[str]):
    """A directory of a test's own; wherever a path is wanted, it may stand itself: `workdir / "input.txt"` is a `Path`.

    Args:
        path: the directory.
        bases: where relative paths of what is copied or compared begin, in the order in which they are looked at.
        owner: the test's name.
        updates: writes golden trees; None where they are only read.
        change_to: changes the process's working directory.
    """

    def __init__(
        self,
        path: Path,
        bases: Sequence[Path] = (),
        owner: str = "",
        updates: Updates | None = None,
        change_to: Callable[[str], None] = os.chdir,
    ) -> None:
        self.path = path
        self._bases, self._owner, self._updates, self._change_to = tuple(bases), owner, updates, change_to
        self._came_from: str | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<WorkDir {self.path}>"

    def __truediv__(self, name: Name) -> Path:
        return self.path / name

    # --- what the test writes

    def write(self, tree: Mapping[str, object] | Name, content: Content | None = None, *, mode: int | None = None) -> Path:
        """Write one file, a tree, or a copy of a folder.

        Args:
            tree: the name of a file, with its content. Or a dict of names ("a.txt", "reports/a.txt") with what they are: text
                (UTF-8, its line endings stay), bytes, a dict (a folder, empty if it is), a `Link`, or a path, which is copied.
                Or, alone, the path of a folder whose content is copied, or of a file, relative to the test's file or the rootdir.
            content: of the file, or any other that a dict may have.
            mode: of what is written under the name, such as 0o755.

        Returns:
            The file, or the directory.

        Raises:
            ValueError: a name leads out of the directory.
            TypeError: a content or a name is of no use.
            FileNotFoundError: what is to be copied is not there.
        """
        __tracebackhide__ = True
        if isinstance(tree, Mapping):
            if content is not None or mode is not None:
                raise TypeError("write() takes a name with a content, or a dict alone.")
            write_tree(self.path, tree, self._bases)
            return self.path
        if content is None:
            return self._copy(tree)
        if isinstance(content, Link) and mode is not None:
            raise TypeError("a link has no mode of its own.")
        write_tree(self.path, {os.fspath(tree): content}, self._bases)
        path = inside(self.path, tree)
        if mode is not None:
            path.chmod(mode)
        return path

    def _copy(self, origin: Name) -> Path:
        __tracebackhide__ = True
        found = source(origin, self._bases, " A file is written by write(name, content).")
        name = "" if found.is_dir() else found.name
        copy_into(self.path, name, found)
        return self.path / name

    def age(
        self,
        name: Name,
        age: timedelta | datetime | None = None,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> Path:
        """Let a file have been changed so long ago, or a folder with all that is in it; without any time, now.

        Times of change and of access are set; those of a link, not of what it leads to. Writing into a folder makes that
        young again.

        Args:
            name: of the file or folder; "." is the directory itself.
            age: how long ago, or when.
            days: how long ago, instead of `age`; these four add up.
            hours: how long ago.
            minutes: how long ago.
            seconds: how long ago.

        Raises:
            FileNotFoundError: it is not there.
            TypeError: the age is none, or is said twice.
        """
        __tracebackhide__ = True
        said = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if age is not None and said:
            raise TypeError("age() takes a timedelta or a datetime, or days=, hours=, minutes=, seconds=, not both.")
        path = self._there(name)
        set_age(path, moment(said if age is None else age))
        return path

    # --- what is there

    def read(self, name: Name) -> str:
        """Return the text of a file, its line endings as they are.

        Raises:
            FileNotFoundError: it is not there.
            UnicodeDecodeError: it is not UTF-8.
        """
        __tracebackhide__ = True
        return self.read_bytes(name).decode("utf-8")

    def read_bytes(self, name: Name) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: it is not there.
        """
        __tracebackhide__ = True
        return read_bytes(self._there(name))

    def lines(self, name: Name) -> list[str]:
        """Return the lines of a file, without their ends.

        Raises:
            FileNotFoundError: it is not there.
            UnicodeDecodeError: it is not UTF-8.
        """
        __tracebackhide__ = True
        return [line.rstrip("\n") for line in io.StringIO(self.read(name), newline=None)]  # `splitlines` knows more ends

    def tree(self, name: Name = ".", *, ignore: Patterns = ()) -> dict[str, object]:
        """Return all that is there, as `write` takes it: each file with its text, or its bytes where it is none.

        Names have "/". A folder is there, as {}, only if nothing is in it. A `Link` is not followed.

        Args:
            name: of a folder, from which the names begin.
            ignore: patterns of names that are left out, such as "*.log"; one without "/" means names in any folder.

        Raises:
            FileNotFoundError: the folder is not there.
        """
        __tracebackhide__ = True
        return contents(self._there(name), skipping(patterns_of(ignore, "ignore")))

    def _there(self, name: Name) -> Path:
        __tracebackhide__ = True
        path = inside(self.path, name)
        if not os.path.lexists(path):
            raise FileNotFoundError(nothing_there(self.path, name))
        return path

    # --- what others write

    def expect(
        self,
        name: Name,
        *,
        containing: Containing = None,
        matching: Matching = None,
        within: float = WITHIN,
        still: float = STILL,
    ) -> Path:
        """Wait for a file that somebody else writes, until it is whole, and return its path.

        It is whole when it has not changed for a while; one that stays empty, after half a second.

        Args:
            name: of the file, or a pattern such as "report-*.csv", of which the first that is whole counts.
            containing: a text or bytes that it must have in it, or a pattern (`re.compile`).
            matching: a predicate of its path; one that fails is asked again.
            within: seconds.
            still: seconds for which it must not have changed; 0 where it is put there whole, by a rename.

        Raises:
            AssertionError: there was none; says what is there instead.
            ValueError: the name leads out of the directory.
        """
        __tracebackhide__ = True
        wait = Wait(self.path, os.fspath(name), within)
        for _ in wait.looks():
            if (found := wait.finished(containing, matching, still)) is not None:
                return found
        raise AssertionError(wait.unmet(containing, matching))

    def expect_none(self, name: Name, *, within: float = 0.0) -> None:
        """See to it that no such file is there, or comes in so many seconds.

        Args:
            name: see `expect`.
            within: seconds.

        Raises:
            AssertionError: there is one.
        """
        __tracebackhide__ = True
        wait = Wait(self.path, os.fspath(name), within)
        for _ in wait.looks():
            if not wait.is_gone():
                raise AssertionError(f"{wait.present()} is there.")

    def expect_gone(self, name: Name, *, within: float = WITHIN) -> None:
        """Wait until there is no such file any more.

        Args:
            name: see `expect`.
            within: seconds.

        Raises:
            AssertionError: it is still there.
        """
        __tracebackhide__ = True
        wait = Wait(self.path, os.fspath(name), within)
        for _ in wait.looks():
            if wait.is_gone():
                return
        raise AssertionError(f"{wait.present()} is still there after {within:g} s.")

    # --- what should be there

    def assert_matches(
        self,
        golden: Mapping[str, object] | Name,
        *,
        of: Name = ".",
        ignore: Patterns = (),
        only: Patterns = (),
        replacing: Replacing = None,
    ) -> None:
        """Compare with a golden tree: names, texts, bytes, links, and which files are executable.

        `--testbed-update-golden` writes what is there as the new golden tree. Empty folders do not count, as git keeps none, but
        where the tree is a dict. The directory's own path stands as `<workdir>` in texts and links.

        Args:
            golden: a folder, or a file where `of` is one, relative to the test's file or the rootdir; or a dict, as for `write`.
            of: the part that is compared, a folder or a file.
            ignore: patterns of names that do not count, such as "*.log"; one without "/" means names in any folder.
            only: patterns of names that count alone.
            replacing: what changes from run to run: regular expressions, each with what stands for it, as `re.sub` takes them;
                in texts, names and links.

        Raises:
            AssertionError: it differs, or there is no golden tree; says how.
            ValueError: a regular expression is none.
        """
        __tracebackhide__ = True
        from .golden import Comparison, part_of

        part = part_of(self.path, inside(self.path, of))
        selection, substitutes = Selection(ignore, only), Substitutes(replacing, self.path)
        compared = Comparison(self.path, part, selection, substitutes, self._bases, self._owner, self._updates)
        differs = compared.with_dict(golden) if isinstance(golden, Mapping) else compared.with_path(golden)
        if differs:
            raise AssertionError(differs)

    # --- the working directory of the process

    def chdir(self, name: Name = ".") -> Path:
        """Make it, or a folder in it, the process's working directory until the test ends.

        Raises:
            FileNotFoundError: the folder is not there.
        """
        __tracebackhide__ = True
        path = self._there(name)
        if self._came_from is None:
            self._came_from = current()
        self._change_to(str(path))
        return path

    @contextmanager
    def cwd(self, name: Name = ".") -> Iterator[Path]:
        """Make it, or a folder in it, the process's working directory for a `with` block.

        Raises:
            FileNotFoundError: the folder is not there.
        """
        path, before = self._there(name), current()
        os.chdir(path)
        try:
            yield path
        finally:
            go_back(before)

    def close(self) -> None:
        """Leave it: the working directory is again what it was, and everything in it can be deleted."""
        if self._came_from is not None:
            go_back(self._came_from)
            self._came_from = None
        make_deletable(self.path)
