"""What pytest says of the project in the present directory: a child process of it reads the configuration and tells."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from ..services.model import ServiceSpec
from .shown import without_passwords

__all__ = ["Told", "ask_pytest"]

PLUGIN = "pytest_testbed.telling"
MARK = "@pytest-testbed:"
NOWHERE = os.path.join(os.devnull, "cache")
"""A directory that cannot be made."""
WITHOUT_WRITING = (f"--log-file={os.devnull}", "-o", f"cache_dir={NOWHERE}")
SECONDS = 15.0
"""For a project's conftests to be imported."""
TOO_SLOW = "pytest has not read its configuration within"
"""How a fault begins that may be the machine's, and no mistake of the project."""


@dataclass
class Told:
    """What was said.

    `facts` is what the plugin `telling` has written, {} where pytest did not get so far. `fault` is why it did not, and
    `conftest_fault` why it did only without the project's conftests. `is_installed`: whether there is a pytest at all.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    conftest_fault: str = ""
    is_installed: bool = True

    @property
    def is_loaded(self) -> bool:
        """Whether the plugin is a part of this project's pytest."""
        return bool(self.facts.get("is_loaded"))

    @property
    def specs(self) -> list[ServiceSpec]:
        """The kinds as the project has configured them, or as they are where nobody has."""
        if self.is_loaded:
            return sorted((ServiceSpec.from_json(each) for each in self.facts["specs"]), key=lambda spec: spec.kind)
        return [*by_default(os.environ)]

    @property
    def providers(self) -> Mapping[str, str]:
        """Providers that are not built in, name → reference."""
        return dict(self.facts.get("providers", {}))

    def said(self, key: str) -> tuple[str, str] | None:
        """Return an option's value as users may see it, and who said it; None where nobody did."""
        for name, value, source in self.facts.get("settings", ()):
            if name == key:
                return value, source
        return None


def by_default(environ: Mapping[str, str]) -> Sequence[ServiceSpec]:
    """Return the built-in kinds as they are without any option."""
    from ..postgres.given import given_url as given_server
    from ..postgres.service import postgres_spec
    from ..rabbitmq.given import given_url as given_broker
    from ..rabbitmq.service import rabbitmq_spec

    specs = []
    for make, given in ((postgres_spec, given_server(None, "", environ)), (rabbitmq_spec, given_broker(None, "", environ))):
        spec = make(url=given.url, url_source=given.source)
        specs.append(spec.with_(options={**spec.options, "url_remedy": given.passed_over}) if given.passed_over else spec)
    return specs


def ask_pytest(arguments: Sequence[str] = ()) -> Told:
    """Let pytest tell, with the arguments that it would be called with; without conftests where these are at fault."""
    if find_spec("pytest") is None:
        return Told(fault="pytest is not installed", is_installed=False)
    facts, fault, is_of_conftest = called(arguments)
    if facts is not None:
        return Told(facts)
    if not is_of_conftest:
        return Told(fault=fault)
    facts, deeper, _ = called([*arguments, "--noconftest"])
    return Told(fault=deeper) if facts is None else Told(facts, conftest_fault=fault)


def called(arguments: Sequence[str]) -> tuple[dict[str, Any] | None, str, bool]:
    """Call pytest; return what it has told, or in a few lines why it has not, and whether a conftest may be to blame."""
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments, "-p", PLUGIN, "--capture=no", *WITHOUT_WRITING],
        env=environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    atexit.register(end_all, child)  # Ctrl-C does not reach its session
    is_late = False
    try:
        out, err = child.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        is_late = True  # or somebody holds its pipes: then it may have told all
        out, err = after_the_end(child)
    end_all(child)  # what a conftest has started, to be ended with a session that never begins
    atexit.unregister(end_all)
    for line in out.split("\n"):
        _, mark, text = line.partition(MARK)
        if mark:
            with suppress(ValueError):
                return dict(json.loads(text)), "", False
    if is_late:
        return None, f"{TOO_SLOW} {SECONDS:g} s", True
    return None, cause(out, err) or f"pytest ended with exit code {child.returncode}", "conftest" in out + err


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the child's environment: it writes no bytecode, and does not mind that its cache cannot be written."""
    warnings = ",".join(filter(None, (environ.get("PYTHONWARNINGS"), "ignore:could not create cache path")))
    return {**environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": warnings}


def end_all(child: subprocess.Popen[str]) -> None:
    """End a child and what it has started."""
    if hasattr(os, "killpg"):
        with suppress(OSError):  # there is nobody left
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()


def after_the_end(child: subprocess.Popen[str]) -> tuple[str, str]:
    """End a child and what it has started; return what they have written."""
    end_all(child)
    try:
        return child.communicate(timeout=1)
    except subprocess.TimeoutExpired as error:  # who holds the pipes has left the session
        for pipe in filter(None, (child.stdout, child.stderr)):
            pipe.close()
        return (error.stdout or b"").decode("utf-8", "replace"), ""


def cause(out: str, err: str) -> str:
    """Return of what pytest wrote the lines that say why it did not go on, with passwords masked."""
    lines = [without_passwords(line.rstrip()) for line in [*out.splitlines(), *err.splitlines()] if line.strip()]
    usage = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
    errors = usage or [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if errors:
        return "\n".join(dict.fromkeys(errors))
    heads = [line for line in lines if line.startswith("ImportError while loading conftest")]
    ends = [line.removeprefix("E").strip() for line in lines if line.startswith("E  ")]
    return "\n".join([*heads[:1], *ends[-1:]] or lines[-2:])
