"""What is suggested for all else: broker, mail, other services, the application, factories, levels, the import path."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from urllib.parse import urlsplit

from .advice import Advice, places
from .findings import Findings
from .roles import Role, role, scheme
from .variables import Read

__all__ = ["advise", "import_path"]

BROKERS = ("pika", "aio-pika", "celery", "kombu", "faststream", "dramatiq", "nameko")
HTTP_MOCKS = (
    "responses",
    "respx",
    "requests-mock",
    "httpretty",
    "aioresponses",
    "pytest-httpx",
    "vcrpy",
    "pytest-httpserver",
    "wiremock",
)
CLIENTS = ("requests", "httpx", "aiohttp", "urllib3")
NOT_CALLED = frozenset(
    {"FRONTEND", "REDIRECT", "CALLBACK", "STATIC", "MEDIA", "DOCS", "OPENAPI", "PUBLIC", "SITE", "LOGIN", "LOGOUT", "CDN"}
    | {"ORIGIN", "CORS", "PROXY", "HOMEPAGE", "IMAGE", "LOGO", "DASHBOARD", "CONFIRM"}
)
"""Words in names of variables with addresses that are only shown to people."""
ENDS = {"URL", "URI", "BASE", "API", "SERVICE", "ENDPOINT", "HOST", "SERVER", "ROOT"}
OF_THE_APP = {"BASE_URL", "APP_URL", "API_URL", "SERVER_URL", "TEST_URL", "API_BASE_URL", "TEST_BASE_URL", "SERVICE_URL"}
PLAIN = re.compile(r"(?:/[a-z][a-z_-]{0,19}|/v?\d{1,3}(?:\.\d{1,2})?){0,4}")
MOST = 4
"""Applications that are shown; of more, the others are hardly the one."""
LEVELS = {
    "unit": ("units", "unittest", "unittests", "unit_tests", "unit-tests", "small", "fast"),
    "integration": ("integrations", "integration_tests", "integration-tests", "functional", "component", "medium"),
    "e2e": ("end_to_end", "end2end", "endtoend", "e2e_tests", "e2e-tests", "acceptance", "system", "browser", "large"),
}


def advise(seen: Findings, advice: Advice) -> None:
    """Suggest what has nothing to do with the database."""
    roles = _roles(seen)
    _broker(seen, advice, roles)
    _mail(seen, advice, roles)
    _application(seen, advice, roles)
    _others(seen, advice, roles)
    _factories(seen, advice)
    _levels(seen, advice)
    if seen.has("httpx"):
        advice.extras["httpx"] = "http_mock for httpx"


def _roles(seen: Findings) -> dict[str, list[tuple[Read, Role, list[str]]]]:
    known: dict[str, list[str]] = defaultdict(list)
    for given in seen.given:
        known[given.name].append(given.value)
    found: dict[str, list[tuple[Read, Role, list[str]]]] = defaultdict(list)
    for read in seen.reads:
        if of := role(read, known[read.name]):
            found[read.name].append((read, of, known[read.name]))
    return found


def _broker(seen: Findings, advice: Advice, roles: dict[str, list[tuple[Read, Role, list[str]]]]) -> None:
    if not seen.has(*BROKERS):
        return
    has_line = False
    for name, reads in roles.items():
        of = reads[0][1]
        if of.service == "rabbitmq":
            where = places(read.place for read, _, _ in reads)
            part = "address" if of.part == "url" else of.part
            advice.entry("testbed_env", f"{name}={{rabbitmq.{of.part}}}", f"{where}: read as the broker's {part}")
            has_line = True
    for library, page in (
        ("celery", "celery"),
        ("faststream", "faststream"),
        ("aio-pika", "rabbitmq-async"),
        ("pika", "rabbitmq"),
    ):
        if seen.has(library) and (has_line or library != "celery"):
            advice.pages[page] = library
            break
    if seen.has("aio-pika"):
        advice.extras["async"] = "aio-pika is used"
    for source in seen.sources.values():
        for text, node in source.strings if not source.is_test and not has_line else []:
            if scheme(text) in ("amqp", "amqps", "pyamqp"):
                advice.by_hand.append(
                    f"{source.at(node)}: the broker's address stands in the source; let it be read from RABBITMQ_URL, and add "
                    "RABBITMQ_URL={rabbitmq.url} to testbed_env."
                )


def _mail(seen: Findings, advice: Advice, roles: dict[str, list[tuple[Read, Role, list[str]]]]) -> None:
    found = {name: reads for name, reads in roles.items() if reads[0][1].service == "mail"}
    if seen.django is not None or not found:
        return  # Django keeps mails of tests itself
    has_port = any(reads[0][1].part == "port" for reads in found.values())
    hosts = [read for reads in found.values() for read, of, _ in reads if of.part == "host"]
    is_used = any(read.is_required or read.default is not None for read in hosts)
    more = "" if has_port else "; the port must come from a variable, too"
    more += "" if is_used or not has_port else "; if tests send mail"
    for name, reads in found.items():
        reason = f"{places(read.place for read, _, _ in reads)}: read as the mail server's {reads[0][1].part}{more}"
        advice.entry("testbed_env", f"{name}={{mail.{reads[0][1].part}}}", reason, is_active=not more)
    if not more:
        advice.extras["mail"] = places(reads[0][0].place for reads in found.values())
    advice.pages["mail"] = "the fixture mailbox"


def _application(seen: Findings, advice: Advice, roles: dict[str, list[tuple[Read, Role, list[str]]]]) -> None:
    django = [each for each in seen.applications if each.kind.startswith("Django")]
    for application in [each for each in seen.applications if each not in django[1:]][:MOST]:
        is_django = application.kind.startswith("Django")
        reason = f"{application.place}: the {application.kind} application, for live_app and api_client"
        if application.needs:
            reason += f"; it wants {', '.join(application.needs)}, so write a function without parameters that calls it"
        elif is_django:
            reason += "; pytest-django has a client and a live server of its own"
        advice.text("testbed_app", application.entry, reason, is_active=not application.needs and not is_django)
    chosen = next((each for each in seen.applications if each.entry in advice.active("testbed_app")), None)
    if chosen is None:
        return
    advice.pages["live-app"] = chosen.kind
    if chosen.is_asgi and not seen.has("uvicorn"):
        advice.extras["asgi"] = str(chosen.place)
    if chosen.kind == "FastAPI":
        advice.pages["fastapi"] = str(chosen.place)
    for name, reads in roles.items():
        tests = [(read, known) for read, of, known in reads if read.is_test and of.part == "url"]
        if name in OF_THE_APP and tests:
            path = _path([tests[0][0].default, *tests[0][1]])
            where = places(read.place for read, _ in tests)
            advice.entry("testbed_env", f"{name}={{app.url}}{path}", f"{where}: the tests read it as the application's address")


def _path(addresses: list[str | None]) -> str:
    """Return the path of the first address, if it is of plain words such as `/api/v1`: the path of a webhook is a secret."""
    for each in addresses:
        if scheme(each) in ("http", "https"):
            with suppress(ValueError):  # an address that is yet to be filled in: https://[HOST]/api
                path = urlsplit(each or "").path.rstrip("/")
                return path if PLAIN.fullmatch(path) else ""
    return ""


def _others(seen: Findings, advice: Advice, roles: dict[str, list[tuple[Read, Role, list[str]]]]) -> None:
    """Suggest a mock service for each address of another service."""
    if not seen.has(*CLIENTS) and not seen.imports("urllib"):
        return
    mocks = [name for name in HTTP_MOCKS if seen.has(name)]
    for name, reads in roles.items():
        own = [(read, known) for read, of, known in reads if of.service == "http" and not read.is_test]
        words = name.upper().split("_")
        if not own or name in OF_THE_APP or NOT_CALLED & set(words):
            continue
        short = [word for word in words if word not in ENDS]
        service = "_".join(short).lower() or "api"
        if not re.match(r"[a-z_]", service):
            continue
        where = places(read.place for read, _ in own)
        reason, is_active = f"{where}: another service's address; mock_service({service!r}) stands in for it", True
        if mocks:
            reason, is_active = f"{reason}, where {mocks[0]} does not do it", False
        elif not all(read.is_required for read, _ in own):
            reason, is_active = f"{reason}, if tests call it", False
        advice.entry(
            "testbed_env", f"{name}={{mock.{service}.url}}{_path([own[0][0].default, *own[0][1]])}", reason, is_active=is_active
        )
        advice.pages["mock-service"] = where


def _factories(seen: Findings, advice: Advice) -> None:
    by_module: dict[str, list[str]] = defaultdict(list)
    for factory in seen.factories:
        by_module[factory.module].append(factory.name)
    for module in by_module:
        bound = [factory for factory in seen.factories if factory.module == module and factory.has_session]
        if bound:
            reason = f"{places(factory.place for factory in bound)}: a session of its own; the tests' session comes in its place"
            entry = module if len(bound) > 1 else f"{module}:{bound[0].name}"
            advice.entry("testbed_factory_rebind", entry, reason, is_active=False)
    clash = "pytest-factoryboy is there, so no fixtures are made; " if seen.has("pytest-factoryboy") else ""
    for module, names in by_module.items():
        place = next(factory.place for factory in seen.factories if factory.module == module)
        reason = f"{place}: {clash}factories, {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}"
        advice.entry("testbed_factory_modules", module, reason, is_active=not clash)
        advice.pages["test-data"] = str(place)


def _levels(seen: Findings, advice: Advice) -> None:
    """Map folders of tests whose names do not say a level as the plugin knows it."""
    folders: dict[str, int] = defaultdict(int)
    for path, source in seen.sources.items():
        *above, own = path.split("/")
        if source.is_test and re.fullmatch(r"test_.*\.py|.*_test\.py", own):
            for depth in range(1, len(above) + 1):
                folders["/".join(above[:depth])] += 1
    for folder, number in sorted(folders.items()):
        own = folder.rpartition("/")[2]
        for level, names in LEVELS.items():
            if own in names:
                reason = f"{folder}: {number} file{'s' if number > 1 else ''} of tests, called {own}"
                advice.entry("testbed_level_folders", f"{level}: {folder}", reason)
                advice.pages["levels"] = folder


def import_path(seen: Findings, advice: Advice) -> None:
    """Suggest the folders from which the modules of the suggested lines are imported."""
    texts = [
        entry.text
        for key, line in advice.lines.items()
        if key in ("testbed_pg_schema", "testbed_pg_bind", "testbed_app", "testbed_factory_modules", "DJANGO_SETTINGS_MODULE")
        for entry in line.entries
    ]
    if any("." in name and name.endswith(".ini") for name in advice.active("testbed_pg_schema")):
        texts += [base.entry for base in seen.bases]
    there = {each.strip("/") or "." for line in seen.config.entries("pythonpath") for each in line.split()}
    for text in texts:
        module = text.partition(":")[0]
        source = seen.modules.get(module)
        if source is None:
            continue
        folder = seen.roots[source.path] or "."
        if folder.removeprefix("./") not in there and not (source.is_test and f"{folder}/conftest.py" in seen.tree):
            reason = f"{source.path}: where {module} is imported from; not needed if the project is installed"
            advice.entry("pythonpath", folder, reason)
