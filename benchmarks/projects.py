"""Projects to be tested: their schema, their test files, and how they are written to disk."""

from __future__ import annotations

from pathlib import Path

from measuring import temporary

# a small project's schema; how many tables there are is felt by those who clone a database alone
TABLES = "; ".join(["CREATE TABLE thing (id serial PRIMARY KEY, name text)"] + [
    f"CREATE TABLE thing{n} (id serial PRIMARY KEY, name text, other int REFERENCES thing (id))" for n in range(1, 20)
])  # fmt: skip

OUR_SESSION = """
import pytest

@pytest.fixture(scope="session")
def pg_schema():
    def make(connection):
        connection.exec_driver_sql("@TABLES@")
    return [make]
"""

BODY = """
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select
thing = Table("thing", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))

@pytest.mark.parametrize("n", range({tests}))
def test_it(session, n):
    session.execute(insert(thing).values(name=f"n{{n}}"))
    session.commit()
    assert session.scalars(select(thing.c.name)).all() == [f"n{{n}}"]
"""


def folder(**files: str) -> Path:
    """Write Python files into a new folder."""
    path = temporary()
    for name, text in files.items():
        (path / f"{name}.py").write_text(text.replace("@TABLES@", TABLES))
    return path


# --- a project with models, whose schema is their metadata or fifty migrations

COUNT = 20
REVISIONS = 50
METADATA, MIGRATIONS = "models:Base", "alembic.ini"
"""Values of `testbed_pg_schema` for a project of `modelled`."""

MODELS_HEAD = """
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass
"""

MODEL = """
class Thing{n}(Base):
    __tablename__ = "thing{n}"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(index=True)
    before_id: Mapped[int | None] = mapped_column(ForeignKey("thing{before}.id"))
"""

EXTRA = """    extra{n}: Mapped[str | None]
"""

QUERY = """
import os, time
from sqlalchemy import select
from models import Thing0

def test_it(pg_session):
    assert pg_session.scalars(select(Thing0.name)).all() == []
    with open(os.environ["BENCH_OUT"], "w") as file:
        file.write(str(time.time()))
"""

NO_QUERY = """
import os, time
from sqlalchemy import select
from models import Thing0

def test_it():
    with open(os.environ["BENCH_OUT"], "w") as file:
        file.write(str(time.time()))
"""

INI = """
[alembic]
script_location = %(here)s/migrations
prepend_sys_path = .
path_separator = os
"""

ENV = """
from alembic import context
from models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
"""

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before!r}

def upgrade():
    {upgrade}

def downgrade():
    raise NotImplementedError
"""

NEW_TABLE = """op.create_table(
        "thing{n}",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(), index=True),
        sa.Column("before_id", sa.Integer(), sa.ForeignKey("thing{before}.id")),
    )"""

NEW_COLUMN = 'op.add_column("thing{table}", sa.Column("extra{n}", sa.String()))'


def models() -> str:
    """Return the models of twenty tables."""
    parts = [MODELS_HEAD]
    for n in range(COUNT):
        parts.append(MODEL.format(n=n, before=max(n - 1, 0)))
        parts += [EXTRA.format(n=extra) for extra in range(COUNT, REVISIONS) if extra % COUNT == n]
    return "".join(parts)


def modelled(test: str) -> Path:
    """Write a project with one test file, the models of twenty tables, and fifty migrations that lead to the same schema."""
    path = folder(test_it=test, models=models())
    versions = path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (path / "alembic.ini").write_text(INI)
    (path / "migrations" / "env.py").write_text(ENV)
    for n in range(REVISIONS):
        text = NEW_TABLE.format(n=n, before=max(n - 1, 0)) if n < COUNT else NEW_COLUMN.format(n=n, table=n % COUNT)
        before = f"{n - 1:04}" if n else None
        (versions / f"{n:04}_step.py").write_text(REVISION.format(revision=f"{n:04}", before=before, upgrade=text))
    return path
