"""Django's migrations as an entry of the schema: `testbed_pg_schema = pytest_testbed.django:migrate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError, SchemaError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

__all__ = ["check_leads_to", "migrate"]

ALIAS = "default"


def migrate(engine: Engine) -> None:
    """Run `manage.py migrate` for the database "default", on the template instead of where Django's settings lead.

    Raises:
        SchemaError: Django or its settings cannot be found.
    """
    _set_up()
    from django.core.management import call_command

    with _led_to(engine.url):
        call_command("migrate", database=ALIAS, interactive=False, run_syncdb=True, verbosity=0)


def sources() -> Iterator[str]:
    """Yield the Python files that make another schema where they change: migrations, models without any, the settings.

    Raises:
        SchemaError: Django or its settings cannot be found.
    """
    _set_up()
    from django.apps import apps
    from django.conf import settings
    from django.db.migrations.loader import MigrationLoader

    from .postgres.sources import files_below

    settings_file = getattr(sys.modules.get(settings.SETTINGS_MODULE), "__file__", None)
    if settings_file:
        yield settings_file
    for app in apps.get_app_configs():
        name, _ = MigrationLoader.migrations_module(app.label)
        folders = [place for place in _places(name) if os.path.isdir(place)]
        for folder in folders:
            yield from (file for file in sorted(files_below(folder)) if file.endswith(".py"))
        models = getattr(app.models_module, "__file__", None)
        if not folders and models:
            yield models


migrate.sources = sources  # type: ignore[attr-defined]  # asked by postgres/evidence.py


def _places(module: str | None) -> list[str]:
    try:
        spec = find_spec(module) if module else None
    except ModuleNotFoundError:
        return []
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def _set_up() -> None:
    try:
        import django
        from django.apps import apps
        from django.core.exceptions import ImproperlyConfigured
    except ImportError as error:
        raise SchemaError("Django is not installed in this environment, and the schema is to be made by it.") from error
    if apps.ready:
        return
    try:
        django.setup()
    except ImproperlyConfigured as error:
        raise SchemaError(
            f"Django cannot be set up: {error}\nName the settings: DJANGO_SETTINGS_MODULE = package.settings in pytest's ini "
            "file with pytest-django, the variable of that name without."
        ) from error


def check_leads_to(host: str, port: str, database: str) -> None:
    """Refuse settings that lead Django elsewhere than to the run's own database: its tests would write there.

    Raises:
        ConfigurationError: they do.
    """
    from django.db import connections

    said = {name: str(connections[ALIAS].settings_dict[name] or "") for name in ("HOST", "PORT", "NAME")}
    if said != (wanted := {"HOST": host, "PORT": port, "NAME": database}):
        raise ConfigurationError(
            f"Django's database {ALIAS!r} is {_shown(said)}, and not the one that is made for this run, {_shown(wanted)}. Let "
            "DATABASES in its settings read the variables that testbed_env sets (where a settings file was imported before, or "
            "has the values written into it, they are not read)."
        )


def _shown(place: dict[str, str]) -> str:
    return f"{place['NAME'] or '(no name)'} on {place['HOST'] or 'a socket'}:{place['PORT'] or '(no port)'}"


@contextmanager
def _led_to(url: URL) -> Iterator[None]:
    """Let Django's connection be one to `url`; the one that it has, which may be open, is put back."""
    from django.db import connections

    before = connections[ALIAS]
    if before.vendor != "postgresql":
        raise SchemaError(
            f"Django's database {ALIAS!r} is one of {before.display_name}, not of PostgreSQL: see DATABASES in its settings."
        )

    class ToTemplate(type(before)):  # type: ignore[misc]
        def ensure_connection(self) -> None:
            """Connect also where pytest-django blocks tests from doing so: this is no test."""
            if self.connection is None:
                with self.wrap_database_errors:
                    self.connect()

    connections[ALIAS] = ours = ToTemplate(_settings(before.settings_dict, url), ALIAS)
    try:
        yield
    finally:
        ours.close()
        connections[ALIAS] = before


def _settings(given: dict[str, Any], url: URL) -> dict[str, Any]:
    query = dict(url.query)
    # a pool belongs to the alias: the application would get the template's
    options = {name: value for name, value in given["OPTIONS"].items() if name not in ("pool", "service")}
    place = {"HOST": url.host or query.pop("host", ""), "PORT": str(url.port or ""), "NAME": url.database}
    return {**given, **place, "USER": url.username, "PASSWORD": url.password, "OPTIONS": {**options, **query}}
