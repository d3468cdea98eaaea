"""Who has uncommitted work in the one shared transaction, and which savepoint undoes it.

Several sessions of a test share one database connection. Each contiguous stretch of one session's
statements is a *run*, with a savepoint before it:

    tb0 ─ run of A ─ tb1 ─ run of B ─ tb2 ─ run of A again

So the session that rolls back while it stands on top undoes exactly its own work, and a commit only
takes the session's name off its runs. When no run belongs to anybody the stack is folded: everything
in it is committed, as far as the test can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["BASE", "Run", "Stack"]

BASE = "testbed_0"
"""The savepoint that is armed as long as the test runs."""

REARM = f"RELEASE SAVEPOINT {BASE};SAVEPOINT {BASE}"


@dataclass
class Run:
    """A stretch of statements of one owner; `owner` is None once it is committed."""

    owner: Any
    savepoint: str
    wrote: bool = False
    # the owner's own savepoints, set during this run
    inner: list[str] = field(default_factory=list)


class Stack:
    """The runs of a transaction, oldest first. It knows no database: it returns the SQL to be sent."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def enter(self, owner: Any) -> str:
        """Say that `owner` is about to send a statement; return what must be sent before it."""
        if not self.runs:
            self.runs.append(Run(owner, BASE))
            return ""
        if self.runs[-1].owner is owner:
            return ""
        savepoint = f"testbed_{len(self.runs)}"
        self.runs.append(Run(owner, savepoint))
        return f"SAVEPOINT {savepoint}"

    def wrote(self, owner: Any) -> None:
        """Say that the statement which `owner` sent changed something."""
        if self.runs and self.runs[-1].owner is owner:
            self.runs[-1].wrote = True

    def commit_text(self, owner: Any) -> str:
        """Return what must be sent to make the owner's work permanent; `committed` then notes it."""
        if any(run.owner is not owner and run.owner is not None for run in self.runs):
            return ""
        return REARM

    def committed(self, owner: Any) -> None:
        """Note that the owner's commit went through."""
        for run in self.runs:
            if run.owner is owner:
                run.owner = None
        self._fold()

    def rollback(self, owner: Any) -> tuple[str, bool]:
        """Undo the owner's runs as far as they stand on top.

        Returns:
            What must be sent, and whether work of the owner had to stay, because another session's
            work stands above it.
        """
        if not self.runs:
            return f"ROLLBACK TO SAVEPOINT {BASE}", False
        sql = ""
        while self.runs and self.runs[-1].owner is owner and self.runs[-1].savepoint:
            sql = f"ROLLBACK TO SAVEPOINT {self.runs.pop().savepoint}"
        stayed = False
        for run in self.runs:
            if run.owner is owner:
                stayed = stayed or run.wrote
                run.owner = None
        if self.runs and self._fold():
            sql += f"{';' if sql else ''}{REARM}"
        return sql, stayed

    def _fold(self) -> bool:
        if any(run.owner is not None for run in self.runs):
            return False
        self.runs.clear()
        return True

    def set_inner(self, owner: Any, name: str) -> None:
        """Note a savepoint that the owner set by himself."""
        for run in reversed(self.runs):
            if run.owner is owner:
                run.inner.append(name)
                return

    def rolled_back_to(self, name: str) -> bool:
        """Forget what stood above an owner's own savepoint; tell whether work of others was among it."""
        index = self._holder(name)
        if index is None:
            return False
        others = self.runs[index + 1 :]
        del self.runs[index + 1 :]
        return any(run.wrote and run.owner is not self.runs[index].owner for run in others)

    def released(self, name: str) -> None:
        """Note that an owner's own savepoint is released, and with it every savepoint above."""
        index = self._holder(name)
        if index is not None:
            for run in self.runs[index + 1 :]:
                run.savepoint = ""  # it can no longer be undone alone

    def _holder(self, name: str) -> int | None:
        for index in range(len(self.runs) - 1, -1, -1):
            if name in self.runs[index].inner:
                return index
        return None
