"""The names of levels and areas."""

from __future__ import annotations

__all__ = ["AREAS", "LEVELS"]

LEVELS = ("unit", "integration", "e2e")
"""From the smallest part to the whole; a test has one."""
AREAS = ("database", "messaging", "api", "external", "workflows", "contract", "performance")
"""What a test has to do with; it may be several."""
