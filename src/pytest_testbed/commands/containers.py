"""What the container engine says of our containers' sizes, if it says so quickly."""

from __future__ import annotations

__all__ = ["sizes_of"]

SECONDS = 3.0
"""The engine has to walk through each container's files; nobody waits longer than this for a column."""


def sizes_of() -> dict[tuple[str, str], int]:
    """Return the bytes that our containers have written, by run and kind; what cannot be learnt is left out."""
    from contextlib import closing

    from ..services.providers.docker import LABEL_RUN
    from ..services.providers.engine_address import connect

    try:
        engine = connect(seconds=SECONDS)
        if not hasattr(engine, "api"):
            return {}
        with closing(engine.api) as api:
            api.timeout = SECONDS
            found = api.containers(all=True, size=True, filters={"label": LABEL_RUN})
    except Exception:  # whatever ails the engine, a table without sizes is better than none
        return {}
    sizes: dict[tuple[str, str], int] = {}
    for container in found:
        labels, length = container.get("Labels") or {}, container.get("SizeRw", 0)  # absent where nothing was written
        if isinstance(length, int):
            sizes[labels.get(LABEL_RUN, ""), labels.get("pytest-testbed.kind", "")] = length
    return sizes
