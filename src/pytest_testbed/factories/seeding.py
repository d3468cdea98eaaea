"""Values of factory_boy and Faker that repeat: their generators are set to a number that a name and the run's seed give."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from random import Random
from types import ModuleType

__all__ = ["are_drawn", "number", "seeded_aside", "set_generators"]


def number(base: int, name: str) -> int:
    """Return the number of a name: the same in each process."""
    text = f"{base}:{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def set_generators(start: int) -> None:
    """Let the generators of what is loaded begin with a number."""
    for generator in _generators():
        generator.seed(start)


def are_drawn(start: int) -> bool:
    """Tell whether anything was made since the generators began with this number."""
    state = Random(start).getstate()  # noqa: S311
    return any(generator.getstate() != state for generator in _generators())


@contextmanager
def seeded_aside(start: int) -> Iterator[None]:
    """Let the generators begin with a number for a while, then go on as if nothing had been."""
    kept = [(generator, generator.getstate()) for generator in _generators()]
    for generator, _ in kept:
        generator.seed(start)
    try:
        yield
    finally:
        for generator, state in kept:
            generator.setstate(state)


def _generators() -> Iterator[Random]:
    """Yield the generators that are there; that of factory.fuzzy may be imported later, by the tests."""
    if "factory" in sys.modules:
        from factory import random

        yield random.randgen
    faker: ModuleType | None = sys.modules.get("faker.generator")
    if faker is not None:
        yield faker.random
