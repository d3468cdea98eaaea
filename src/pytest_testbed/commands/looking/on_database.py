"""What is suggested for the database: its address, the schema, the application's own engines, the server."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise

from ...services.model import masked
from .advice import Advice, places
from .composed import Image
from .djangosettings import KEYS, is_production
from .findings import Findings
from .models import Target
from .roles import Role, role, scheme
from .tree import Place
from .variables import OF_DATABASES, Read

__all__ = ["advise", "url_form"]

OWN_DRIVERS = ("psycopg2", "psycopg2-binary", "psycopg", "asyncpg", "pg8000")
FOREIGN_DRIVERS = (
    "pymysql",
    "mysqlclient",
    "mysql-connector-python",
    "aiomysql",
    "asyncmy",
    "mariadb",
    "oracledb",
    "cx-oracle",
    "pyodbc",
    "pymssql",
)
"""Distributions that lead to other databases."""
DRIVERS = ("asyncpg", "psycopg2", "psycopg", "pg8000", "psycopg2cffi", "psycopg_async")
MAKES_ROLES = re.compile(r"(?im)^\s*(?:create\s+(?:role|user|database)\b|\\c(?:onnect)?\b)")
COMMITS = (
    "With an address tests commit for real, and what they wrote is taken out afterwards. To roll back instead: "
    "testbed_pg_isolation = transaction, where the application uses pg_engine or is bound to it (testbed_pg_bind)."
)
SCHEMA_FILES = ("schema.sql", "structure.sql", "init.sql", "create_tables.sql", "tables.sql", "ddl.sql")


def advise(seen: Findings, advice: Advice) -> None:
    """Suggest what has to do with PostgreSQL."""
    variables = _variables(seen, advice)
    is_django = _django(seen, advice, variables)
    exported = bool(advice.active("testbed_env"))
    if not is_django:
        _schema(seen, advice, exported=exported)
        _bind(seen, advice, exported=exported and any(not read.is_test for read in variables))
        _driver(seen, advice)
        _warn(seen, advice)
    _images(seen, advice)


# --- the address


def _variables(seen: Findings, advice: Advice) -> list[Read]:
    """Suggest a line for each variable with an address of PostgreSQL, and return where those are read."""
    known: dict[str, list[str]] = defaultdict(list)
    for given in seen.given:
        known[given.name].append(given.value)
    found: dict[str, list[tuple[Read, Role]]] = defaultdict(list)
    for read in seen.reads:
        of = role(read, known[read.name])
        if of is not None and of.service == "pg":
            found[read.name].append((read, of))
    has_parts = any(of.part == "host" for each in found.values() for _, of in each)
    taken: list[Read] = []
    other = "" if seen.has(*OWN_DRIVERS) else next((name for name in FOREIGN_DRIVERS if seen.has(name)), "")
    for name, reads in found.items():
        of = next((of for _, of in reads if of.part == "url"), reads[0][1])
        where = places(read.place for read, _ in reads)
        schemes = [scheme(text) for text in (*(read.default for read, _ in reads), *known[name]) if scheme(text)]
        foreign = next(
            (each for each in schemes if each.partition("+")[0] not in ("postgres", "postgresql", "postgis", "psql")), ""
        )
        form = url_form(seen, [read for read, _ in reads], schemes) if of.part == "url" else f"{{pg.{of.part}}}"
        reason, is_active = f"{where}: read as the database's {'address' if of.part == 'url' else of.part}", True
        if foreign and not seen.has(*OWN_DRIVERS):
            reason, is_active = f"{where}: its default is an address of {foreign}; does it run on PostgreSQL?", False
        elif other:
            reason, is_active = f"{reason}; the project has {other} and no driver for PostgreSQL: does it run on that?", False
        elif of.part == "url" and has_parts and all(not read.is_required and read.default is None for read, _ in reads):
            reason, is_active = f"{where}: it may be put together from the others; if it is not", False
        advice.entry("testbed_env", f"{name}={form}", reason, is_active=is_active)
        taken += [read for read, _ in reads] if is_active else []
    _given_alone(seen, advice, {read.name for read in seen.reads})
    _lacking(seen, advice)
    return taken


def _warn(seen: Findings, advice: Advice) -> None:
    """Tell that an address is a switch, too: nobody would look for that in a line that sets a variable."""
    if "testbed_pg_isolation" not in seen.config.values and any("{pg." in text for text in advice.active("testbed_env")):
        advice.lines["testbed_env"].note = COMMITS


def _lacking(seen: Findings, advice: Advice) -> None:
    """Tell of parts of an address that no variable gives, where another one does: what stands there instead is wrong."""
    forms = [text.partition("=")[2] for text in advice.active("testbed_env")]
    parts = ("port", "user", "password", "database")
    if (
        "{pg.host}" in forms
        and not seen.django_databases
        and (lacking := [each for each in parts if f"{{pg.{each}}}" not in forms])
    ):
        advice.undecided.append(
            f"No variable was seen for the database's {', '.join(lacking)}, and all differ from run to run: let them be read "
            f"from variables, too ({', '.join(f'{{pg.{each}}}' for each in lacking)})."
        )


def url_form(seen: Findings, reads: list[Read], schemes: list[str]) -> str:
    """Return the form of a whole address, with the driver that its reader wants."""
    for each in schemes:
        if each.startswith("postg") and (driver := each.partition("+")[2]) in DRIVERS:
            return f"{{pg.url+{driver}}}"
    around = [name for read in reads for name in read.around]
    plain = ("psycopg2.", "psycopg.", "asyncpg.", "psycopg_pool.")
    if any(name.startswith(plain) for name in around) or any(read.how in OF_DATABASES for read in reads):
        return "{pg.url}"
    rewritten = any(
        re.match(r"postgresql\+\w+(://)?$", text)
        for source in seen.sources.values()
        if not source.is_test
        for text, _ in source.strings
    )
    if rewritten or not seen.has("sqlalchemy", "sqlmodel", "flask-sqlalchemy"):
        return "{pg.url}"
    is_async = any("create_async_engine" in name for name in around) or any(
        target.kind == "async engine" for target in seen.targets
    )
    if is_async and not any(name.endswith(".create_engine") for name in around):
        return "{pg.url+asyncpg}" if seen.has("asyncpg") or not seen.has("psycopg") else "{pg.url+psycopg}"
    return "{pg.url+psycopg}" if _has_psycopg3_alone(seen) else "{pg.url+psycopg2}"


def _has_psycopg3_alone(seen: Findings) -> bool:
    return seen.has("psycopg") and not seen.has("psycopg2", "psycopg2-binary")


def _given_alone(seen: Findings, advice: Advice, read: set[str]) -> None:
    """Tell of addresses that files set, and that no code was seen to read."""
    for given in seen.given:
        if given.name not in read and scheme(given.value).startswith("postgres") and not given.place.path.startswith("."):
            driver = scheme(given.value).partition("+")[2]
            form = f"{{pg.url+{driver}}}" if driver in DRIVERS else "{pg.url}"
            advice.entry(
                "testbed_env", f"{given.name}={form}", f"{given.place}: set there; no code was seen to read it", is_active=False
            )


# --- Django


def _django(seen: Findings, advice: Advice, variables: list[Read]) -> bool:
    """Suggest what Django needs; tell whether this is a project of Django."""
    if seen.django is None and not seen.django_databases:
        return False
    own = [each for each in seen.django_databases if each.alias == "default"]
    engine = next((each for each in own if each.key == "ENGINE"), None)
    if engine is not None and engine.text is not None and "postg" not in engine.text:
        advice.undecided.append(
            f"{engine.place}: the database is {engine.text}. Tests on PostgreSQL need ENGINE 'django.db.backends.postgresql'."
        )
    read_at = {(read.place.path, read.place.line): read for read in seen.reads}
    for each in own:
        found = [read_at[each.place.path, line] for line in each.lines if (each.place.path, line) in read_at]
        part = KEYS.get(each.key)
        if part and found:
            _drop(advice, found[0].name)
            advice.entry("testbed_env", f"{found[0].name}={{pg.{part}}}", f"{each.place}: Django's {each.key}")
        elif part in ("host", "database") and each.text and engine is not None and "postg" in (engine.text or ""):
            advice.by_hand.append(
                f"{each.place}: {each.key} is {each.text!r} for good; let it be read from a variable, "
                f'such as os.environ.get("DB_{each.key}", {each.text!r}), and add DB_{each.key}={{pg.{part}}} to testbed_env.'
            )
    if seen.django is not None:
        module, place = seen.django
        if "DJANGO_SETTINGS_MODULE" not in seen.config.values:
            reason, is_active = f"{place}: Django's settings, for pytest-django", not is_production(module)
            more = "" if is_active else "; those of production, so name others for tests"
            advice.text("DJANGO_SETTINGS_MODULE", module, reason + more, is_active=is_active)
        if not seen.has("pytest-django"):
            advice.packages["pytest-django"] = "it is not among the dependencies; docs/how-to/django.md tells how it goes without"
    advice.entry(
        "testbed_pg_schema",
        "pytest_testbed.django:migrate",
        f"{seen.django[1] if seen.django else seen.django_databases[0].place}: Django's migrations, once",
    )
    advice.pages["django"] = "Django"
    return True


def _drop(advice: Advice, name: str) -> None:
    if line := advice.lines.get("testbed_env"):
        line.entries = [each for each in line.entries if not each.text.startswith(f"{name}=")]


# --- the schema


def _schema(seen: Findings, advice: Advice, *, exported: bool) -> None:
    taken = False
    for alembic in seen.alembics:
        reason, is_active = f"{alembic.path}: Alembic's migrations", not taken
        if alembic.way in ("own", "set") and not exported:
            reason += f"; {alembic.place} takes an address of its own, which leads elsewhere"
            is_active = False
            advice.by_hand.append(
                f"{alembic.place}: to apply migrations, let it take the connection that it is given first (three lines, in "
                "docs/how-to/alembic.md), or read its address from a variable that testbed_env sets."
            )
        elif alembic.way == "flask":
            reason += f"; {alembic.place} asks Flask's current application, and there is none when the schema is made"
            is_active = False
        elif alembic.way in ("own", "set"):
            reason += f"; {alembic.place} takes the address that testbed_env sets"
        elif not alembic.env:
            reason += "; its env.py was not found"
        if is_active:
            advice.extras["alembic"] = str(alembic.path)
            advice.pages["alembic"] = str(alembic.path)
        advice.entry("testbed_pg_schema", alembic.path, reason, is_active=is_active)
        taken = taken or is_active
    _bases(seen, advice, is_active=not taken)
    _scripts(seen, advice, is_active=not taken and not seen.bases)


def _bases(seen: Findings, advice: Advice, *, is_active: bool) -> None:
    for base in seen.bases:
        number = sum(base.models.values())
        counted = (
            f"{number} model{'s' if number != 1 else ''} in {places((Place(seen.modules[name].path) for name in base.models), 2)}"
        )
        reason = f"{base.place}: {base.kind}, {counted if number else 'without models that were seen'}"
        if not is_active:
            reason += "; instead of the migrations, it is faster"
        for place, entry in enumerate(base.entries):
            why = reason if ":" in entry else "" if place else f"imported, so that {base.entry} knows their models"
            advice.entry("testbed_pg_schema", entry, why, is_active=is_active and bool(number))


def _scripts(seen: Findings, advice: Advice, *, is_active: bool) -> None:
    """Suggest what a container would run when its data are made; else an SQL file that is called so."""
    tree, found = seen.tree, []
    for image in seen.images:
        for source, place in image.scripts if image.kind == "postgres" else []:
            below = [name for name in tree.names if name == source or name.startswith(source + "/")]
            found += [(name, place) for name in below if name.endswith(".sql")]
            for name in below:
                if name.endswith((".sh", ".gz")):
                    advice.undecided.append(
                        f"{place}: the container runs {name} when its data are made; only SQL files can be named."
                    )
    for name, place in found:
        if MAKES_ROLES.search(tree.text(name) or ""):
            advice.entry(
                "testbed_pg_schema", name, f"{place}: makes roles or databases, of which there is one here", is_active=False
            )
        else:
            more = "" if is_active else "; to be put before the rest, if that needs it (extensions)"
            advice.entry("testbed_pg_schema", name, f"{place}: the container begins with it{more}", is_active=is_active)
    if found or not is_active:
        return
    for number, name in enumerate(tree.named(*SCHEMA_FILES)):
        advice.entry("testbed_pg_schema", name, f"{name}: an SQL file that is called so", is_active=number == 0)


# --- the application's own engines


def _bind(seen: Findings, advice: Advice, *, exported: bool) -> None:
    targets = [each for each in seen.targets if not _foreign(each)]
    engines = {each.entry.replace(":", ".") for each in targets if "engine" in each.kind}
    for each in targets:
        if each.engine and each.engine in engines:
            continue  # it goes where its engine goes
        reason = f"{each.place}: {each.kind} that is made at import"
        if exported:
            reason += "; instead of the address in testbed_env: tests are rolled back then"
        advice.entry("testbed_pg_bind", each.entry, reason, is_active=not exported)
    for each in seen.targets:
        if _foreign(each):
            advice.undecided.append(
                f"{each.place}: the engine leads to {masked(each.url or '')}; it was left out of testbed_pg_bind."
            )
    if any(each.kind == "Flask-SQLAlchemy's object" for each in targets):
        advice.pages["flask-sqlalchemy"] = "Flask-SQLAlchemy"
    elif advice.active("testbed_pg_bind"):
        advice.pages["bind"] = "testbed_pg_bind"


def _foreign(target: Target) -> bool:
    found = scheme(target.url)
    return bool(found) and not found.startswith("postg")


def _driver(seen: Findings, advice: Advice) -> None:
    if not any(key in advice.lines for key in ("testbed_pg_schema", "testbed_pg_bind")):
        return
    if _has_psycopg3_alone(seen):
        place = places([seen.dependencies["psycopg"]]) if "psycopg" in seen.dependencies else "imports"
        advice.text("testbed_pg_driver", "psycopg", f"{place}: the project uses psycopg 3")
        advice.extras["psycopg"] = place
    if any(target.kind == "async engine" for target in seen.targets) or seen.has("asyncpg"):
        place = next((str(target.place) for target in seen.targets if target.kind == "async engine"), "asyncpg is used")
        if seen.has("asyncpg") or not seen.has("psycopg"):
            advice.extras["async"] = place
        else:
            advice.text("testbed_pg_async_driver", "psycopg", f"{place}: the project has no asyncpg")
        advice.pages["async"] = place


# --- the server


def _images(seen: Findings, advice: Advice) -> None:
    """Suggest the images that the project uses elsewhere; a compose file comes before a pipeline."""
    for kind, prefix, usual in (("postgres", "pg", "postgres:18"), ("rabbitmq", "rabbitmq", "rabbitmq:4")):
        found = sorted((each for each in seen.images if each.kind == kind), key=lambda each: each.is_pipeline)
        for image in found:
            if image.name in (kind, f"{kind}:latest", usual):
                continue
            official = image.name.partition(":")[0].removeprefix("docker.io/") in (kind, f"library/{kind}")
            more = "" if official else "; other providers have not what it adds"
            advice.text(f"testbed_{prefix}_image", image.name, f"{image.place}: the image that is used there{more}")
        if found and found[0].version and found[0].version.partition(".")[0] != usual.rpartition(":")[2]:
            reason = f"{found[0].place}: to have this version from every provider, or an error"
            advice.text(f"testbed_{prefix}_version", found[0].version, reason, is_active=False)
        if kind == "postgres":
            _arguments(found, advice)


def _arguments(found: list[Image], advice: Advice) -> None:
    for image in found:
        words = image.words
        for first, second in pairwise(words):
            if first == "-c" and "=" in second:
                advice.entry(
                    "testbed_pg_args", f"-c {second}", f"{image.place}: what the server is started with there", is_active=False
                )
        if arguments := image.variables.get("POSTGRES_INITDB_ARGS"):
            advice.entry("testbed_pg_initdb_args", arguments, f"{image.place}: POSTGRES_INITDB_ARGS", is_active=False)
