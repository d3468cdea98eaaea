"""Which mails a test has: a port of its own, or its time at the one that applications know; told where one is late."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from .captured_http import show_also
from .exports import EXPORTS
from .mail.box import Box
from .mail.mailbox import Mailbox
from .mail.message import Mail
from .mail.report import captured
from .mail.server import HOST, MailPort, MailServer, needs_aiosmtpd
from .plugin import run_of

__all__ = ["MailAddress", "Mailboxes", "exported", "mailbox_of"]

NAME = "pytest_testbed.mailboxes"
BOX: pytest.StashKey[Box] = pytest.StashKey()
"""On a test: what came for it, until it has ended."""
KEPT = 16
"""Ports of earlier tests that stay open: what is late shall be seen, and not refused."""
MOST_TOLD = 5
ADVICE = "Let the test that causes it wait for it: mailbox.expect(...)."


class MailAddress:
    """Where applications find the server of this process, the same for the whole run.

    Args:
        port: of the server.
    """

    kind = ""

    def __init__(self, port: int) -> None:
        self._forms = {"host": HOST, "port": str(port), "address": f"{HOST}:{port}"}

    def form(self, name: str) -> str:
        """Return "host", "port" or "address".

        Raises:
            KeyError: there is no such form.
        """
        return self._forms[name]

    def settle(self) -> None:
        """Note that nothing more will be imported before the tests."""


def exported(config: pytest.Config) -> MailAddress:
    """Give this process's server its port, before any conftest is imported.

    Raises:
        ConfigurationError: the server's package is not there.
    """
    needs_aiosmtpd("{mail}")
    return MailAddress(_registered(config).export())


@contextmanager
def mailbox_of(item: pytest.Item) -> Iterator[Mailbox]:
    """Give a test its mails.

    Raises:
        ConfigurationError: the server's package is not there.
    """
    needs_aiosmtpd("mailbox")
    yield _registered(item.config).mailbox(item)


def _registered(config: pytest.Config) -> Mailboxes:
    mailboxes: Mailboxes | None = config.pluginmanager.getplugin(NAME)
    if mailboxes is None:  # a run in which nobody asks has none of it
        mailboxes = Mailboxes(config)
        config.pluginmanager.register(mailboxes, NAME)
        config.add_cleanup(mailboxes.close)
    return mailboxes


class Mailboxes:
    """A plugin of runs in which a test, or the application, has to do with mail."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._server = MailServer()
        self._exported: MailPort | None = None
        self._ports: deque[MailPort] = deque()
        self._late: deque[tuple[str, Mail]] = deque(maxlen=1000)
        """What came after the end of a test, and the test; until it has been told."""

    def close(self) -> None:
        """End the server."""
        self._server.close()

    def export(self) -> int:
        """Return the port that stays the same; what comes there before the first test is nobody's."""
        self._exported = self._server.open_idle(self._ended(""))
        return self._exported.number

    def mailbox(self, item: pytest.Item) -> Mailbox:
        """Return the mails of a test, to which they come from now on at the latest."""
        if self._exported is not None:
            port = self._exported
            if BOX not in item.stash:
                self._begin(item, port)
        else:
            port = self._own_port(item)
        return Mailbox(port.box, port.number, self._server, self._late_ones)

    def _own_port(self, item: pytest.Item) -> MailPort:
        port = self._server.open(self._box(item))
        self._ports.append(port)
        if len(self._ports) > KEPT + 1:
            self._server.shut(self._ports.popleft())
        return port

    def _box(self, item: pytest.Item) -> Box:
        box = item.stash[BOX] = Box(item.nodeid, self._came_late)
        show_also(item, "Captured mail", lambda: captured(box))
        return box

    def _begin(self, item: pytest.Item, port: MailPort) -> None:
        port.box = self._box(item)

    def _end(self, item: pytest.Item) -> None:
        box = item.stash.get(BOX, None)
        if box is None:
            return
        del item.stash[BOX]
        for port in (self._exported, *self._ports):
            if port is not None and port.box is box:
                port.box = self._ended(item.nodeid)  # an empty one: mails may be large
        box.end()

    def _ended(self, owner: str) -> Box:
        box = Box(owner, self._came_late)
        box.end()
        return box

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what is exported."""
        if self._exported is None:
            return []
        names = [name for name, text in config.stash[EXPORTS].templates if "{mail." in text]
        return [f"testbed: {', '.join(names)} from mailbox"]

    # --- from test to test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Give a test the mails that come from now on, also where it does not ask for them itself."""
        if self._exported is not None:
            self._begin(item, self._exported)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """End a test's time after all of its fixtures, which may send mails; tell what came late for others."""
        try:
            result = yield
        finally:
            self._end(item)
        self._tell()
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Tell what came after the last test."""
        self._tell()

    # --- what is late

    def _came_late(self, owner: str, mail: Mail) -> None:
        self._late.append((owner, mail))

    def _late_ones(self) -> list[str]:
        return [f"{mail} came {self._when(owner)}" for owner, mail in list(self._late)]

    def _when(self, owner: str) -> str:
        if not owner:
            return "before the first test"
        return f"after the end of {owner}" + ("" if self._exported is not None else ", to the port of that test")

    def _tell(self) -> None:
        """Let the run's summary tell it: the test that runs has nothing to do with it, so a warning would hit the wrong one."""
        late = self._late_ones()
        if not late:
            return
        self._late.clear()
        more = [f"… and {len(late) - MOST_TOLD} more"] if len(late) > MOST_TOLD else []
        text = "\n  ".join(["mail that belongs to no running test, and was counted for none:", *late[:MOST_TOLD], *more, ADVICE])
        run_of(self._config).notices.append(text)
