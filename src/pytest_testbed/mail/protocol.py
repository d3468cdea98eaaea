"""What is said over SMTP: aiosmtpd with hooks that fill a box and do wrong on demand. Heavy: it loads asyncio."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword

from .box import Box, Login
from .message import Mail
from .rules import Stage
from .server import BACKLOG, MailPort

if TYPE_CHECKING:
    import ssl

__all__ = ["Reception"]

LARGEST = 2**30
"""Bytes of a mail."""
LONGEST_LINE = 2**24
"""Bytes of a line. Servers may refuse more than 1000; a test may look for that itself."""
LONGEST_COMMAND = 2**16
NULL_SENDER = "<>"
SHUTTING_DOWN = "421"


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes on where a test has frozen the time."""

    def time(self) -> float:
        """Return the seconds of a clock that only goes forward."""
        return time.clock_gettime(time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic()


class Quiet(logging.Filter):
    """Keeps what the server's thread logs out of what tests log; it has passwords in it, too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is one of somebody else's."""
        return record.thread != self.thread

    def __init__(self) -> None:
        super().__init__()
        self.thread: int | None = None


class Reception:
    """The event loop of the server, for a thread of its own."""

    def __init__(self) -> None:
        self._quiet = Quiet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_up = threading.Event()
        self._servers: dict[MailPort, asyncio.Server] = {}
        self._shut: set[MailPort] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()

    # --- from other threads

    def serve(self, port: MailPort) -> None:
        """Accept what connects to a port; it listens already, so nobody need wait for that."""
        self._is_up.wait()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open, port)

    def shut(self, port: MailPort) -> None:
        """Close a port."""
        self._is_up.wait()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._close, port)

    def stop(self) -> None:
        """End the loop."""
        self._is_up.wait()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)

    # --- in its thread

    def run(self) -> None:
        """Serve until `stop`."""
        self._quiet.thread = threading.get_ident()
        loggers = [logging.getLogger(name) for name in ("mail.log", "asyncio")]
        for logger in loggers:
            logger.addFilter(self._quiet)
        try:
            loop = self._loop = Loop()
        finally:
            self._is_up.set()
        loop.set_debug(False)
        loop.set_exception_handler(_told)
        try:
            loop.run_forever()
            loop.run_until_complete(self._end())
        finally:
            loop.close()
            for logger in loggers:
                logger.removeFilter(self._quiet)

    def _open(self, port: MailPort) -> None:
        assert self._loop is not None
        task = self._loop.create_task(self._opened(port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _opened(self, port: MailPort) -> None:
        assert self._loop is not None
        server = await self._loop.create_server(lambda: self._connection(port), sock=port.socket, backlog=BACKLOG)
        if port in self._shut:
            self._shut.discard(port)
            server.close()
        else:
            self._servers[port] = server

    def _close(self, port: MailPort) -> None:
        if port in self._servers:
            self._servers.pop(port).close()
        else:
            self._shut.add(port)

    def _connection(self, port: MailPort) -> asyncio.Protocol:
        assert self._loop is not None
        port.box.connections += 1
        return Connection(Hooks(port), self.connections, self._loop)

    async def _end(self) -> None:
        for server in self._servers.values():
            server.close()
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for port in self._shut:  # before it was open
            port.socket.close()
        await asyncio.sleep(0)  # for the last connection_lost


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Pass over clients that hang up, or do not like the certificate; let pytest tell of all else, as of any thread's error."""
    error = context.get("exception")
    if error is not None and not isinstance(error, OSError):
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread())))


class Connection(SMTP):  # type: ignore[misc]
    """One client."""

    line_length_limit = LONGEST_LINE
    command_size_limit = LONGEST_COMMAND
    command_size_limits: ClassVar[dict[str, int]] = defaultdict(lambda: LONGEST_COMMAND)

    def __init__(self, hooks: Hooks, connections: set[Connection], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            hooks,
            hostname="localhost",  # the default asks the name server
            ident="pytest-testbed",
            data_size_limit=LARGEST,
            enable_SMTPUTF8=True,
            auth_require_tls=False,
            tls_context=hooks.tls,
            authenticator=hooks.login,
            loop=loop,
        )
        self._hooks, self._all = hooks, connections
        self._is_greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._all.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._all.discard(self)
        super().connection_lost(error)

    async def push(self, status: str | bytes) -> None:
        """Say something to the client; before the first word, see whether it is wanted at all."""
        if not self._is_greeted:
            self._is_greeted = True
            if (answer := await self._hooks.wrong(self, "connect")) is not None:
                await super().push(answer)
                await self.hang_up()
        await super().push(status)
        if status[:3] == SHUTTING_DOWN:
            await self.hang_up()

    async def hang_up(self, *, rudely: bool = False) -> None:
        """Close the connection; what was said before still arrives, but where it is done rudely. Never returns."""
        if self.transport is not None:
            if rudely:
                self.transport.abort()
            else:
                self.transport.close()
        await self.loop.create_future()  # cancelled with the connection


class Hooks:
    """What aiosmtpd asks of us.

    Args:
        port: where the connection came in. Its box may be another test's by the time a mail comes.
    """

    def __init__(self, port: MailPort) -> None:
        self._port = port

    @property
    def _box(self) -> Box:
        return self._port.box

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What STARTTLS is done with, where it is offered."""
        return self._box.tls

    async def wrong(self, server: Connection, at: Stage, sender: str = "", *recipients: str) -> str | None:
        """Do what rules demand; return the answer where it is a refusal."""
        await self._hinder(server, at, sender, *recipients)
        return self._refusal(at, sender, *recipients)

    async def _hinder(self, server: Connection, at: Stage, sender: str = "", *recipients: str) -> None:
        rules = self._box.rules
        if (delay := rules.take("delay", at, sender, recipients)) is not None:
            await asyncio.sleep(delay.seconds)
        if rules.take("drop", at, sender, recipients) is not None:
            self._box.refused(f"{named(at, sender, *recipients)}: the connection was dropped")
            await server.hang_up(rudely=True)

    def _refusal(self, at: Stage, sender: str = "", *recipients: str) -> str | None:
        refusal = self._box.rules.take("refuse", at, sender, recipients)
        if refusal is None:
            return None
        self._box.refused(f"{named(at, sender, *recipients)}: {refusal.answer}")
        return refusal.answer

    def login(self, server: Connection, session: Any, envelope: Any, mechanism: str, said: LoginPassword) -> AuthResult:
        """Accept any login, and keep it."""
        user, password = (each.decode("utf-8", "replace") for each in said)
        self._box.logins.append(Login(user, password, mechanism))
        answer = self._refusal("auth", user)
        return AuthResult(success=answer is None, handled=False, message=answer)

    async def handle_AUTH(self, server: Connection, session: Any, envelope: Any, args: list[str]) -> Any:
        """Wait, or hang up, before a login is heard."""
        await self._hinder(server, "auth")
        return MISSING

    async def handle_MAIL(self, server: Connection, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """Take a sender."""
        answer = await self.wrong(server, "mail", said(address))
        if answer is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return answer or "250 OK"

    async def handle_RCPT(self, server: Connection, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """Take a recipient."""
        answer = await self.wrong(server, "rcpt", said(envelope.mail_from), said(address))
        if answer is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return answer or "250 OK"

    async def handle_DATA(self, server: Connection, session: Any, envelope: Any) -> str:
        """Take a mail."""
        sender, recipients = said(envelope.mail_from), tuple(map(said, envelope.rcpt_tos))
        answer = await self.wrong(server, "data", sender, *recipients)
        if answer is None:
            self._box.deliver(Mail(envelope.original_content, sender, recipients))
        return answer or "250 OK"


def named(at: Stage, sender: str, *recipients: str) -> str:
    """Return what was said to the server, in its own words."""
    words = {"connect": "connection", "auth": "AUTH", "mail": "MAIL FROM", "rcpt": "RCPT TO", "data": "DATA for"}
    return f"{words[at]} {' '.join(recipients) or sender}".rstrip()


def said(address: str) -> str:
    """Return an address as people read it."""
    plain = address.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "" if plain == NULL_SENDER else plain
