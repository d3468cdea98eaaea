"""All comparisons, in the order of the page."""

from __future__ import annotations

from .load import LOAD
from .model import Comparison
from .start import STARTS
from .tests import TESTS
from .workers import WORKERS

COMPARISONS: dict[str, Comparison] = {each.key: each for each in (LOAD, *STARTS, *TESTS, *WORKERS)}
CONTENDERS = tuple(dict.fromkeys(way.contender for each in COMPARISONS.values() for way in each.ways))
