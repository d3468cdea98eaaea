"""`ps`: what runs, for whom, and how large it is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .caches import Cache
from .containers import sizes_of
from .runs import Run, records_directory, runs_of
from .shown import age, bytes_of, home_short, size, table

__all__ = ["ps"]

HEAD = ("RUN", "KIND", "PROVIDER", "ADDRESS", "AGE", "OWNER", "SIZE", "PROJECT")

Row = dict[str, Any]


def ps(cache: Cache, max_age: float, *, as_json: bool) -> int:
    """Show every run on record, and the cache."""
    runs = list(runs_of(records_directory(), max_age))
    sizes = sizes_of() if any(things(run, "container") for run in runs) else {}
    rows = [row for run in runs for row in rows_of(run, sizes)]
    entries = cache.entries()
    code = 1 if cache.fault else 0
    if cache.fault:
        print(cache.fault, file=sys.stderr)
    total = sum(length for _, length in entries)
    if as_json:
        where = str(cache.directory) if cache.directory is not None else None
        print(json.dumps({"runs": rows, "cache": {"directory": where, "entries": len(entries), "size": total}}, indent=2))
        return code
    print(table([HEAD, *map(cells, rows)]) if rows else "nothing is running")
    if entries:
        print(f"\ncache: {len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {size(total)}, in {cache.directory}")
    return code


def things(run: Run, what: str) -> list[str]:
    """Return the names of a run's things of one sort."""
    return [name for sort, name, _ in run.facts.get("things", ()) if sort == what]


def rows_of(run: Run, sizes: Mapping[tuple[str, str], int]) -> list[Row]:
    """Return one row for each service of a run, and one for a run without any."""
    directories = things(run, "directory")
    on_disk = sum(bytes_of(Path(path)) for path in directories) if directories else None
    rows = []
    for service in run.services or [{}]:
        length = None
        if service.get("provider") == "docker":
            length = sizes.get((run.id, str(service.get("kind"))))
        elif service.get("provider") != "external":
            length, on_disk = on_disk, None  # services share a run's directories: told once
        since = service.get("since", run.facts.get("made"))
        rows.append(
            {
                "run": run.id,
                "kind": service.get("kind"),
                "provider": service.get("provider"),
                "source": service.get("source"),
                "address": service.get("address"),
                "since": since,
                "age": max(time.time() - since, 0.0) if isinstance(since, (int, float)) else None,
                "state": run.state,
                "owner": run.owner(),
                "kept": run.facts.get("kept"),
                "tenants": run.tenants,
                "size": length,
                "project": run.facts.get("project"),
            }
        )
    return rows


def cells(row: Row) -> list[str]:
    """Return a row as the table shows it."""
    since = "-" if row["age"] is None else age(row["age"])
    texts = [str(row[name] or "-") for name in ("run", "kind", "provider", "address")]
    return [*texts, since, row["owner"], size(row["size"]), home_short(row["project"] or "-")]
