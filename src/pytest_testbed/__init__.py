"""pytest-testbed: real services for integration tests, isolated per test.

Importing this package imports nothing else; names below are loaded when first used.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # said so, the import of typing is spared where nobody checks types
if TYPE_CHECKING:
    from .errors import (
        AppError,
        BrokerError,
        ConfigurationError,
        FactoryError,
        HostBlocked,
        HostError,
        IsolationError,
        SchemaError,
        ServiceDied,
        ServiceNotReady,
        ServiceUnavailable,
        StubError,
        TestbedError,
        TestbedWarning,
        UnknownService,
    )
    from .factories.factories import Factories
    from .files.tree import Link
    from .files.workdir import WorkDir
    from .http.answer import Answer
    from .http.apiresponse import ApiResponse
    from .http.book import Stub
    from .http.client import ApiClient
    from .http.live import LiveApp
    from .http.mock import HttpMock
    from .http.request import Request
    from .http.service import MockService
    from .mail.mailbox import Mailbox
    from .mail.message import Mail
    from .postgres.owned import RealDatabase
    from .postgres.queries import Queries, Query
    from .rabbitmq.broker import Broker
    from .rabbitmq.message import Message
    from .services.client import Testbed
    from .services.model import ContainerRecipe, Endpoint, ProcessRecipe, ServiceSpec

_HOMES = {
    "Answer": ".http.answer",
    "ApiClient": ".http.client",
    "ApiResponse": ".http.apiresponse",
    "AppError": ".errors",
    "Broker": ".rabbitmq.broker",
    "BrokerError": ".errors",
    "ConfigurationError": ".errors",
    "ContainerRecipe": ".services.model",
    "Endpoint": ".services.model",
    "Factories": ".factories.factories",
    "FactoryError": ".errors",
    "HostBlocked": ".errors",
    "HostError": ".errors",
    "HttpMock": ".http.mock",
    "IsolationError": ".errors",
    "Link": ".files.tree",
    "LiveApp": ".http.live",
    "Mail": ".mail.message",
    "Mailbox": ".mail.mailbox",
    "Message": ".rabbitmq.message",
    "MockService": ".http.service",
    "ProcessRecipe": ".services.model",
    "Queries": ".postgres.queries",
    "Query": ".postgres.queries",
    "RealDatabase": ".postgres.owned",
    "Request": ".http.request",
    "SchemaError": ".errors",
    "ServiceDied": ".errors",
    "ServiceNotReady": ".errors",
    "ServiceSpec": ".services.model",
    "ServiceUnavailable": ".errors",
    "Stub": ".http.book",
    "StubError": ".errors",
    "Testbed": ".services.client",
    "TestbedError": ".errors",
    "TestbedWarning": ".errors",
    "UnknownService": ".errors",
    "WorkDir": ".files.workdir",
}

__all__ = [
    "Answer",
    "ApiClient",
    "ApiResponse",
    "AppError",
    "Broker",
    "BrokerError",
    "ConfigurationError",
    "ContainerRecipe",
    "Endpoint",
    "Factories",
    "FactoryError",
    "HostBlocked",
    "HostError",
    "HttpMock",
    "IsolationError",
    "Link",
    "LiveApp",
    "Mail",
    "Mailbox",
    "Message",
    "MockService",
    "ProcessRecipe",
    "Queries",
    "Query",
    "RealDatabase",
    "Request",
    "SchemaError",
    "ServiceDied",
    "ServiceNotReady",
    "ServiceSpec",
    "ServiceUnavailable",
    "Stub",
    "StubError",
    "Testbed",
    "TestbedError",
    "TestbedWarning",
    "UnknownService",
    "WorkDir",
]

if "pytest" in sys.modules:
    import atexit
    import importlib.machinery

    class _Plainly(importlib.machinery.PathFinder):
        """Finds our files for Python's own loader: pytest's, which rewrites asserts, reads their byte code many times slower."""

        @classmethod
        def find_spec(cls, name, path=None, target=None):  # type: ignore[no-untyped-def]
            # what authors of kinds call has asserts that they read
            is_ours = name.startswith("pytest_testbed.") and name != "pytest_testbed.testing"
            return super().find_spec(name, path, target) if is_ours else None

    @atexit.register
    def _leave() -> None:
        # Python keeps that list to its very end, and with a finder in it all that our modules reach: more for the last collection
        if _Plainly in sys.meta_path:
            sys.meta_path.remove(_Plainly)

    sys.meta_path.insert(0, _Plainly)


if not TYPE_CHECKING:  # to a type checker it would mean that every name is there

    def __getattr__(name):
        """Load a public name from the file where it lives (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
