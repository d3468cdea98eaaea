"""What factories cost a test: 200 of them on its session and back, and its seed; beside it a loop as projects write it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import OURS, Table, pytest_run, temporary

FACTORIES, TESTS = 200, 1000
PROJECT = f"""
import factory
from factory.alchemy import SQLAlchemyModelFactory
from sqlalchemy import Column, Integer
from sqlalchemy.orm import declarative_base

Base = declarative_base()

class Model(Base):
    __tablename__ = "things"
    id = Column(Integer, primary_key=True)

class Meta:
    model = Model

ALL = [
    type(f"Factory{{n}}", (SQLAlchemyModelFactory,), {{"Meta": Meta, "id": factory.Sequence(int)}}) for n in range({FACTORIES})
]
"""
CONFTEST = """
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
import things

engine = create_engine("sqlite://")

@pytest.fixture
def pg_session():
    return Session(engine)
"""
BY_HAND = """
@pytest.fixture(autouse=True)
def bound(pg_session):
    for each in things.ALL:
        each._meta.sqlalchemy_session = pg_session
        each._meta.sqlalchemy_session_persistence = "flush"
        each.reset_sequence(0)
    yield
    for each in things.ALL:
        each._meta.sqlalchemy_session = each._meta.sqlalchemy_session_persistence = None
"""
OFF = ("-p", "no:pytest_testbed.plugins.factories")


def factories(rounds: int) -> None:
    """Measure the binding by itself, and whole runs, of which is taken off what they take without any of it."""
    alone(rounds)
    plain, by_hand = folder(CONFTEST), folder(CONFTEST + BY_HAND)
    table = Table(f"{FACTORIES} factories, {TESTS} tests with a session that costs nothing; processor time for one test")
    variants = {"without": (plain, OFF), "bound and seeded": (plain, ()), "a loop over all of them": (by_hand, OFF)}
    for turn in range(rounds * 2):
        names = list(variants)
        for name in names if turn % 2 else reversed(names):
            path, more = variants[name]
            table.add(name, processor_time(lambda: pytest_run(path, *more, plugin=OURS)) / TESTS)  # noqa: B023
    table.show()
    for name in ("bound and seeded", "a loop over all of them"):
        print(f"  → {name}: {table.over(name, 'without'):+.3f} ms a test (median of the pairs)   (target: at most 0.3 ms)")


def alone(rounds: int) -> None:
    """Measure in this process: the time of its processor, as the steps are too short for a machine that has other work."""
    from pytest_testbed.factories.binding import TEST, Binder, Bound
    from pytest_testbed.factories.naming import Rebind
    from pytest_testbed.factories.patch import Patch
    from pytest_testbed.factories.seeding import number, set_generators

    space: dict[str, Any] = {}
    exec(PROJECT, space)  # the same factories as in the runs
    binder, session = Binder("flush", 0, Rebind()), object()

    def bind() -> None:
        binder.begin()
        release = binder.bind(TEST, Bound(session, session, "pg_session", "flush"))
        set_generators(number(1, "tests/test_it.py::test_it"))
        release()
        binder.end()

    def by_hand() -> None:
        for each in space["ALL"]:
            each._meta.sqlalchemy_session, each._meta.sqlalchemy_session_persistence = session, "flush"
            each.reset_sequence(0, force=True)
        for each in space["ALL"]:
            each._meta.sqlalchemy_session = each._meta.sqlalchemy_session_persistence = None

    patch = Patch(binder)
    table = Table(f"{FACTORIES} factories bound and given back, in one process; processor time")
    for _ in range(rounds * 4):
        table.add("a loop over all of them", once(by_hand))
        patch.put_on()
        table.add("bound and seeded", once(bind))
        patch.take_off()
    table.show()
    print("  → (target: at most 0.3 ms)")


def processor_time(run: Callable[[], object]) -> float:
    """Return the processor's seconds that the processes took which something has started."""
    before = os.times()
    run()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def once(step: Callable[[], None], times: int = 200) -> float:
    """Return the processor's seconds for one of many."""
    began = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - began) / times


def folder(conftest: str) -> Path:
    """Return a new project."""
    path = temporary()
    (path / "things.py").write_text(PROJECT)
    (path / "conftest.py").write_text(conftest)
    (path / "test_it.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('n', range({TESTS}))\ndef test_it(pg_session, n): pass\n"
    )
    return path
