"""`stop`: end hosts, and with them their services."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ..services.death import end
from .runs import Run, records_directory, runs_of

__all__ = ["stop"]

PATIENCE = 15.0
"""Seconds that a host is given for the end of its services."""


def stop(names: Sequence[str], max_age: float, *, everyone: bool) -> int:
    """End the hosts that are named, those that are kept and idle, or every one that lives here."""
    runs = list(runs_of(records_directory(), max_age))
    if names:
        chosen, faults = pick(names, runs)
    else:
        chosen = [run for run in runs if run.state == "alive" and (everyone or run.is_idle)]
        faults = []
        if not chosen:
            print("nothing is running" if everyone else "no host is kept and idle")
    if chosen:
        with ThreadPoolExecutor(len(chosen)) as pool:
            for run, fault in zip(chosen, pool.map(ended, chosen), strict=True):
                if fault:
                    faults.append(fault)
                else:
                    print(f"stopped {run.named()}")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def pick(names: Sequence[str], runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs that are meant by names or unique beginnings of names, and what is wrong with other names."""
    chosen: dict[str, Run] = {}
    faults = []
    known = f"known are: {', '.join(run.id for run in runs)}" if runs else "nothing is running"
    for name in names:
        found = [run for run in runs if run.id == name] or [run for run in runs if name and run.id.startswith(name)]
        if len(found) == 1:
            chosen[found[0].id] = found[0]
        elif found:
            faults.append(f"{name} is the beginning of several runs: {', '.join(run.id for run in found)}")
        else:
            faults.append(f"there is no run {name}; {known}")
    return list(chosen.values()), faults


def ended(run: Run) -> str:
    """End one host; return what went wrong, "" where it ended."""
    if run.state != "alive":
        hint = {"dead": "its host is dead already; `prune` removes what it left", "elsewhere": "it runs elsewhere; stop it there"}
        return f"{run.id} was not stopped: {hint.get(run.state, f'its record is {run.state}')}"
    try:
        if end(run.host, PATIENCE):
            return ""
        return f"{run.id} was not stopped: its host, pid {run.host.pid}, has not ended within {PATIENCE:.0f} s"
    except LookupError:
        return ""  # it ended since we looked
    except OSError as error:
        return f"{run.id} was not stopped: its host, pid {run.host.pid}: {error.strerror}"
