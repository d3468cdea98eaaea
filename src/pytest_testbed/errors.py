"""All errors of pytest-testbed, in one tree; no pytest in here.

TestbedError
├── ServiceUnavailable      no provider can give this kind (names each refusal and remedy)
├── ServiceNotReady         it was started and did not come up (has the last log lines)
├── ServiceDied             it was running and is gone (has the last log lines)
├── UnknownService          nobody registered this kind
├── ConfigurationError      an option or mark argument is wrong; pytest sees a UsageError
├── HostError               the host process could not be reached or spoke nonsense
├── BrokerError             a message broker refused something that a test wanted
├── StubError               the requests of a test and its stubs do not fit together
├── HostBlocked             a test wanted to reach a host that it may not; a ConnectionError too
├── AppError                the application under test could not be started, reached or ended
├── FactoryError            a factory has no session to create something in; a RuntimeError too
├── SchemaError             an entry of the schema could not be applied
└── IsolationError          the test did what a transaction cannot undo or offer
"""

from __future__ import annotations

__all__ = [
    "AppError",
    "BrokerError",
    "ConfigurationError",
    "FactoryError",
    "HostBlocked",
    "HostError",
    "IsolationError",
    "SchemaError",
    "ServiceDied",
    "ServiceNotReady",
    "ServiceUnavailable",
    "StubError",
    "TestbedError",
    "TestbedWarning",
    "UnknownService",
]


class TestbedError(Exception):
    """Base of every error that pytest-testbed raises on purpose."""

    __test__ = False  # pytest collects classes named Test*


class ServiceUnavailable(TestbedError):
    """No provider can give the service; the text has one reason and one remedy for each."""


class ServiceNotReady(TestbedError):
    """The service was started and did not become ready; the text ends with its last log lines."""


class ServiceDied(TestbedError):
    """The service was running and is gone; the text ends with its last log lines."""


class UnknownService(TestbedError):
    """No plugin and no conftest registered a service of this kind."""


class ConfigurationError(TestbedError):
    """An option or an argument of a mark has a bad value; shown to users as `pytest.UsageError`."""


class HostError(TestbedError):
    """The host process could not be started, reached or understood."""


class BrokerError(TestbedError):
    """A message broker refused something, or did not do what a test wanted of it; with its own words."""


class StubError(TestbedError):
    """A request met no stub, came too late, or a stub that had to be used was not; says how they differ."""


class HostBlocked(TestbedError, ConnectionError):
    """A test wanted to reach a host that it may not; clients take it for a connection that failed, and wrap it."""


class AppError(TestbedError):
    """The application under test could not be started, reached or ended; the text ends with its traceback or its log."""


class FactoryError(TestbedError, RuntimeError):
    """A factory cannot create anything where it was called; names it, the way to it, and the fixture to ask for."""


class SchemaError(TestbedError):
    """An entry of the schema could not be applied; names the entry and the database's own error."""


class IsolationError(TestbedError):
    """The test did something that a transaction can neither undo nor offer."""


class TestbedWarning(UserWarning):
    """Base of the warnings that pytest-testbed gives."""

    __test__ = False
