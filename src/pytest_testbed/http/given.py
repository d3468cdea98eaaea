"""Which application runs already: the one of our own option, or of `BASE_URL` where that is safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from ..given import GivenUrl, of_variable

__all__ = ["given_url"]

NAME = "BASE_URL"


def given_url(url: str | None, source: str, environ: Mapping[str, str]) -> GivenUrl:
    """Return the application that our own option names, else the one of `BASE_URL` where that is safe."""
    if url:
        return GivenUrl(url, f"testbed_app_url, from {source}")
    general = environ.get(NAME, "")
    if not general.startswith(("http://", "https://")):
        return GivenUrl()
    return of_variable(NAME, general, environ, "an application", "testbed_app_url", _hosts_of)


def _hosts_of(url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("it is not of the form http://host:8000")
    yield parts.hostname
