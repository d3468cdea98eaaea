"""Settings against a real pytest: its ini files, its TOML, its command line, its help."""

from __future__ import annotations

import importlib.util
import os

import pytest

NATIVE_TOML = pytest.version_tuple >= (9, 0)
CONFTEST = """
from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pytest_testbed.reading import check_unknown
from pytest_testbed.settings import Section, Settings, option, positive, register


class Pg(Section, prefix="pg"):
    image: str = option("postgres:18", help="Image that the docker provider runs.")
    url: str | None = option(None, help="Use this server.", secret=True)
    schema: tuple[str, ...] = option((), help="Sources of the schema.")
    tmpfs: bool = option(True, help="Keep the data in memory.")
    lock_timeout: float = option(5.0, help="Seconds that a test may wait.", check=positive)
    port: int | None = option(None, help="Port.")
    data: Path | None = option(None, help="Directory of the data.")


class Core(Section, prefix=""):
    provider: Literal["auto", "docker", "local"] = option("auto", help="Who gives 100% of the services.", flag=True)
    reuse: bool = option(False, help="Keep the services.", flag=True)
    seed: int | None = option(None, help="Seed.", flag=True)


def pytest_addoption(parser):
    register(parser, [Pg])
    register(parser, [Core])
    parser.addini("testbed_kafka", "A stranger's own option.", type="bool")


def pytest_configure(config):
    check_unknown(config, [Pg, Core])
    config.settings = Settings.from_config(config, [Pg, Core])


@pytest.fixture
def settings(request):
    return request.config.settings


@pytest.fixture
def sections():
    return Pg, Core
"""


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TESTBED_") or name == "PYTEST_ADDOPTS":
            monkeypatch.delenv(name)
    monkeypatch.delenv("PYTEST_PLUGINS")  # without the installed plugin: it has the same flags
    pytester.makeconftest(CONFTEST)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest(*args)


def expect(pytester: pytest.Pytester, expression: str, *args: str) -> None:
    """Run a test in the project that asserts the expression, with `pg`, `core` and `settings` at hand."""
    pytester.makepyfile(
        f"def test_it(settings, sections, request):\n    Pg, Core = sections\n"
        f"    pg, core = settings[Pg], settings[Core]\n    assert {expression}\n"
    )
    run(pytester, *args).assert_outcomes(passed=1)


def error(pytester: pytest.Pytester, *args: str) -> str:
    """Return the one usage error that pytest prints instead of running."""
    result = run(pytester, *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.no_fnmatch_line("*Traceback*")
    return "\n".join(line.removeprefix("ERROR: ") for line in result.errlines if line)


@pytest.mark.parametrize("place", ["environment", "-o", "flag", "ini"])
def test_one_option_in_one_place_alone_is_seen(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    arguments = {"-o": ["-o", "testbed_provider=docker"], "flag": ["--testbed-provider=docker"]}.get(place, [])
    if place == "environment":
        monkeypatch.setenv("TESTBED_PROVIDER", "docker")
    elif place == "ini":
        pytester.makeini("[pytest]\ntestbed_provider = docker")
    expect(pytester, "core.provider == 'docker'", *arguments)


def test_without_an_ini_all_is_default(pytester: pytest.Pytester) -> None:
    expect(pytester, "(pg, core, settings.changed()) == (Pg(), Core(), [])")


INI_BODY = """
testbed_pg_image = postgres:16
testbed_pg_schema =
    my file.sql
    b.sql
testbed_pg_tmpfs = no
testbed_pg_lock_timeout = 2
testbed_pg_port = 5433
testbed_pg_data = var/pg
testbed_reuse = 1
"""
TOML_BODY = """
testbed_pg_image = "postgres:16"
testbed_pg_schema = ["my file.sql", "b.sql"]
testbed_pg_tmpfs = false
testbed_pg_lock_timeout = 2
testbed_pg_port = 5433
testbed_pg_data = "var/pg"
testbed_reuse = true
"""
native = pytest.mark.skipif(not NATIVE_TOML, reason="pytest 8 has no native TOML")
FILES = [
    ("pytest.ini", "[pytest]" + INI_BODY),
    ("tox.ini", "[pytest]" + INI_BODY),
    ("setup.cfg", "[tool:pytest]" + INI_BODY),
    ("pyproject.toml", "[tool.pytest.ini_options]" + TOML_BODY),
    pytest.param("pyproject.toml", "[tool.pytest]" + TOML_BODY, marks=native),
    pytest.param("pytest.toml", "[pytest]" + TOML_BODY, marks=native),
]


@pytest.mark.parametrize(("name", "text"), FILES)
def test_every_kind_of_file_gives_the_same_typed_values(pytester: pytest.Pytester, name: str, text: str) -> None:
    pytester.path.joinpath(name).write_text(text)
    wanted = (
        'Pg(image="postgres:16", schema=("my file.sql", "b.sql"), tmpfs=False, lock_timeout=2.0, port=5433, '
        'data=request.config.rootpath / "var/pg")'
    )
    expect(
        pytester,
        f"pg == {wanted} and type(pg.lock_timeout) is float and core.reuse is True "
        f"and {{source for *_, source in settings.changed()}} == {{{name!r}}} and len(settings.changed()) == 7",
    )


def test_command_line_over_environment_over_ini(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini("[pytest]\ntestbed_provider = local\ntestbed_reuse = true\ntestbed_seed = 7\n")
    expect(pytester, "core == Core(provider='local', reuse=True, seed=7)")
    monkeypatch.setenv("TESTBED_PROVIDER", "docker")
    monkeypatch.setenv("TESTBED_SEED", "8")
    expect(pytester, "core == Core(provider='docker', reuse=True, seed=8)")
    flags = ("--testbed-provider=auto", "--no-testbed-reuse", "--testbed-seed", "0")
    expect(pytester, "core == Core(provider='auto', reuse=False, seed=0)", *flags)
    expect(pytester, "{source for *_, source in settings.changed()} == {'the command line'}", *flags)


def test_a_bool_flag_leaves_the_path_after_it_alone(pytester: pytest.Pytester) -> None:
    expect(pytester, "core.reuse is True", "--testbed-reuse", "test_a_bool_flag_leaves_the_path_after_it_alone.py")


def test_an_override_counts_as_ini_and_says_so(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini("[pytest]\ntestbed_pg_image = a\n")
    override = ("-o", "testbed_pg_image=b", "-o", "testbed_pg_tmpfs=0", "--override-ini=testbed_pg_port=")
    sources = "[settings.source(Pg, name) for name in ('image', 'tmpfs', 'port', 'url')]"
    said = "-o on the command line"
    expect(
        pytester,
        f"(pg.image, pg.tmpfs, pg.port) == ('b', False, None) and {sources} == [{said!r}] * 3 + ['default']",
        *override,
    )
    monkeypatch.setenv("TESTBED_PG_IMAGE", "c")
    expect(pytester, "pg.image == 'c'", *override)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("testbed_pg_lock_timeout = abc", "testbed_pg_lock_timeout = 'abc' (from pytest.ini) is not a number."),
        ("testbed_pg_lock_timeout = -1", "testbed_pg_lock_timeout = -1.0 (from pytest.ini) must be above 0."),
        ("testbed_pg_port = abc", "testbed_pg_port = 'abc' (from pytest.ini) is not a whole number."),
        ("testbed_pg_tmpfs = maybe", "testbed_pg_tmpfs = 'maybe' (from pytest.ini) is not true or false."),
        (
            "testbed_provider = dokcer",
            "testbed_provider = 'dokcer' (from pytest.ini) is not one of auto, docker, local; did you mean 'docker'?",
        ),
    ],
)
def test_a_bad_ini_value(pytester: pytest.Pytester, line: str, wrong: str) -> None:
    pytester.path.joinpath("pytest.ini").write_text(f"[pytest]\n{line}\n")
    assert error(pytester) == wrong


def test_a_bad_value_from_elsewhere(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error(pytester, "-o", "testbed_pg_tmpfs=maybe") == (
        "testbed_pg_tmpfs = 'maybe' (from -o on the command line) is not true or false."
    )
    assert error(pytester, "--testbed-provider=x") == (
        "testbed_provider = 'x' (from the command line) is not one of auto, docker, local."
    )
    monkeypatch.setenv("TESTBED_PG_PORT", "abc")
    assert error(pytester) == "testbed_pg_port = 'abc' (from environment TESTBED_PG_PORT) is not a whole number."


@native
@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("testbed_pg_lock_timeout = '5'", "testbed_pg_lock_timeout = '5' (from pytest.toml) is not a number."),
        ("testbed_pg_image = 18", "testbed_pg_image = 18 (from pytest.toml) is not a string."),
        ("testbed_pg_tmpfs = 1", "testbed_pg_tmpfs = 1 (from pytest.toml) is not true or false."),
        ("testbed_pg_schema = 'a.sql'", "testbed_pg_schema = 'a.sql' (from pytest.toml) is not a list of strings."),
        ("testbed_pg_schema = ['a', 1]", "testbed_pg_schema = ['a', 1] (from pytest.toml) is not a list of strings."),
        ("testbed_provider = 1", "testbed_provider = 1 (from pytest.toml) is not one of auto, docker, local."),
    ],
)
def test_a_wrong_native_type(pytester: pytest.Pytester, line: str, wrong: str) -> None:
    pytester.path.joinpath("pytest.toml").write_text(f"[pytest]\n{line}\n")
    assert error(pytester) == wrong


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\ntestbed_pg_imgae = x\n"),
        ("setup.cfg", "[tool:pytest]\ntestbed_pg_imgae = x\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestbed_pg_imgae = 'x'\n"),
        pytest.param("pyproject.toml", "[tool.pytest]\ntestbed_pg_imgae = 'x'\n", marks=native),
        pytest.param(".pytest.toml", "[pytest]\ntestbed_pg_imgae = 'x'\n", marks=native),
    ],
)
def test_an_unknown_key(pytester: pytest.Pytester, name: str, text: str) -> None:
    pytester.path.joinpath(name).write_text(text)
    hint = "is not an option of pytest-testbed; did you mean 'testbed_pg_image'?"
    assert f"'testbed_pg_imgae' (from {name}) {hint}" in error(pytester)


def test_an_unknown_override_and_a_near_miss_in_the_environment(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_PROVIDR", "x")
    assert error(pytester, "-o", "testbed_sede=1") == (
        "'testbed_sede' (from -o on the command line) is not an option of pytest-testbed; "
        "did you mean 'testbed_seed'?\n"
        "'TESTBED_PROVIDR' (from the environment) is not an option of pytest-testbed; "
        "did you mean 'TESTBED_PROVIDER'?"
    )


@pytest.mark.parametrize("value", ["true", "maybe"])
def test_a_strangers_registered_key_is_fine(pytester: pytest.Pytester, value: str) -> None:
    pytester.makeini(f"[pytest]\ntestbed_kafka = {value}\n")
    expect(pytester, "settings.changed() == []")


def test_help_reads_well(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--help")
    assert result.ret == 0
    text = " ".join(result.stdout.str().split())
    assert "pytest-testbed: real services for integration tests:" in text
    provider = "Who gives 100% of the services. One of auto, docker, local. Default: auto. Environment: TESTBED_PROVIDER."
    assert f"--testbed-provider=auto | docker | local {provider}" in text.replace("auto|docker|local", "auto | docker | local")
    assert f"testbed_provider (string): {provider}" in text
    assert "--testbed-reuse, --no-testbed-reuse Keep the services. Default: false. Environment: TESTBED_REUSE." in text
    assert "testbed_pg_tmpfs (bool): Keep the data in memory. Default: true. Environment: TESTBED_PG_TMPFS." in text
    assert "testbed_pg_schema (linelist): Sources of the schema. Default: empty." in text
    assert "testbed_pg_lock_timeout (float): Seconds that a test may wait. Default: 5.0." in text
    assert "--testbed-pg-image" not in text


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="needs pytest-xdist")
def test_an_xdist_worker_reads_the_same(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_PG_IMAGE", "x")
    pytester.makepyfile("""
        def test_it(settings, worker_id):
            assert worker_id == "gw0"
            assert sorted(settings.changed()) == [
                ("testbed_pg_image", "x", "environment TESTBED_PG_IMAGE"),
                ("testbed_pg_port", "0", "-o on the command line"),
                ("testbed_reuse", "false", "the command line"),
            ]
    """)
    args = ("-p", "xdist", "-n1", "--no-testbed-reuse", "-o", "testbed_pg_port=0")
    pytester.runpytest_subprocess(*args).assert_outcomes(passed=1)
