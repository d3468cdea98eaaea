"""From a folder to what is said of it."""

from __future__ import annotations

from pathlib import Path

from . import on_database, on_services, on_tests, printing
from .advice import Advice
from .configured import above
from .findings import Findings, look

__all__ = ["advised", "answer"]


def answer(root: Path) -> str:
    """Return the whole text for a project."""
    seen = look(root)
    advice = advised(seen)
    if not (advice.lines or advice.by_hand or advice.undecided or advice.pages or seen.config.line or seen.config.fault):
        return printing.empty(seen)
    return printing.shown(seen, advice, above(root))


def advised(seen: Findings) -> Advice:
    """Return what is suggested for what was seen."""
    advice = Advice()
    on_database.advise(seen, advice)
    on_services.advise(seen, advice)
    on_services.import_path(seen, advice)
    on_tests.advise(seen, advice)
    return advice
