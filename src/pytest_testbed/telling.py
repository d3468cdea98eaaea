"""What pytest knows of a project's services, told to `python -m pytest_testbed doctor`.

A plugin that only a child process of that command loads, with `-p`: it lets pytest read its configuration and load the
conftests of its start, writes one line, and ends pytest before it collects. Nothing is started.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from . import plugin
from .exports import EXPORTS, FORM, Early, Exports, check, parsed
from .plugin import PARTS, CoreSettings, run_of, usage_errors
from .settings import SETTINGS, Settings, said_early

MARK = "@pytest-testbed:"
"""What the line begins with: conftests may write lines of their own."""
DISCARD = 9
"""A port at which nobody listens."""
SCHEMES = {"pg": "postgresql", "rabbitmq": "amqp", "mock": "http", "app": "http"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Give the variables of `testbed_env` values in the form of addresses, as no server is there to have one.

    A conftest that reads them when it is imported is not broken, and must not be taken for it. And pytest-cov must not begin:
    it would remove what it has measured before.
    """
    vars(early_config.known_args_namespace).update(cov_source=[])
    if is_loaded(early_config) and said_early(early_config, "testbed_env"):
        early = Early(early_config)
        with usage_errors():
            settings = Settings.from_config(early, plugin.sections())  # type: ignore[arg-type]
            source = settings.source(CoreSettings, "env")
            lines = parsed(settings[CoreSettings].env, source)
            parts = [part for part in map(early_config.pluginmanager.getplugin, PARTS) if hasattr(part, "EXPORTS")]
            check(lines, {prefix: part for part in parts for prefix in part.EXPORTS}, source)
        # what is there already is not done again: so no host is begun for it
        early_config.stash[EXPORTS] = Exports(lines, {}, {name: os.environ.get(name) for name, _ in lines})
        early_config.stash[SETTINGS] = settings
        for part in parts:
            if hasattr(part, "find_given"):
                part.find_given(early_config)  # before our own values could be taken for a server's address
        os.environ.update({name: FORM.sub(lambda form: stand_in(form["name"]) or form[0][0], text) for name, text in lines})
    return (yield)


def stand_in(name: str | None) -> str:
    """Return what stands for one form of an address, such as "pg.url+asyncpg"; "" for a brace that is meant."""
    prefix, _, rest = (name or "").partition(".")
    form, plus, driver = rest.rpartition(".")[2].partition("+")
    url = f"{SCHEMES.get(prefix, '')}{plus}{driver}://127.0.0.1:{DISCARD}"
    forms = {
        "url": url if prefix in ("mock", "app") else url.replace("://", "://testbed:testbed@") + "/testbed",
        "dsn": f"host=127.0.0.1 port={DISCARD} user=testbed password=testbed dbname=testbed",
        "address": f"127.0.0.1:{DISCARD}",
        "host": "127.0.0.1",
        "port": str(DISCARD),
    }
    return forms.get(form, "testbed") if name else ""


def is_loaded(config: pytest.Config) -> bool:
    """Tell whether pytest has loaded the plugin itself: that can be switched off."""
    return config.pluginmanager.is_registered(plugin)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> Iterator[None]:
    """Tell what is known once all is configured, and end before any plugin begins its work."""
    with usage_errors():
        told = what_is_known(session.config)
    assert sys.__stdout__ is not None
    print(f"{MARK}{json.dumps(told)}", file=sys.__stdout__, flush=True)
    pytest.exit("doctor knows all", returncode=0)
    yield


def what_is_known(config: pytest.Config) -> dict[str, Any]:
    """Return the project, what is said of services, and the kinds as they are configured."""
    names = sorted({f"{each.project_name} {each.version}" for _, each in config.pluginmanager.list_plugin_distinfo()})
    told: dict[str, Any] = {
        "root": str(config.rootpath),
        "ini": str(config.inipath or ""),
        "plugins": names,
        "is_loaded": is_loaded(config) and SETTINGS in config.stash,
    }
    if told["is_loaded"]:
        settings = config.stash[SETTINGS]
        core, run = settings[CoreSettings], run_of(config)
        told |= {
            "settings": settings.changed(),
            "cache": str(core.cache_dir or ""),
            "data": str(core.data_dir or ""),
            "specs": [spec.to_json() for spec in run.specs.values()],
            "providers": run.providers(),
            "path": sys.path,
        }
    return told
