"""Values of factory_boy and Faker that repeat: their generators are set to a number that a name and the run's seed give."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from random import Random
from types import ModuleType

__all__ = ["are_drawn", "number", "seeded_aside", "seeded_by_others", "set_generators"]


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
    kept, before = [(generator, generator.getstate()) for generator in _generators()], seeded_by_others()
    for generator, _ in kept:
        generator.seed(start)
    try:
        yield
    finally:
        if seeded_by_others() == before:
            for generator, state in kept:
                generator.setstate(state)


def seeded_by_others() -> tuple[object, ...]:
    """Return what somebody has seeded Faker or factory_boy with by their own functions; () where nobody has."""
    faker, boy = sys.modules.get("faker.generator"), sys.modules.get("factory.random")
    said = faker.Generator._global_seed if faker is not None and faker.Generator._is_seeded else None
    is_set = boy is not None and boy.randgen.state_set
    return (said, is_set) if said is not None or is_set else ()


def _generators() -> Iterator[Random]:
    """Yield the generators that are there; that of factory.fuzzy may be imported later, by the tests."""
    if "factory" in sys.modules:
        from factory import random

        yield random.randgen
    faker: ModuleType | None = sys.modules.get("faker.generator")
    if faker is not None:
        yield faker.random
