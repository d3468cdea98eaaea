"""What the ledger's records say, one `Run` each, with what can be said of it from here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..services.ledger import Lease, alive, read_record, silence
from ..services.places import private, state_directory
from .shown import age

__all__ = ["Run", "records_directory", "runs_of"]

State = Literal["alive", "dead", "elsewhere", "unreadable", "another version"]


@dataclass
class Run:
    """One record, and whether its host lives."""

    path: Path
    state: State
    facts: dict[str, Any] = field(default_factory=dict)
    silent: float | None = None

    @property
    def id(self) -> str:
        """The run's identity."""
        return self.path.stem

    @property
    def services(self) -> list[dict[str, Any]]:
        """The services that its host has told of."""
        return list(self.facts.get("services", ()))

    @property
    def tenants(self) -> list[int]:
        """The pids of those who use a host that serves whoever comes."""
        return sorted(each["pid"] for each in self.facts.get("tenants", ()) if isinstance(each.get("pid"), int))

    @property
    def is_idle(self) -> bool:
        """Whether it is a host that is kept, lives here, and is used by nobody."""
        return self.state == "alive" and bool(self.facts.get("kept")) and not self.facts["tenants"]

    @property
    def host(self) -> Lease:
        """The lease of its host process."""
        return Lease(**self.facts["host"])

    def owner(self) -> str:
        """Return who uses it, in a few words."""
        if self.state == "elsewhere":
            return "elsewhere" if self.silent is None else f"elsewhere, heard {age(self.silent)} ago"
        if self.state != "alive":
            return self.state
        pids = self.tenants
        users = f"pid {', '.join(map(str, pids))}"
        if self.facts.get("kept"):
            return "kept, idle" if self.is_idle else f"kept, used by {users}" if pids else "kept, used"
        if pids:
            return users
        owner = self.facts.get("owner")
        return f"pid {owner['pid']}" if owner else "-"

    def named(self) -> str:
        """Return its identity and its services: `1a2b3c postgres (docker)`."""
        services = ", ".join(f"{each.get('kind', '?')} ({each.get('provider', '?')})" for each in self.services)
        return f"{self.id} {services}".rstrip()


def records_directory() -> Path | None:
    """Return where this user's records lie; None where nothing can be written."""
    state = state_directory()
    return private(state / "runs") if state is not None else None


def runs_of(directory: Path | None, max_age: float) -> Iterator[Run]:
    """Yield all runs on record, those that cannot be read as well."""
    for path in sorted(directory.glob("*.json")) if directory is not None else ():
        try:
            facts = read_record(path)
        except FileNotFoundError:
            continue  # it has just ended
        except OSError:
            yield Run(path, "unreadable")
            continue
        except ValueError as error:
            yield Run(path, "another version" if "version" in str(error) else "unreadable")
            continue
        lives = alive(path, facts, max_age)
        if lives is None:
            yield Run(path, "elsewhere", facts, silence(path, facts))
        else:
            yield Run(path, "alive" if lives else "dead", facts)
