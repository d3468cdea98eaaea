"""Alembic's `upgrade head` on the template, and the proof that it happened there."""

from __future__ import annotations

import io
import logging.config
import os
from collections.abc import Iterator
from configparser import Error as ConfigParserError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

_VersionTable = tuple[str, str | None]


def upgrade(path: Path, engine: Engine) -> None:
    """Run `alembic upgrade head` with the configuration at `path` on the database of `engine`.

    Raises:
        SchemaError: Alembic is not installed, there are two heads, or the database is not at
            the head afterwards.
    """
    try:
        from alembic import command
        from alembic.script import ScriptDirectory
    except ImportError as error:
        raise SchemaError("Alembic is not installed: pip install 'pytest-testbed[alembic]'.") from error
    with _folder(path.parent), _quiet():
        config = _config(path, engine.url)
        script = ScriptDirectory.from_config(config)
        _require_one_head(script)
        with engine.connect() as connection, _version_tables() as tables:
            # No transaction is begun here: inside of a foreign one `autocommit_block()` fails. An env.py
            # that begins none itself has one by autobegin.
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
        _require_upgraded(script, engine, tables)


def _config(path: Path, url: URL) -> Config:
    from alembic.config import Config

    output = io.StringIO()
    if path.suffix == ".toml":
        config = Config(toml_file=str(path), stdout=output, output_buffer=output)
    else:
        config = Config(str(path), stdout=output, output_buffer=output)
    text = url.set(drivername=_driver(config, url.drivername)).render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", text.replace("%", "%%"))
    return config


def _driver(config: Config, default: str) -> str:
    """The driver of the project's own URL: an asynchronous env.py needs an asynchronous one."""
    section = config.config_ini_section
    if not config.file_config.has_section(section):
        return default
    try:
        own = make_url(config.file_config.get(section, "sqlalchemy.url", fallback=""))
    except (ConfigParserError, ArgumentError, ValueError):  # none, or one that env.py fills in
        return default
    return own.drivername if own.drivername.startswith("postgresql+") else default


def _require_one_head(script: ScriptDirectory) -> None:
    heads = script.get_heads()
    if len(heads) > 1:
        named = "\n".join(f"  {head}: {script.get_revision(head).doc}" for head in heads)
        raise SchemaError(f"The migrations have {len(heads)} heads:\n{named}\nJoin them with `alembic merge heads`.")


def _require_upgraded(script: ScriptDirectory, engine: Engine, tables: set[_VersionTable]) -> None:
    from alembic.runtime.migration import MigrationContext

    current: set[str] = set()
    with engine.connect() as connection:
        for table, schema in tables:
            options = {"version_table": table, "version_table_schema": schema}
            current.update(MigrationContext.configure(connection, opts=options).get_current_heads())
    wanted = set(script.get_heads())
    if current != wanted:
        raise SchemaError(
            f"`upgrade head` ran and the template is at {_revisions(current)} and not at {_revisions(wanted)}: env.py "
            'migrated another database, did nothing or did not commit. It must use `config.attributes.get("connection")` '
            'or an engine from `config.get_main_option("sqlalchemy.url")`, and call `context.run_migrations()`.'
        )


def _revisions(revisions: set[str]) -> str:
    return ", ".join(sorted(revisions)) or "no revision"


@contextmanager
def _version_tables() -> Iterator[set[_VersionTable]]:
    """Collect the version tables that env.py configures: their names are known to it alone."""
    from alembic.runtime.environment import EnvironmentContext

    found: set[_VersionTable] = set()
    configure = EnvironmentContext.configure

    def watched(self: EnvironmentContext, *args: Any, **kwargs: Any) -> None:
        configure(self, *args, **kwargs)
        context = self.get_context()
        found.add((context.version_table, context.version_table_schema))

    EnvironmentContext.configure = watched  # put back below
    try:
        yield found
    finally:
        EnvironmentContext.configure = configure


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Alembic takes a relative `script_location` and `prepend_sys_path` from the working directory."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave the ini's `[loggers]` unread: they write to the terminal and disable all other loggers."""
    before = logging.config.fileConfig
    logging.config.fileConfig = lambda *_args, **_kwargs: None
    try:
        yield
    finally:
        logging.config.fileConfig = before
