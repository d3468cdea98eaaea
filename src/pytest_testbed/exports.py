"""`testbed_env`: addresses of services as environment variables, set before any conftest is imported."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import pytest

from .errors import ConfigurationError
from .nearest import suggestion
from .plugin import PARTS, RUN, WORKER, CoreSettings, run_of, sections, usage_errors
from .settings import SETTINGS, Settings

__all__ = ["EXPORTS", "Address", "environment_before", "export", "exported_kinds", "parsed"]

HANDED_ON = "_PYTEST_TESTBED_PARTY"
"""The variable by which xdist's workers know, before their own configuration does, which run they belong to."""
FORM = re.compile(r"\{(?P<open>\{)|\}(?P<close>\})|\{(?P<name>[^{}]*)\}|[{}]")
DRIVERS = ("psycopg2", "psycopg", "psycopg_async", "asyncpg", "pg8000", "psycopg2cffi")
"""What SQLAlchemy brings for PostgreSQL."""
MORE = re.compile(r"[?&]+")
"""What a text begins its own parameters with, right behind a URL."""
SAID = re.compile(r"(?:^|&)([^=&]+)=")
UP_TO = re.compile(r"\s|\{\w+\.url")
"""Where these parameters end, if not with the text."""
EXPORTS: pytest.StashKey[Exports] = pytest.StashKey()


class Address(Protocol):
    """Where applications find a service; its kind is "" where the engine has nothing to do with it."""

    kind: str

    def form(self, name: str) -> str:
        """Return one form of the address, such as "url", "url+asyncpg" or "port".

        Raises:
            KeyError: there is no such form.
            ConfigurationError: this address cannot be had in it.
        """

    def settle(self) -> None:
        """Note that nothing more will be imported before the tests."""


class Exports(NamedTuple):
    """What a run exports: the templates, the addresses by their prefix, and the variables with their values before."""

    templates: Sequence[tuple[str, str]]
    addresses: Mapping[str, Any]
    before: Mapping[str, str | None]


class Early:
    """pytest's configuration before it has read the whole command line: what is known of that already counts."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)

    def getoption(self, name: str, default: Any = None) -> Any:
        """Return an option of the command line."""
        return getattr(self._config.known_args_namespace, name, default)

    @property
    def runs_workers(self) -> bool:
        """Whether xdist's workers will run the tests."""
        return bool(self.getoption("numprocesses")) or self.getoption("dist", "no") != "no" or bool(self.getoption("tx"))


def export(config: pytest.Config) -> None:
    """Set the variables of `testbed_env`, and let a host hold the addresses.

    Raises:
        pytest.UsageError: a line cannot be understood, or names a form that there is not.
    """
    early = Early(config)
    if early.getoption("help") or early.getoption("version") or EXPORTS in config.stash:
        return
    handed_on = _take_over()
    hands_on = handed_on is None and early.runs_workers
    with usage_errors():
        config.stash[SETTINGS] = settings = Settings.from_config(early, sections())  # type: ignore[arg-type]
        core = settings[CoreSettings]
        parts = {prefix: part for part in _parts(config) for prefix in part.EXPORTS}
        lines = parsed(core.env, settings.source(CoreSettings, "env"))
        wanted = check(lines, parts, settings.source(CoreSettings, "env"))
        run = run_of(config)
        if handed_on is not None:
            config.stash[WORKER] = os.environ["PYTEST_XDIST_WORKER"]
            run.take_part(handed_on["party"])
        elif hands_on:
            run.share()
        addresses = {prefix: parts[prefix].export_address(config, run, prefix) for prefix in wanted}
        before = {name: os.environ.get(name) for name, text in lines}
        config.stash[EXPORTS] = Exports(lines, addresses, before)
        config.add_cleanup(lambda: _end(config))  # also where an address cannot be had in some form
        variables = dict(values(lines, addresses, settings.source(CoreSettings, "env")))
    run.exported = exported_kinds(config)
    os.environ.update(variables)
    if hands_on:
        os.environ[HANDED_ON] = json.dumps({"party": run.share(), "before": before})


def _parts(config: pytest.Config) -> Iterator[Any]:
    """Return our parts that are not switched off."""
    for name in PARTS:
        if config.pluginmanager.getplugin(name) is not None and hasattr(part := import_module(name), "EXPORTS"):
            yield part


def _take_over() -> dict[str, Any] | None:
    """Return what a controller has handed on, if one has, and undo its own exports."""
    text = os.environ.pop(HANDED_ON, None)
    if text is None or "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    told: dict[str, Any] = json.loads(text)
    restore(told["before"])
    return told


def restore(before: Mapping[str, str | None]) -> None:
    """Give variables of the environment their former values."""
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _end(config: pytest.Config) -> None:
    """End what was begun early, also where the configuration never came to its end."""
    for address in config.stash[EXPORTS].addresses.values():
        address.settle()
    if RUN in config.stash:
        config.stash[RUN].close()
    os.environ.pop(HANDED_ON, None)
    restore(config.stash[EXPORTS].before)


def environment_before(config: pytest.Config) -> dict[str, str]:
    """Return the environment without what we have exported: it must not be taken for a server that somebody names."""
    exports = config.stash.get(EXPORTS, None)
    before = exports.before if exports is not None else {}
    return {name: value for name, value in {**os.environ, **before}.items() if value is not None}


def exported_kinds(config: pytest.Config) -> set[str]:
    """Return the kinds of service whose address is in the environment."""
    exports = config.stash.get(EXPORTS, None)
    return {address.kind for address in exports.addresses.values()} - {""} if exports is not None else set()


# --- the lines


def parsed(lines: Sequence[str], source: str) -> list[tuple[str, str]]:
    """Return each line's variable and template.

    Raises:
        ConfigurationError: a line is not of the form NAME=text, or two are for one variable.
    """
    found: dict[str, str] = {}
    for line in lines:
        name, equals, text = line.partition("=")
        name, text = name.strip(), re.sub(r"\s+#.*", "", text).strip()
        if not equals or not name.isidentifier():
            raise ConfigurationError(
                f"testbed_env (from {source}) holds {line!r}, which is not of the form NAME=text, such as "
                "DATABASE_URL={pg.url+psycopg2}."
            )
        if name in found:
            raise ConfigurationError(
                f"testbed_env (from {source}) sets {name} twice: {name}={found[name]} and {name}={text}; leave one of them out."
            )
        found[name] = text
    return list(found.items())


def check(lines: Sequence[tuple[str, str]], parts: Mapping[str, Any], source: str) -> list[str]:
    """Return the prefixes of all forms that the lines name.

    Raises:
        ConfigurationError: a line names a form that there is not; says the nearest.
    """
    wanted: dict[str, None] = {}
    for variable, text in lines:
        for match in FORM.finditer(text):
            if match["open"] or match["close"]:
                continue
            name = match["name"]
            if name is None:
                raise ConfigurationError(
                    f"testbed_env (from {source}): {variable}={text} has a brace without its counterpart; write {{{{ or }}}} for "
                    "one that is meant."
                )
            if match.start() and text[match.start() - 1] == "$":
                raise ConfigurationError(
                    f"testbed_env (from {source}): {variable}={text} has a dollar sign before {{{name}}}, which would become a "
                    "part of the value; leave it out."
                )
            if fault := fault_of(name, parts):
                raise ConfigurationError(f"testbed_env (from {source}): {variable}={text} names {{{name}}}, {fault}")
            wanted[name.partition(".")[0]] = None
    return list(wanted)


def fault_of(name: str, parts: Mapping[str, Any]) -> str:
    """Return what is wrong with a form, and what to write, as the end of a sentence; "" where it can be had."""
    forms = [f"{prefix}.{form}" for prefix, part in parts.items() for form in part.EXPORTS[prefix]]
    if is_form(name.partition("+")[0], forms) and ("+" not in name or has_drivers(name, parts)):
        near = nearest_driver(name)
        return f"which there is not{near}" if near else ""
    off = {
        prefix: f"-p no:{part}" for part in PARTS for prefix in getattr(import_module(part), "EXPORTS", ()) if prefix not in parts
    }
    if switch := off.get(name.partition(".")[0]):
        return f"and the part that gives it is switched off ({switch}); switch it on, or leave the line out."
    known = ", ".join(f"{{{form.replace('*', 'NAME')}}}" for form in forms)
    there = (
        f"; there are: {known}."
        if known
        else f"; all parts that have some are switched off ({' '.join(dict.fromkeys(off.values()))})."
    )
    return "which there is not" + (driver_hint(name, parts) or suggestion(name, likely(name, forms)) or there)


def is_form(name: str, forms: Sequence[str]) -> bool:
    """Tell whether a form is one of those that there are; a star in one of these stands for a name of the user's."""
    return name in forms or any(re.fullmatch(form.replace(".", r"\.").replace("*", r"\w[\w-]*"), name) for form in forms)


def likely(name: str, forms: Sequence[str]) -> list[str]:
    """Return the forms to compare a wrong one with: in those with a star is the name that it has."""
    middle = re.sub(r"[^\w-]+", "-", "".join(name.split(".")[1:2])).strip("-") or "NAME"
    return [form.replace("*", middle) for form in forms]


def has_drivers(name: str, parts: Mapping[str, Any]) -> bool:
    """Tell whether a form may name a driver after a plus sign, and names one."""
    form, _, driver = name.partition("+")
    prefix, _, word = form.partition(".")
    # what everybody calls psycopg 3 is not its name
    return word == "url" and driver.isidentifier() and driver != "psycopg3" and prefix == "pg" and prefix in parts


def driver_hint(name: str, parts: Mapping[str, Any]) -> str:
    """Return what to write where a driver is missing, or wrong, after a plus sign; "" where there should be none."""
    form, plus, driver = name.partition("+")
    if not plus or not has_drivers(f"{form}+psycopg", parts):
        return ""
    if driver == "psycopg3":
        return f"; SQLAlchemy's name of psycopg 3 is psycopg: {{{form}+psycopg}}"
    return f"; name a driver of SQLAlchemy after the plus sign, such as {{{form}+psycopg2}}"


def nearest_driver(name: str) -> str:
    """Return "; did you mean 'x'?" for a driver that SQLAlchemy does not know and that is almost one it knows, or ""."""
    form, _, driver = name.partition("+")
    if not driver or driver in DRIVERS:
        return ""
    from importlib.metadata import entry_points

    installed = entry_points(group="sqlalchemy.dialects")
    others = [each.name.partition(".")[2] for each in installed if each.name.startswith("postgresql.")]
    if driver in others:
        return ""
    # an application may register its own at import, so what is only remotely like another stays as it is
    return suggestion(name, [f"{form}+{each}" for each in (*DRIVERS, *others)], skip=len(f"{form}+"), cutoff=0.8)


def values(lines: Sequence[tuple[str, str]], addresses: Mapping[str, Address], source: str) -> Iterator[tuple[str, str]]:
    """Yield each line's variable and its value.

    Raises:
        ConfigurationError: an address cannot be had in the form that a line names.
    """
    for variable, text in lines:
        try:
            yield variable, "".join(_filled(text, addresses))
        except ConfigurationError as error:
            raise ConfigurationError(f"testbed_env (from {source}): {variable}={text} cannot be exported: {error}") from None


def _filled(text: str, addresses: Mapping[str, Address]) -> Iterator[str]:
    """Yield a template's parts with all forms filled in."""
    at = 0
    for match in FORM.finditer(text):
        yield text[at : match.start()]
        at = match.end()
        if match["name"] is None:
            yield match[0][0]
            continue
        prefix, _, form = match["name"].partition(".")
        value = addresses[prefix].form(form)
        if form.partition("+")[0] == "url" and (more := MORE.match(text, at)):
            at = more.end()
            value = continued(value, text[at:])
        if match["name"] == "app.url":  # a named one may end with the path that the text goes on with
            at += _doubled(value, text[at:])
        yield value
    yield text[at:]


def _doubled(url: str, more: str) -> int:
    """Return how many letters of a text behind a URL say once more what the URL ends with: "/api" after "http://host/api"."""
    path = "/" + url.partition("://")[2].partition("/")[2].strip("/")
    return len(path) if path != "/" and re.match(re.escape(path) + r"(/|$)", more) else 0


def continued(url: str, more: str) -> str:
    """Return a URL up to where a text goes on with parameters of its own.

    Whether the URL has some already depends on the server, and the text cannot know. A parameter that both have is the text's:
    SQLAlchemy would make a list of two.
    """
    head, _, query = url.partition("?")
    said = SAID.findall(UP_TO.split(more, maxsplit=1)[0])
    kept = [each for each in query.split("&") if each and each.partition("=")[0] not in said]
    return f"{head}?{''.join(f'{each}&' for each in kept)}"
