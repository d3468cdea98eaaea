"""`http_mock` of a test: what goes through by options and marks, and what the test is told at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from re import Pattern

import pytest

from .captured_http import journal_of, show_also
from .errors import ConfigurationError, StubError
from .http.exchange import masked_url
from .http.httpx_side import HttpxSide
from .http.mock import HttpMock
from .http.unmatched import unmatched_text, unused_text
from .near_hosts import places_of
from .outcomes import proves_nothing, watch_outcome
from .plugins.http import HttpSettings
from .settings import SETTINGS

__all__ = ["mocked"]

MARK = "http_mock"


@contextmanager
def mocked(item: pytest.Item) -> Iterator[HttpMock]:
    """Let a test's requests be answered by its stubs.

    Raises:
        ConfigurationError: the test's mark lets through what is no URL.
        StubError: a request met no stub; where that is asked for: a stub met no request.
    """
    watch_outcome(item)
    strict, source = strictness(item)
    mock = HttpMock(places_of(item.config), passthrough_of(item), journal_of(item))
    show_also(item, "Unused stubs of http_mock", lambda: unused_lines(item.config, mock))
    mock.start()
    side = HttpxSide(mock)
    try:
        side.start()
        yield mock
    finally:
        side.stop()
        mock.stop(allow_assert=False)
    if proves_nothing(item):
        return
    faults = [unmatched_text(mock.unmatched)] if mock.unmatched else []
    if strict and mock.unused:
        faults.append(unused_text(mock.unused, source))
    elif mock.assert_all_requests_are_fired and mock.unused:  # the mark has no say in it
        faults.append(unused_text(mock.unused, "http_mock.assert_all_requests_are_fired", "set that to False"))
    if faults:
        raise StubError("\n\n".join(faults))


def unused_lines(config: pytest.Config, mock: HttpMock) -> str:
    """Return, for the report of a failure, the stubs that no request has used, and why that may be."""
    lines = [f"{stub.method} {masked_url(str(getattr(stub.url, 'pattern', stub.url)))}" for stub in mock.unused]
    options = config.stash[SETTINGS][HttpSettings]
    if lines and options.app and options.app_server == "process":
        lines.append("(testbed_app_server is process: http_mock does not reach the application there; mock_service does)")
    return "\n".join(lines)


# --- options and marks


def strictness(item: pytest.Item) -> tuple[bool, str]:
    """Return whether unused stubs are a fault, and who has said so: the nearest mark, or the option."""
    for mark in item.iter_markers(MARK):
        if "strict" in mark.kwargs:
            return mark.kwargs["strict"], "by its mark http_mock"
    settings = item.config.stash[SETTINGS]
    return settings[HttpSettings].http_strict, f"testbed_http_strict, from {settings.source(HttpSettings, 'http_strict')}"


def passthrough_of(item: pytest.Item) -> list[str | Pattern[str]]:
    """Return what the marks of a test let through.

    Raises:
        ConfigurationError: something of it is neither the beginning of a URL nor a pattern.
    """
    found: list[str | Pattern[str]] = []
    for mark in item.iter_markers(MARK):
        given = mark.kwargs.get("passthrough", ())
        for each in [given] if isinstance(given, str | Pattern) else given if isinstance(given, Iterable) else [None]:
            if not (isinstance(each, Pattern) and isinstance(each.pattern, str)) and not (
                isinstance(each, str) and "://" in each
            ):
                raise ConfigurationError(
                    f"@pytest.mark.http_mock(passthrough={given!r}) on {item.nodeid}: {given if each is None else each!r} is "
                    "neither the beginning of a URL, such as 'https://api.example.com/', nor a re.compile(...) of one."
                )
            found.append(each)
    return found
