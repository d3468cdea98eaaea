"""What a variable is for: which service's address, and which part of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .variables import OF_DATABASES, Read

__all__ = ["Role", "role", "scheme"]


class Role(NamedTuple):
    """A service (pg, rabbitmq, mail, http, other) and a part of its address, such as url or port."""

    service: str
    part: str


SCHEMES = {
    "postgres": "pg",
    "postgresql": "pg",
    "psql": "pg",
    "pgsql": "pg",
    "postgis": "pg",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "pyamqp": "rabbitmq",
    "http": "http",
    "https": "http",
    "smtp": "other",
}
SERVICES = {
    "pg": {"POSTGRES", "POSTGRESQL", "PG", "PSQL", "DB", "DATABASE", "SQL", "SQLALCHEMY", "RDS"},
    "rabbitmq": {"RABBIT", "RABBITMQ", "AMQP", "BROKER", "MQ"},
    "mail": {"SMTP", "MAIL", "EMAIL", "MAILER"},
}
OTHERS = {
    "REDIS",
    "MONGO",
    "MONGODB",
    "MYSQL",
    "MARIADB",
    "ELASTIC",
    "ELASTICSEARCH",
    "KAFKA",
    "NATS",
    "SQLITE",
    "MEMCACHED",
    "CACHE",
    "RESULT",
    "SENTRY",
}
PARTS = {
    "url": ("URL", "URI", "DSN", "STRING", "CONNECTION", "CONN"),
    "host": ("HOST", "SERVER", "HOSTNAME", "ADDRESS", "ADDR"),
    "port": ("PORT",),
    "user": ("USER", "USERNAME"),
    "password": ("PASSWORD", "PASS", "PASSWD", "PWD"),
    "database": ("NAME", "DB", "DBNAME", "DATABASE"),
    "vhost": ("VHOST",),
}
NONE = {("pg", "vhost"), ("rabbitmq", "database")}
"""Parts that a service's address has not."""
LIBPQ = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "database"}
GIVEN_TO = {
    "create_engine": Role("pg", "url"),
    "create_async_engine": Role("pg", "url"),
    "psycopg2.connect": Role("pg", "url"),
    "psycopg.connect": Role("pg", "url"),
    "asyncpg.connect": Role("pg", "url"),
    "asyncpg.create_pool": Role("pg", "url"),
    "psycopg_pool.ConnectionPool": Role("pg", "url"),
    "PostgresDsn": Role("pg", "url"),
    "pika.URLParameters": Role("rabbitmq", "url"),
    "pika.ConnectionParameters": Role("rabbitmq", "host"),
    "aio_pika.connect_robust": Role("rabbitmq", "url"),
    "aio_pika.connect": Role("rabbitmq", "url"),
    "kombu.Connection": Role("rabbitmq", "url"),
    "AmqpDsn": Role("rabbitmq", "url"),
    "smtplib.SMTP": Role("mail", "host"),
    "smtplib.SMTP_SSL": Role("mail", "host"),
    "RedisDsn": Role("other", ""),
}


def scheme(text: str | None) -> str:
    """Return the scheme of an address, with its driver: `postgresql+asyncpg`; "" for anything else."""
    match = re.match(r"([a-zA-Z][\w+.-]*)://", text or "")
    if match:
        return match[1].lower()
    return "sqlite" if (text or "").startswith("sqlite:") else ""


def role(read: Read, known: Sequence[str] = ()) -> Role | None:
    """Return what a variable is for, as far as its default, known values, its use and its name tell; None if they do not."""
    words = read.name.upper().split("_")
    part = next((part for part, ends in PARTS.items() if words[-1] in ends), "")
    named = next((service for service, of in SERVICES.items() if of & set(words)), "")
    used = _used(read)
    if read.how in OF_DATABASES:
        part, used = "url", Role("pg", "url")
    for each in (read.default, *known):
        if found := scheme(each):
            service = SCHEMES.get(found.partition("+")[0], "other")
            # an address for developers: tests may still have another database
            is_database = named == "pg" or (used is not None and used.service == "pg")
            return Role("pg" if found.startswith("sqlite") and is_database else service, "url")
    if used is not None:
        return Role(used.service, part if part and (used.service, part) not in NONE else used.part)
    if read.name in LIBPQ:
        return Role("pg", LIBPQ[read.name])
    if OTHERS & set(words):
        return Role("other", part)
    if named == "mail" and part not in ("host", "port"):
        return None
    if named and part and (named, part) not in NONE:
        return Role(named, part)
    if words[-1] in ("URL", "URI", "ENDPOINT"):
        return Role("http", "url")
    return None


def _used(read: Read) -> Role | None:
    """Return what a variable is for by the calls that its value goes to."""
    for each in read.around:
        for ending, found in GIVEN_TO.items():
            if re.search(rf"(^|[.\W]){re.escape(ending)}(?!\w)", each):
                return found
    return None
