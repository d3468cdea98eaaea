"""What is said of the tests that are there: what stands in the way, what can go, and which pages fit."""

from __future__ import annotations

import re
from collections import defaultdict

from ...services.model import masked
from .advice import Advice, places
from .findings import Findings
from .on_database import url_form
from .testcode import Hint
from .tree import Place

__all__ = ["advise"]

SESSIONS = {
    "db": "pg_session",
    "session": "pg_session",
    "db_session": "pg_session",
    "dbsession": "pg_session",
    "database_session": "pg_session",
    "async_session": "pg_async_session",
    "async_db": "pg_async_session",
    "engine": "pg_engine",
    "db_engine": "pg_engine",
    "async_engine": "pg_async_engine",
    "connection": "pg_connection",
    "db_connection": "pg_connection",
}
PEERS = {
    "pytest-postgresql": "coming-from-pytest-postgresql",
    "pytest-databases": "coming-from-pytest-databases",
    "pytest-testcontainers": "coming-from-pytest-testcontainers",
    "testcontainers": "coming-from-testcontainers",
    "pytest-rabbitmq": "coming-from-pytest-rabbitmq",
}
CAN_GO = {
    "clean-up": "deletes rows; every test begins with the schema's rows alone",
    "drop_all": "drops the tables; where it runs for each test, that costs each test a new clone",
    "sleep": "sleeps; rabbitmq_broker.expect, mailbox.expect and verify(within=…) wait for the event",
}


def advise(seen: Findings, advice: Advice) -> None:
    """Add what is to be done by hand, and pages."""
    by_kind: dict[str, list[Hint]] = defaultdict(list)
    for hint in seen.hints:
        by_kind[hint.kind].append(hint)
    _in_the_way(seen, advice, by_kind)
    for peer, page in PEERS.items():
        if peer in seen.dependencies:
            advice.pages[page] = f"{seen.dependencies[peer]}: {peer}"
    if by_kind["testcontainers"] or by_kind["docker"]:
        found = [hint.place for hint in (*by_kind["testcontainers"], *by_kind["docker"])]
        advice.pages["coming-from-testcontainers"] = f"{places(found)}: containers that tests start by hand"
    for kind, text in CAN_GO.items():
        if by_kind[kind]:
            advice.by_hand.append(f"{places(hint.place for hint in by_kind[kind])}: {text}.")
    _fixtures(seen, advice)


def _in_the_way(seen: Findings, advice: Advice, by_kind: dict[str, list[Hint]]) -> None:
    exported = {text.partition("=")[0] for text in advice.active("testbed_env")}
    setting: dict[str, list[Place]] = defaultdict(list)
    for hint in by_kind["set"]:
        if hint.detail in exported:
            setting[hint.detail].append(hint.place)
    for name, found in setting.items():
        advice.by_hand.append(f"{places(found)}: sets {name} itself, which undoes the line of testbed_env; take that out.")
    if by_kind["dotenv"]:
        found = [hint.place for hint in by_kind["dotenv"]]
        advice.by_hand.append(f"{places(found)}: load_dotenv(override=True) undoes lines of testbed_env; take the override out.")
    for text in seen.config.entries("env"):
        if (name := re.sub(r"^(?:[DR]:)*", "", text).partition("=")[0].strip()) in exported:
            advice.by_hand.append(f"{seen.config.place('env')}: pytest-env sets {name}, too; take that out.")
    _addresses(seen, advice, by_kind["address"])


def _addresses(seen: Findings, advice: Advice, found: list[Hint]) -> None:
    """Tell of addresses that stand in the tests, unless they are what counts without a variable."""
    read_at = {(read.place.path, read.place.line) for read in seen.reads}
    own = [hint for hint in found if (hint.place.path, hint.place.line) not in read_at]
    for prefix, name, form, fixtures in (
        ("postgres", "DATABASE_URL", "", "pg_url or pg_engine"),
        ("amqp", "RABBITMQ_URL", "{rabbitmq.url}", "rabbitmq_url"),
    ):
        fitting = [hint for hint in own if hint.detail.startswith(prefix)]
        if fitting:
            suggested = dict(text.split("=", 1) for text in advice.active("testbed_env"))
            form = suggested.get(name) or form or url_form(seen, [], [hint.detail.partition("://")[0] for hint in fitting])
            advice.by_hand.append(
                f"{places(hint.place for hint in fitting)}: an address stands there, such as {masked(fitting[0].detail)}. If it "
                f"is connected to, let it be read from a variable that testbed_env sets ({name}={form}), or take {fixtures}."
            )


def _fixtures(seen: Findings, advice: Advice) -> None:
    """Tell of fixtures that ours can stand in for."""
    found = [each for each in seen.fixtures if each.name in SESSIONS and each.name not in SESSIONS.values()]
    engines = ("create_engine", "create_async_engine", "sessionmaker", "Session", "async_sessionmaker")
    made = [
        each
        for each in {each.name: each for each in reversed(found)}.values()
        if any(call.rpartition(".")[2] in engines for call in each.calls)
    ]
    if not made:
        return
    keep = "They can stay as they are with the address of testbed_env. " if advice.active("testbed_env") else ""
    shown = "\n\n".join(
        f"    @pytest.fixture\n    def {each.name}({SESSIONS[each.name]}):\n        return {SESSIONS[each.name]}"
        for each in made[:3]
    )
    named = ", ".join(f"{each.name} ({each.place})" for each in made)
    advice.by_hand.append(f"Fixtures {named}: {keep}Or three lines, and each test is rolled back:\n\n{shown}")
    advice.pages["from-a-conftest"] = places(each.place for each in made)
    advice.pages["existing-suite"] = "tests that stay as they are"
