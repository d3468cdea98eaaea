"""What factories cost a test: 200 of them on its session and back, its seed; the loop that projects write themselves beside it."""

from __future__ import annotations

from pathlib import Path

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

ALL = [
    type(f"Factory{{n}}", (SQLAlchemyModelFactory,), {{"Meta": type("Meta", (), {{"model": Model}}), "id": factory.Sequence(int)}})
    for n in range({FACTORIES})
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
    """Measure whole runs, and take off what they take without any of it."""
    plain, by_hand = folder(CONFTEST), folder(CONFTEST + BY_HAND)
    table = Table(f"{FACTORIES} factories, {TESTS} tests with a session that costs nothing; each time for one test")
    variants = {"without": (plain, OFF), "bound and seeded": (plain, ()), "a loop over all of them": (by_hand, OFF)}
    for turn in range(rounds * 2):
        names = list(variants)
        for name in names if turn % 2 else reversed(names):
            path, more = variants[name]
            table.add(name, pytest_run(path, *more, plugin=OURS) / TESTS)
    table.show()
    for name in ("bound and seeded", "a loop over all of them"):
        print(f"  → {name}: {table.over(name, 'without'):+.3f} ms a test (median of the pairs)   (target: at most 0.3 ms)")


def folder(conftest: str) -> Path:
    """Return a new project."""
    path = temporary()
    (path / "things.py").write_text(PROJECT)
    (path / "conftest.py").write_text(conftest)
    (path / "test_it.py").write_text(
        f"import pytest\n@pytest.mark.parametrize('n', range({TESTS}))\ndef test_it(pg_session, n): pass\n"
    )
    return path
