"""A server that somebody named: it is asked whether it will do, and never started or stopped."""

from __future__ import annotations

from ...errors import ConfigurationError
from ..model import Context, Endpoint, LogMark, Refusal, ServiceSpec, masked, resolve

__all__ = ["ExternalProvider"]

PATIENCE = 5.0
"""Seconds for a server that is still starting (a service container of a CI job)."""


class Guest:
    """A guest's view of a server: nothing of it is ours but what we make in it."""

    patience: float | None = PATIENCE

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def exited(self) -> str | None:
        """Return None: whether it ended is not ours to see."""
        return None

    def mend(self) -> bool:
        """Return False: it is not ours to start."""
        return False

    def sick(self) -> str | None:
        """Return None: how it is, is not ours to see."""
        return None

    def logs(self, lines: int = 50, since: LogMark | None = None) -> str:
        """Return "": its log is out of reach."""
        return ""

    def restart(self) -> bool:
        """Return True: there is nothing to be done."""
        return True

    def stop(self) -> None:
        """Leave it as it is."""


class ExternalProvider:
    """Hands out the server at the spec's URL."""

    name = "external"

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Refuse where no URL is given; whether the server answers is seen when it is asked."""
        if spec.url:
            return None
        return Refusal("no URL is given", spec.options.get("url_remedy", f"set the URL option of {spec.kind}"))

    def found(self, spec: ServiceSpec) -> str:
        """Return what a spec is served from."""
        return f"{masked(spec.url or '')} from {spec.url_source}"

    def start(self, spec: ServiceSpec, context: Context) -> Guest:
        """Return the named server.

        Raises:
            ConfigurationError: the URL is none.
        """
        assert spec.url is not None
        try:
            endpoint: Endpoint = resolve(spec.url_parser)(spec.url)
        except ValueError as error:
            raise ConfigurationError(
                f"{masked(spec.url)!r} (from {spec.url_source}) is no URL of {spec.kind}: {error}."
            ) from error
        extra = spec.options.get("extra", {})
        return Guest(endpoint.with_(kind=spec.kind, provider="external", source=self.found(spec), extra=extra))
