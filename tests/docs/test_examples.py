"""The examples pass, as the first thing that people run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_testbed import Testbed
from pytest_testbed.commands.init import init
from tests.conftest import broker_options

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
TRY = SHOP.parents[1] / "scripts" / "try-example"
Run = Callable[..., str]


@pytest.fixture
def shop(tmp_path: Path) -> Run:
    """Run tests of the shop in a process of their own, and return what pytest says."""

    def run(*options: str, **environ: str) -> str:
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "PYTHONPATH", "TMPDIR") if name in os.environ}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-o", f"cache_dir={tmp_path}"]
        done = subprocess.run(
            [*command, "-W", "error::pytest.PytestWarning", *options],
            cwd=SHOP,
            env={**kept, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "skipped" not in done.stdout
        return done.stdout

    return run


def test_the_shop(shop: Run, somewhere: Testbed, broker_somewhere: Testbed) -> None:
    """In any order: pytest-randomly is here, and shuffles."""
    server = somewhere.endpoint("postgres").url()
    shop(*broker_options(broker_somewhere), "-o", f"testbed_pg_url={server}")


def test_units_of_the_shop_start_nothing(shop: Run) -> None:
    said = shop("-m", "unit", TESTBED_PG_URL="postgresql://127.0.0.1:1/none", TESTBED_RABBITMQ_URL="amqp://127.0.0.1:1")

    assert "was ready" not in said


def test_without_a_broker_the_rest_of_the_shop_works(shop: Run, somewhere: Testbed) -> None:
    """As the first command does where there is no RabbitMQ; the part of it that has most to do with one."""
    addresses = "DATABASE_URL={pg.url+psycopg2}\nSMTP_HOST={mail.host}\nSMTP_PORT={mail.port}"
    server = somewhere.endpoint("postgres").url()
    without = re.findall(r"--ignore=\S+", TRY.read_text(encoding="utf-8"))
    shop(
        *without,
        "-m",
        "api or messaging",
        TESTBED_ENV=addresses,
        TESTBED_PG_URL=server,
        TESTBED_RABBITMQ_URL="amqp://127.0.0.1:1",
    )


def test_the_shop_needs_no_conftest() -> None:
    assert list(SHOP.rglob("conftest.py")) == []


def test_init_finds_nothing_that_the_shop_s_ini_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert init(str(SHOP)) == 0
    said = capsys.readouterr().out

    assert "No line is missing." in said
    assert "By hand" not in said
