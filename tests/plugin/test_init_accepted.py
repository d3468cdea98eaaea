"""What `init` suggests is accepted by pytest and by our own settings, in each form of file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import QUIET
from tests.init_projects import lay, paste

# each kind of line at once, those that are comments included
EVERYTHING = {
    "requirements.txt": "psycopg\nhttpx\n",
    "compose.yml": """
services:
  db:
    image: postgis/postgis:16-3.4
    command: postgres -c max_connections=50
    environment: [POSTGRES_INITDB_ARGS=--data-checksums]
  mq:
    image: rabbitmq:3.13
""",
    "app/__init__.py": "",
    "app/db.py": """
import os
import pika
import requests
from fastapi import FastAPI
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import declarative_base

engine = create_engine(os.environ["DATABASE_URL"])
later = create_async_engine(os.environ["ASYNC_DATABASE_URL"])
queue = os.environ["RABBITMQ_URL"]
mail = os.environ["SMTP_HOST"], os.environ["SMTP_PORT"]
inventory = os.environ["INVENTORY_URL"]
other = os.getenv("OTHER_URL", "http://other/v1")
Base = declarative_base()
app = FastAPI()
side = FastAPI()


class User(Base):
    __tablename__ = "users"
""",
    "app/made.py": """
from factory.alchemy import SQLAlchemyModelFactory


class UserFactory(SQLAlchemyModelFactory):
    class Meta:
        model = 1
        sqlalchemy_session = 2
""",
    "tests/functional/test_it.py": "import os\nBASE_URL = os.environ['BASE_URL']\ndef test_it(): ...\n",
}
KEYS = {
    *("pythonpath", "testbed_env", "testbed_app", "testbed_level_folders", "testbed_factory_modules", "testbed_factory_rebind"),
    *(f"testbed_pg_{name}" for name in ("schema", "bind", "driver", "async_driver", "image", "version", "args", "initdb_args")),
    *(f"testbed_rabbitmq_{name}" for name in ("image", "version")),
}
INI = ("pytest.ini", "[pytest]\n")
NATIVE = ("pyproject.toml", "[tool.pytest]\naddopts = ['-ra']\n\n[tool.ruff]\n")
FILES = (
    INI,
    ("setup.cfg", "[tool:pytest]\naddopts = -ra\n\n[tool:other]\n"),
    ("pyproject.toml", "[tool.pytest.ini_options]\naddopts = '-ra'\n"),
    NATIVE,
)
"""One of each form; that all names of files are known is seen in tests/unit."""


def settings_of(pytester: pytest.Pytester) -> dict[str, object]:
    """Read the settings as a run does, which refuses what is wrong with them."""
    pytester.makeconftest("""
import json
from pytest_testbed.settings import SETTINGS

def pytest_sessionstart(session):
    print("CHANGED", json.dumps(session.config.stash[SETTINGS].changed()))
""")
    result = pytester.runpytest_inprocess(*QUIET, "--strict-config", "--collect-only", "-q", "-s", "-p", "no:django")
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    line = next(line for line in result.stdout.lines if "CHANGED" in line)
    return {key: value for key, value, _ in json.loads(line.partition("CHANGED ")[2])}


@pytest.mark.parametrize(("name", "text"), FILES)
def test_every_kind_of_line_in_every_form(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    for variable in ("CI", "DATABASE_URL", "RABBITMQ_URL", "BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    lay(pytester.path, {**EVERYTHING, name: text})

    lines = paste(pytester.path)
    settings = settings_of(pytester)

    assert {key for key in KEYS if key not in lines} == set()
    assert settings["testbed_app"] == "app.db:app"
    assert settings["testbed_pg_schema"] == "app.db:Base"
    assert settings["testbed_pg_driver"] == "psycopg"
    assert settings["testbed_env"] == (
        "DATABASE_URL={pg.url+psycopg}, ASYNC_DATABASE_URL={pg.url+psycopg}, RABBITMQ_URL={rabbitmq.url}, "
        "SMTP_HOST={mail.host}, SMTP_PORT={mail.port}, BASE_URL={app.url}, INVENTORY_URL={mock.inventory.url}"
    )
    assert set(settings) == {
        "testbed_env",
        "testbed_pg_schema",
        "testbed_pg_driver",
        "testbed_pg_async_driver",
        "testbed_pg_image",
        "testbed_rabbitmq_image",
        "testbed_app",
        "testbed_factory_modules",
        "testbed_level_folders",
    }


@pytest.mark.parametrize(("name", "text"), [INI, NATIVE])
def test_the_comments_are_lines_that_are_accepted_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.delenv("CI", raising=False)
    lay(pytester.path, {**EVERYTHING, name: text})
    paste(pytester.path)
    path = pytester.path / name

    path.write_text(taken_in(path.read_text()))

    assert {"testbed_pg_bind", "testbed_pg_version", "testbed_pg_args", "testbed_pg_initdb_args"} <= set(settings_of(pytester))


def taken_in(text: str) -> str:
    """Take what is a comment for lines of keys that are not there yet."""
    lines = text.splitlines()
    there = {line.partition("=")[0].strip() for line in lines if not line.startswith("#")}
    keys = ("# testbed_pg_bind", "# testbed_pg_version", "# testbed_pg_args", "# testbed_pg_initdb_args", "#     ", "# ]")
    taken = []
    for line in lines:
        key = line.removeprefix("# ").partition("=")[0].strip()
        taken.append(line.removeprefix("# ") if line.startswith(keys) and (key == "]" or key not in there) else line)
    return "\n".join(taken) + "\n"


def test_the_smallest_start_is_a_test_that_is_collected(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_testbed.commands.line import main

    main(["init", str(pytester.mkdir("new"))])
    text = capsys.readouterr().out.partition("test_first.py:\n\n")[2].partition("\n\nInstall")[0]
    Path("test_first.py").write_text(text + "\n")

    result = pytester.runpytest_inprocess(*QUIET, "--collect-only", "-q", "-p", "no:django")

    result.stdout.fnmatch_lines(["test_first.py::test_first"])
