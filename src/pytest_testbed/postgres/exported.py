"""How applications know a database that is being made, and what they come to meanwhile."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from ..services.doorway import Way

__all__ = ["Exported"]


class Exported:
    """The address by which applications reach a worker's database.

    Args:
        dsn: the address, as a DSN.
        way: the front door there.
        leads: whether that can lead clients to another database: not where it passes on what it does not read.
    """

    def __init__(self, dsn: str, way: Way, *, leads: bool) -> None:
        self.dsn = dsn
        self.leads = leads
        self._way = way

    def led_to(self, database: str) -> AbstractContextManager[None]:
        """Let who comes there come to another database meanwhile, if it can."""
        return self._way.led_to(database) if self.leads else nullcontext()
