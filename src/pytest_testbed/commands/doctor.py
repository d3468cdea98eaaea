"""`doctor`: what this machine has for tests, and which provider each kind of service would take.

It starts nothing, fetches nothing and writes nothing. What hangs is given up after some seconds, and told.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..services.model import Refusal
from ..services.providers.engine_address import Engine, connect
from .aside import Aside
from .choices import Choice, choices
from .choices import findings as choice_findings
from .engines import engine_findings, image_findings
from .finding import Finding, bad, none, ok, show
from .machine import directory_findings, run_findings, system_findings
from .packages import OWN, own_version, package_findings
from .servers import binary_findings, broker_findings, named_findings
from .told import TOO_SLOW, Told, ask_pytest
from .variables import chosen_cache

__all__ = ["doctor"]

PROJECT = "project"
ENGINE_SECONDS = 5.0
"""For an engine to be found; it has 2 s to answer, once docker's own package is imported."""
LONG = 60.0
"""For calls that have shorter limits of their own."""


def doctor(arguments: Sequence[str] = (), *, as_json: bool = False) -> int:
    """Tell what is found.

    Args:
        arguments: what pytest would be called with.
        as_json: for programs.

    Returns:
        1 where some kind cannot be had, or where pytest would not get as far as asking for it; else 0.
    """
    environ = dict(os.environ)  # to ask for containers sets variables of docker's
    told = Aside(lambda: ask_pytest(arguments))
    engine = Aside(lambda: connect(environ))
    own = [*package_findings(), *system_findings(environ), *run_findings()]
    said = told.result(LONG)
    project = project_findings(said)
    with suppress(ValueError):  # a provider of the project's own lies where its tests would find it
        sys.path += [path for path in said.facts.get("path", ()) if path not in sys.path]
    found, chosen = examined(said, engine, environ)
    by_group = [*project, *own, *directory_findings(cache_of(said, environ), said.facts.get("data", "")), *found]
    code = 1 if said.fault or any(each.fault is not None for each in chosen) else 0
    if as_json:
        print(json.dumps(as_data(by_group, chosen, said, code), indent=2))
    else:
        provider = said.said("testbed_provider")
        kinds = [each for choice in chosen for each in choice_findings(choice, provider[1] if provider else "")]
        show([*in_order(by_group), *kinds])
    return code


def examined(said: Told, engine: Aside[Engine | Refusal], environ: Mapping[str, str]) -> tuple[list[Finding], list[Choice]]:
    """Return what is there for the kinds of a project, and what each would take."""
    specs = said.specs
    kinds = {spec.kind: spec for spec in specs}
    chosen = Aside(lambda: choices(specs, said.providers, said.facts.get("data", "")))
    binaries = Aside(lambda: binary_findings(kinds.get("postgres")))
    broker = Aside(lambda: broker_findings(kinds.get("rabbitmq")))
    try:
        there = engine.result(ENGINE_SECONDS)
    except TimeoutError as error:
        there = Refusal(f"the engine hangs ({error})", "restart it")
    engines = engine_findings(there, environ)
    result = chosen.result(LONG)
    images = list(dict.fromkeys(spec.container.image for spec in specs if spec.container is not None))
    engines[1:1] = image_findings(images, there, outlook(result))
    return [*engines, *binaries.result(LONG), *broker.result(LONG), *named_findings(specs, environ)], result


def outlook(chosen: Sequence[Choice]) -> dict[str, tuple[bool, str]]:
    """Return by image what the docker provider says of one that is not there: whether it can be had, and in words."""
    found = {}
    for each in chosen:
        for verdict in each.verdicts:
            if verdict.provider == "docker" and each.spec.container is not None:
                why = verdict.refusal.reason if verdict.refusal is not None else "; ".join(verdict.notes)
                short = why.removeprefix("the image ").removeprefix(f"{each.spec.container.image} ").removeprefix("is ")
                found[each.spec.container.image] = (verdict.refusal is None, short or "not there")
    return found


def remedy(fault: str, otherwise: str) -> str:
    """Return what can be done about a fault of reading the project: a busy machine is slow without anybody's mistake."""
    return "call again when the machine is less busy; else look what hangs" if fault.startswith(TOO_SLOW) else otherwise


def project_findings(said: Told) -> list[Finding]:
    """Return which project it is, what it says of services, and what keeps pytest from reading it."""
    found = [ok(PROJECT, OWN, own_version() or "from its source")]
    if said.facts:
        ini = said.facts["ini"]
        where = os.path.relpath(ini, said.facts["root"]) if ini else "no ini file"
        found.append(ok(PROJECT, "root", f"{said.facts['root']} ({where})", root=said.facts["root"], ini=ini or None))
        found.append(ok(PROJECT, "plugins", ", ".join(said.facts["plugins"]), plugins=said.facts["plugins"]))
    found += [ok(PROJECT, key, f"{value} (from {source})") for key, value, source in said.facts.get("settings", ())]
    if said.conftest_fault:
        text = f"{said.conftest_fault}\nSo conftest.py files are left out here; kinds that they describe are missing below."
        found.append(bad(PROJECT, "conftest", text, remedy(said.conftest_fault, "correct it: no test can run")))
    if said.fault:
        text = f"{said.fault}\nSo a run would not begin; below, nothing is taken to be configured."
        found.append(
            bad(PROJECT, "pytest", text, remedy(said.fault, "correct it") if said.is_installed else f"pip install {OWN}")
        )
    elif not said.is_loaded:
        text = "pytest does not load the plugin here; below, nothing is taken to be configured"
        found.append(bad(PROJECT, "pytest", text, f"install {OWN} in this Python, or pytest -p pytest_testbed.plugin"))
    missing = said.said("testbed_missing")
    if missing and missing[0] == "skip":
        found.append(none(PROJECT, "skipping", "tests whose service is missing are skipped, not failed"))
    return found


def cache_of(said: Told, environ: Mapping[str, str]) -> str:
    """Return the cache directory that the user chose, "" for the usual one."""
    return str(said.facts.get("cache", "")) if said.is_loaded else chosen_cache(environ)


GROUPS = ("machine", PROJECT, "packages", "directories", "runs")


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with those of the machine first; the others stay as they come."""
    at = {group: place for place, group in enumerate(GROUPS)}
    return sorted(findings, key=lambda each: at.get(each.group, len(at)))


def as_data(findings: Sequence[Finding], chosen: Sequence[Choice], said: Told, code: int) -> dict[str, Any]:
    """Return everything as JSON data."""
    return {
        "version": own_version(),
        "code": code,
        "project": said.facts.get("root"),
        "fault": said.fault or None,
        "findings": [each.to_json() for each in in_order(findings)],
        "kinds": [each.to_json() for each in chosen],
    }
