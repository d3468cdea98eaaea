"""The hosts that tests reach without a stub: services, the application, what the options name."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest

from .errors import TestbedError
from .http.places import Place, Places, host_and_port
from .plugin import PARTS, RUN
from .plugins.http import HttpSettings
from .settings import SETTINGS

__all__ = ["block_told", "places_of"]

PLACES: pytest.StashKey[Places] = pytest.StashKey()


def places_of(config: pytest.Config) -> Places:
    """Return the hosts of a run that need no stub, besides this machine."""
    if PLACES not in config.stash:
        options = config.stash[SETTINGS][HttpSettings]
        allowed = [Place.from_text(text) for text in " ".join(options.http_allow).split()]
        if options.app_url:
            host, port, _ = host_and_port(options.app_url)
            allowed.append(Place("the application at testbed_app_url", name=host, port=port))
        named = frozenset(named_hosts(config))
        config.stash[PLACES] = Places(allowed, lambda: named.union(service_hosts(config)))
    return config.stash[PLACES]


def block_told(config: pytest.Config) -> dict[str, Any] | None:
    """Return what a process of the application must know to guard itself as this one does; None where nothing is guarded."""
    settings = config.stash[SETTINGS]
    if not settings[HttpSettings].http_block:
        return None
    places = places_of(config)
    return {
        "allowed": [place.text for place in places.allowed if place.name or place.network],
        "services": sorted(places.services()),
        "because": f"testbed_http_block, from {settings.source(HttpSettings, 'http_block')}",
    }


def named_hosts(config: pytest.Config) -> Iterable[str]:
    """Yield the hosts of the servers that somebody named, and that may be talked to before they are handed out."""
    for part in map(config.pluginmanager.getplugin, PARTS):
        given = config.stash.get(part.GIVEN, None) if hasattr(part, "GIVEN") else None
        if given is not None and given.url:
            yield host_and_port(given.url)[0]
        settings: Any = config.stash[SETTINGS][part.SECTION] if hasattr(part, "SECTION") else None
        for option in settings.options() if settings is not None and not isinstance(settings, HttpSettings) else ():
            if option.ini.endswith("_url") and getattr(settings, option.name):
                yield host_and_port(getattr(settings, option.name))[0]


def service_hosts(config: pytest.Config) -> Iterable[str]:
    """Return the hosts of the services that this run has handed out."""
    run = config.stash.get(RUN, None)
    if run is None:
        return ()
    with suppress(TestbedError):  # whoever asks for the service will meet it
        return [endpoint.host for endpoint in run.testbed.started.values()]
    return ()
