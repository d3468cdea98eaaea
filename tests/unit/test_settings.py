"""Settings without pytest's machinery: a stand-in for `config` says what a real one would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.marks import check_mark
from pytest_testbed.reading import check_unknown
from pytest_testbed.reading import read as read_all
from pytest_testbed.settings import Section, Settings, option, positive


class PostgresSettings(Section, prefix="pg"):
    """The section of the contract, and one field of each other type."""

    image: str = option("postgres:18", help="Image that the docker provider runs.")
    url: str | None = option(None, help="Server to use.", secret=True)
    token: str | None = option(None, help="A secret that is no URL.", secret=True)
    schema: tuple[str, ...] = option((), help="Sources of the schema.")
    tmpfs: bool = option(True, help="Keep the data in memory.")
    lock_timeout: float = option(5.0, help="Seconds that a test may wait for a lock.", check=positive)
    driver: Literal["psycopg2", "psycopg"] = option("psycopg2", help="Driver of the engine.")
    port: int | None = option(None, help="Port.", check=positive)
    retries: int = option(3, help="Retries.")
    grace: float | None = option(None, help="Seconds.")
    data: Path | None = option(None, help="Directory of the data.")


class CoreSettings(Section, prefix=""):
    """Options without a prefix, on the command line too."""

    provider: Literal["auto", "docker", "external", "local"] = option("auto", help="Who gives services.", flag=True)
    reuse: bool = option(False, help="Keep the services.", flag=True)


SECTIONS = (PostgresSettings, CoreSettings)


class FakeConfig:
    """What settings.py uses of `pytest.Config`, with the answers in plain dicts."""

    def __init__(self, **given: Any) -> None:
        self.ini: dict[str, Any] = given.get("ini", {})
        self.cli: dict[str, Any] = given.get("cli", {})
        self.inipath: Path | None = given.get("inipath", Path("/project/pytest.ini"))
        self.invocation_params = SimpleNamespace(dir=Path("/shell"))
        self.strangers: tuple[str, ...] = given.get("strangers", ())

    def getoption(self, name: str, default: object = None) -> object:
        return self.cli.get(name, default)

    def getini(self, key: str) -> object:
        known = [row.ini for section in SECTIONS for row in section.options()]
        if key not in (*known, *self.strangers):
            raise ValueError(f"unknown configuration value: {key!r}")
        value = self.ini.get(key)
        if isinstance(value, Exception):
            raise value
        return value


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TESTBED_"):
            monkeypatch.delenv(name)


def read(**given: Any) -> Settings:
    return read_all(FakeConfig(**given), SECTIONS)  # type: ignore[arg-type]


def from_env(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Any:
    monkeypatch.setenv(f"TESTBED_PG_{name.upper()}", text)
    return getattr(read()[PostgresSettings], name)


# --- the declaration


def test_a_section_is_frozen_and_has_its_defaults() -> None:
    values = PostgresSettings()
    assert (values.image, values.url, values.schema, values.tmpfs) == ("postgres:18", None, (), True)
    with pytest.raises(AttributeError, match="frozen"):
        values.image = "x"
    with pytest.raises(TypeError):
        PostgresSettings("postgres:17")  # type: ignore[call-arg]


def test_each_option_has_its_names_and_texts() -> None:
    rows = {row.ini: row for row in PostgresSettings.options()}
    image = rows["testbed_pg_image"]
    assert (image.env, image.flag, image.type, image.default) == ("TESTBED_PG_IMAGE", "", "text", "postgres:18")
    assert image.help_text() == ("Image that the docker provider runs. Default: postgres:18. Environment: TESTBED_PG_IMAGE.")
    assert rows["testbed_pg_driver"].type == "psycopg2 | psycopg"
    assert {ini: (row.type, row.shown(row.default)) for ini, row in rows.items() if row.type not in ("text", "number")} == {
        "testbed_pg_schema": ("list", "empty"),
        "testbed_pg_tmpfs": ("true or false", "true"),
        "testbed_pg_driver": ("psycopg2 | psycopg", "psycopg2"),
        "testbed_pg_port": ("whole number", "none"),
        "testbed_pg_retries": ("whole number", "3"),
        "testbed_pg_data": ("path", "none"),
    }


def test_an_empty_prefix_and_a_flag() -> None:
    row = CoreSettings.options()[0]
    assert (row.ini, row.env, row.flag) == ("testbed_provider", "TESTBED_PROVIDER", "--testbed-provider")


def test_annotations_may_be_strings_or_real() -> None:
    class Mixed(Section, prefix="mixed"):
        real: int = option(1, help="Real.")

    Mixed.__annotations__["real"] = float
    assert Mixed.options()[0].kind is float


def test_an_annotation_says_the_same_as_a_text_and_evaluated() -> None:
    """Texts of the usual types are not evaluated: to do that in each run of everybody is dear."""
    kinds = ("str", "int", "float", "bool", "Path", "Literal['a']", "Literal['a, b', 'c]']")
    for text in (*kinds, *(f"{kind} | None" for kind in kinds), "tuple[str, ...]"):

        class One(Section, prefix="one"):
            field: Any = option(None, help="One.")

        class Other(Section, prefix="other"):
            field: Any = option(None, help="Other.")

        One.__annotations__["field"], Other.__annotations__["field"] = text, eval(text)
        (one,), (other,) = One.options(), Other.options()
        assert (one.kind, one.choices, one.optional) == (other.kind, other.choices, other.optional)


@pytest.mark.parametrize("hint", ["list[str]", "dict", "tuple[int, ...]", "int | str", "Literal[1, 2]", "bytes"])
def test_other_types_are_refused_by_name(hint: str) -> None:
    class Odd(Section, prefix="odd"):
        field: Any = option(None, help="Odd.")

    Odd.__annotations__["field"] = hint
    with pytest.raises(TypeError, match=r"^Odd\.field has the type .*, which no option can have\.$"):
        Odd.options()


def test_a_field_that_is_no_option_is_refused() -> None:
    class Bare(Section, prefix="bare"):
        field: int = 1

    with pytest.raises(TypeError, match=r"Bare\.field is not declared with option"):
        Bare.options()


# --- reading and precedence


def test_nothing_said_is_all_defaults() -> None:
    settings = read()
    assert settings[PostgresSettings] == PostgresSettings()
    assert settings.source(PostgresSettings, "image") == "default"
    assert settings.changed() == []


def test_the_command_line_wins_over_the_environment_over_the_ini(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"ini": {"testbed_provider": "local"}, "cli": {}}
    assert (read(**given)[CoreSettings].provider, read(**given).source(CoreSettings, "provider")) == (
        "local",
        "pytest.ini",
    )
    monkeypatch.setenv("TESTBED_PROVIDER", "docker")
    assert read(**given)[CoreSettings].provider == "docker"
    assert read(**given).source(CoreSettings, "provider") == "environment TESTBED_PROVIDER"
    given["cli"]["testbed_provider"] = "external"
    assert read(**given)[CoreSettings].provider == "external"
    assert read(**given).source(CoreSettings, "provider") == "the command line"


def test_false_and_zero_win_from_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(ini={"testbed_pg_tmpfs": False})[PostgresSettings].tmpfs is False
    assert read(ini={"testbed_pg_retries": 0})[PostgresSettings].retries == 0
    assert read(ini={"testbed_reuse": True}, cli={"testbed_reuse": False})[CoreSettings].reuse is False
    assert from_env(monkeypatch, "tmpfs", "0") is False
    assert from_env(monkeypatch, "retries", "0") == 0


def test_a_value_equal_to_the_default_keeps_its_source() -> None:
    settings = read(ini={"testbed_pg_tmpfs": True})
    assert settings.source(PostgresSettings, "tmpfs") == "pytest.ini"


def test_only_options_with_a_flag_are_read_from_the_command_line() -> None:
    assert read(cli={"testbed_pg_image": "x"})[PostgresSettings].image == "postgres:18"


def test_an_override_is_told_from_the_file() -> None:
    given = {"ini": {"testbed_pg_image": "x", "testbed_pg_tmpfs": False}}
    settings = read(cli={"override_ini": ["testbed_pg_image=x"]}, **given)
    assert settings.source(PostgresSettings, "image") == "-o on the command line"
    assert settings.source(PostgresSettings, "tmpfs") == "pytest.ini"


# --- types


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("image", "postgres:17", "postgres:17"),
        ("image", "", ""),
        ("url", "", None),
        ("tmpfs", "OFF", False),
        ("tmpfs", "yes", True),
        ("lock_timeout", "0.5", 0.5),
        ("port", "5433", 5433),
        ("port", "", None),
        ("grace", "2", 2.0),
        ("grace", " ", None),
        ("driver", "psycopg", "psycopg"),
        ("schema", "a.sql b.sql", ("a.sql", "b.sql")),
        ("schema", "my file.sql\n\n b.sql \n", ("my file.sql", "b.sql")),
        ("schema", "", ()),
        ("data", "var", Path("/shell/var")),
        ("data", "/var", Path("/var")),
    ],
)
def test_texts_become_values(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    found = from_env(monkeypatch, name, text)
    assert found == value
    assert type(found) is type(value)


def test_typed_ini_values_become_ours() -> None:
    ini = {"testbed_pg_schema": ["a b", "c"], "testbed_pg_grace": 2, "testbed_pg_data": "var", "testbed_pg_port": 1}
    values = read(ini=ini)[PostgresSettings]
    assert (values.schema, values.grace, values.port) == (("a b", "c"), 2.0, 1)
    assert type(values.grace) is float
    assert values.data == Path("/project/var"), "a path in an ini file starts at that file"


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_env(monkeypatch, "data", "~/pg") == Path.home() / "pg"


# --- bad values


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("lock_timeout", "abc", "is not a number."),
        ("lock_timeout", "", "is not a number."),
        ("lock_timeout", "0", "must be above 0."),
        ("lock_timeout", "nan", "must be above 0."),
        ("port", "5.5", "is not a whole number."),
        ("port", "-1", "must be above 0."),
        ("tmpfs", "maybe", "is not true or false."),
        ("driver", "mysql", "is not one of psycopg2, psycopg."),
        ("driver", "psycopg3", "is not one of psycopg2, psycopg; did you mean 'psycopg'?"),
        ("driver", "PSYCOPG", "is not one of psycopg2, psycopg; did you mean 'psycopg'?"),
    ],
)
def test_a_bad_text_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, name: str, text: str, wrong: str) -> None:
    with pytest.raises(pytest.UsageError) as caught:
        from_env(monkeypatch, name, text)
    assert str(caught.value) == f"testbed_pg_{name} = {text!r} (from environment TESTBED_PG_{name.upper()}) {wrong}"


@pytest.mark.parametrize(
    ("name", "raw", "wrong"),
    [
        ("image", ["a"], "is not a string."),
        ("schema", ["a", 1], "is not a list of strings."),
        ("tmpfs", 1, "is not true or false."),
        ("retries", True, "is not a whole number."),
        ("grace", False, "is not a number."),
        ("driver", 3, "is not one of psycopg2, psycopg."),
        ("data", 3, "is not a path."),
    ],
)
def test_a_wrong_type_from_the_ini_is_a_usage_error(name: str, raw: object, wrong: str) -> None:
    with pytest.raises(pytest.UsageError) as caught:
        read(ini={f"testbed_pg_{name}": raw})
    assert str(caught.value) == f"testbed_pg_{name} = {raw!r} (from pytest.ini) {wrong}"


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), pytest.UsageError("x")])
def test_what_getini_refuses_is_told_in_our_words(tmp_path: Path, error: Exception) -> None:
    inipath = tmp_path / "tox.ini"
    inipath.write_text("[pytest]\ntestbed_pg_tmpfs = maybe\n")
    given: dict[str, Any] = {"ini": {"testbed_pg_tmpfs": error}, "inipath": inipath}
    with pytest.raises(pytest.UsageError, match=r"^testbed_pg_tmpfs = 'maybe' \(from tox.ini\) is not true or false.$"):
        read(**given)
    with pytest.raises(pytest.UsageError, match=r"^testbed_pg_tmpfs = 'so' \(from -o on the command line\) is not"):
        read(cli={"override_ini": ["testbed_pg_tmpfs=no", "testbed_pg_tmpfs=so"]}, **given)


def test_an_empty_ini_value_of_an_optional_number_is_none() -> None:
    settings = read(ini={"testbed_pg_port": ValueError("int('')")}, cli={"override_ini": ["testbed_pg_port="]})
    assert settings[PostgresSettings].port is None
    assert settings.source(PostgresSettings, "port") == "-o on the command line"


def test_a_section_that_nobody_registered_is_a_programming_error() -> None:
    class Forgotten(Section, prefix="forgotten"):
        field: int = option(1, help="Forgotten.")

    with pytest.raises(ValueError, match="unknown configuration value"):
        read_all(FakeConfig(), [Forgotten])  # type: ignore[arg-type]


# --- what is shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://bob:s3cret@db:5432/app", "postgresql://bob:***@db:5432/app"),
        ("postgresql://bob:p@ss/s3cret@db/app", "postgresql://bob:***@db/app"),
        ("postgresql://:s3cret@db", "postgresql://:***@db"),
        ("postgresql://bob@db/app", "postgresql://bob@db/app"),
        ("postgresql://db:5432/app", "postgresql://db:5432/app"),
        ("postgresql:///app?user=bob&password=s3cret&x=1", "postgresql:///app?user=bob&password=***&x=1"),
        ("host=db password=s3cret", "***"),
    ],
)
def test_a_url_keeps_all_but_its_password(monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    assert from_env(monkeypatch, "url", url) == url
    assert read().changed() == [("testbed_pg_url", shown, "environment TESTBED_PG_URL")]


def test_changed_lists_what_was_set_in_the_order_of_declaration() -> None:
    ini = {"testbed_reuse": True, "testbed_pg_schema": ["a", "b"], "testbed_pg_token": "s3cret", "testbed_pg_port": 1}
    assert read(ini=ini).changed() == [
        ("testbed_pg_token", "***", "pytest.ini"),
        ("testbed_pg_schema", "a, b", "pytest.ini"),
        ("testbed_pg_port", "1", "pytest.ini"),
        ("testbed_reuse", "true", "pytest.ini"),
    ]


def test_an_error_masks_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    class Guarded(Section, prefix=""):
        provider: str = option("", help="Guarded.", secret=True, check=positive_length)

    monkeypatch.setenv("TESTBED_PROVIDER", "amqp://bob:s3cret@mq")
    with pytest.raises(pytest.UsageError) as caught:
        read_all(FakeConfig(), [Guarded])  # type: ignore[arg-type]
    assert str(caught.value) == ("testbed_provider = 'amqp://bob:***@mq' (from environment TESTBED_PROVIDER) must be short.")


def positive_length(value: str) -> None:
    raise ValueError("must be short")


def test_settings_from_values() -> None:
    settings = Settings.from_values(PostgresSettings(image="x"))
    assert settings[PostgresSettings].image == "x"
    assert settings.source(PostgresSettings, "url") == "default"
    assert settings.changed() == [("testbed_pg_image", "x", "code")]
    with pytest.raises(KeyError):
        settings[CoreSettings]


# --- unknown names


def unknown(tmp_path: Path, name: str = "pytest.ini", text: str = "", **given: Any) -> str:
    """Return the message of check_unknown, "" if it has nothing to say."""
    inipath = tmp_path / name
    inipath.write_text(text)
    try:
        check_unknown(FakeConfig(inipath=inipath, **given), SECTIONS)  # type: ignore[arg-type]
    except pytest.UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("pytest.ini", "[pytest]\n"),
        (".pytest.ini", "[pytest]\n"),
        ("tox.ini", "[tox]\ntestbed_pg_x = 1\n[pytest]\n"),
        ("setup.cfg", "[pytest]\ntestbed_pg_x = 1\n[tool:pytest]\n"),
        ("pyproject.toml", "[pytest]\ntestbed_pg_x = 1\n[tool.pytest.ini_options]\n"),
        ("pyproject.toml", "[pytest]\ntestbed_pg_x = 1\n[tool.pytest]\n"),
        ("pytest.toml", "[pytest]\n"),
        (".pytest.toml", "[pytest]\n"),
        ("other.toml", "[tool.pytest.ini_options]\n"),
    ],
)
def test_an_unknown_key_is_found_in_every_kind_of_file(tmp_path: Path, name: str, head: str) -> None:
    text = f"{head}testpaths = 'x'\ntestbed_pg_imgae = 'x'\ntestbed_pg_image = 'y'\n"
    assert unknown(tmp_path, name, text) == (
        f"'testbed_pg_imgae' (from {name}) is not an option of pytest-testbed; did you mean 'testbed_pg_image'?"
    )


def test_an_unknown_key_without_a_near_one_says_where_to_look(tmp_path: Path) -> None:
    assert unknown(tmp_path, text="[pytest]\ntestbed_zzz = 1\n") == (
        "'testbed_zzz' (from pytest.ini) is not an option of pytest-testbed; 'pytest --help' lists all that are."
    )


def test_an_unknown_override_is_found(tmp_path: Path) -> None:
    message = unknown(tmp_path, cli={"override_ini": ["testbed_providr=x", "addopts=testbed_x", "testbed_reuse=1"]})
    assert message == (
        "'testbed_providr' (from -o on the command line) is not an option of pytest-testbed; did you mean 'testbed_provider'?"
    )


def test_a_key_that_a_stranger_registered_is_fine_even_with_a_bad_value(tmp_path: Path) -> None:
    text = "[pytest]\ntestbed_kafka = maybe\n"
    assert "testbed_kafka" in unknown(tmp_path, text=text)
    assert unknown(tmp_path, text=text, strangers=("testbed_kafka",)) == ""
    for error in (ValueError("invalid truth value 'maybe'"), TypeError("x"), pytest.UsageError("x")):
        assert unknown(tmp_path, text=text, strangers=("testbed_kafka",), ini={"testbed_kafka": error}) == ""


def test_a_file_without_our_names_is_not_parsed(tmp_path: Path) -> None:
    assert unknown(tmp_path, text="[[[ no ini at all") == ""
    assert unknown(tmp_path, "pyproject.toml", "= no toml") == ""


def test_without_an_ini_file_there_is_nothing_to_say() -> None:
    check_unknown(FakeConfig(inipath=None), SECTIONS)  # type: ignore[arg-type]


def test_only_near_misses_in_the_environment_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_PG_USER", "mine")
    monkeypatch.setenv("TESTBED_HOME", "mine")
    monkeypatch.setenv("TESTBED_PG_IMAGE", "known")
    assert unknown(tmp_path) == ""
    monkeypatch.setenv("TESTBED_PG_IMAGES", "s3cret")
    assert unknown(tmp_path, strangers=("testbed_pg_images",)) == ""
    assert unknown(tmp_path) == (
        "'TESTBED_PG_IMAGES' (from the environment) is not an option of pytest-testbed; did you mean 'TESTBED_PG_IMAGE'?"
    )


def test_all_unknown_names_are_told_at_once(tmp_path: Path) -> None:
    assert unknown(tmp_path, text="[pytest]\ntestbed_a = 1\ntestbed_b = 2\n").count("is not an option") == 2


# --- marks

ALLOWED: dict[str, Any] = {
    "isolation": ("transaction", "database"),
    "reset": (True, False),
    "seconds": float,
    "schema": str | None,
    "count": int,
    "anything": None,
}


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"isolation": "database"},
        {"reset": False},
        {"seconds": 1},
        {"seconds": 0.5, "count": 3},
        {"schema": None},
        {"schema": "a"},
        {"anything": object()},
    ],
)
def test_good_arguments_of_a_mark_pass(kwargs: dict[str, Any]) -> None:
    check_mark("pg", (), kwargs, ALLOWED, "test_x.py::test_a")


@pytest.mark.parametrize(
    ("kwargs", "wrong"),
    [
        ({"isolaton": "database"}, "'isolaton' is not an argument of it; did you mean 'isolation'?"),
        (
            {"zzz": 1},
            "'zzz' is not an argument of it; there are: isolation=, reset=, seconds=, schema=, count=, anything=.",
        ),
        ({"isolation": "databse"}, "'databse' is not one of 'transaction', 'database'; did you mean 'database'?"),
        ({"isolation": ["x"]}, "['x'] is not one of 'transaction', 'database'."),
        ({"reset": 1}, "1 is not one of True, False."),
        ({"seconds": "1"}, "'1' is not of type float."),
        ({"seconds": True}, "True is not of type float."),
        ({"count": True}, "True is not of type int."),
        ({"count": 1.0}, "1.0 is not of type int."),
        ({"schema": 1}, "1 is not of type str or None."),
    ],
)
def test_a_bad_argument_of_a_mark_is_told(kwargs: dict[str, Any], wrong: str) -> None:
    ((name, value),) = kwargs.items()
    with pytest.raises(ConfigurationError) as caught:
        check_mark("pg", (), kwargs, ALLOWED, "test_x.py::test_a")
    assert str(caught.value) == f"@pytest.mark.pg({name}={value!r}) on test_x.py::test_a: {wrong}"


def test_a_positional_argument_of_a_mark_is_told() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_mark("budget", (5,), {"seconds": 1}, {"seconds": float}, "test_x.py::test_a")
    assert str(caught.value) == ("@pytest.mark.budget(5) on test_x.py::test_a: arguments are given by name; there are: seconds=.")
    with pytest.raises(ConfigurationError, match="there are: none"):
        check_mark("unit", (5,), {}, {}, "test_x.py::test_a")


# --- weight


def test_the_module_stays_light() -> None:
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport pytest_testbed.settings\n"
        "print([name for name in set(sys.modules) - before if not name.startswith('pytest_testbed')])\n"
        "print([name for name in ('tomllib', 'difflib', 'sqlalchemy', 'asyncio', 'ssl') "
        "if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_a_section_is_frozen_and_knows_its_options() -> None:
    from pytest_testbed.plugin import CoreSettings

    section = CoreSettings(provider="docker")
    assert (section.provider, section.missing) == ("docker", "fail")
    with pytest.raises(AttributeError, match="'provider' cannot be set"):
        section.provider = "local"
    with pytest.raises(TypeError, match="no options provder"):
        CoreSettings(provder="docker")
