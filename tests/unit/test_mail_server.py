"""The SMTP server, asked over its socket: logins, refusals, delays, clients that behave badly, its end."""

from __future__ import annotations

import base64
import gc
import logging
import re
import shutil
import smtplib
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.mail.box import MOST_REFUSALS, Box
from pytest_testbed.mail.mailbox import Mailbox
from pytest_testbed.mail.message import Mail
from pytest_testbed.mail.report import captured
from pytest_testbed.mail.server import HOST, MailPort, MailServer

pytest.importorskip("aiosmtpd")


class Post:
    """A server, a box at it, and what came too late."""

    def __init__(self, server: MailServer) -> None:
        self.server = server
        self.late: list[tuple[str, str]] = []
        self.box = Box("a test", self._came_late)
        self.port: MailPort = server.open(self.box)
        self.mailbox = Mailbox(self.box, self.port.number, server)

    def _came_late(self, owner: str, mail: Mail) -> None:
        self.late.append((owner, mail.subject))


@pytest.fixture
def post() -> Iterator[Post]:
    server = MailServer()
    try:
        yield Post(server)
    finally:
        server.close()


@pytest.fixture
def mailbox(post: Post) -> Mailbox:
    return post.mailbox


def letter(to: str = "ada@example.com", subject: str = "Welcome", text: str = "Hello\n") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.com", to, subject
    message.set_content(text)
    return message


def send(mailbox: Mailbox, **about: str) -> None:
    with smtplib.SMTP(*mailbox.address, timeout=30) as client:
        client.send_message(letter(**about))


# --- expecting


def test_the_mails_of_a_box(mailbox: Mailbox) -> None:
    assert len(mailbox) == 0
    send(mailbox)
    send(mailbox, to="bob@example.com")
    assert [mail.recipients for mail in mailbox.messages] == [("ada@example.com",), ("bob@example.com",)]
    assert re.fullmatch(r"<Mailbox 127\.0\.0\.1:\d+, 2 mails>", repr(mailbox))
    mailbox.clear()
    assert mailbox.messages == []


def test_a_mail_is_expected_once(mailbox: Mailbox) -> None:
    send(mailbox)
    send(mailbox)
    first, second = mailbox.expect(subject="Welcome"), mailbox.expect(subject="Welcome")
    assert first is not second
    mailbox.expect_none()
    with pytest.raises(AssertionError, match="was returned by an earlier expect"):
        mailbox.expect(subject="Welcome", within=0)
    assert len(mailbox) == 2


def test_a_mail_that_comes_later_is_awaited(mailbox: Mailbox) -> None:
    thread = threading.Timer(0.1, send, [mailbox])
    thread.start()
    assert mailbox.expect(to="ada@example.com", within=30).text == "Hello\n"
    thread.join()


def test_what_came_instead_is_shown_the_nearest_first(mailbox: Mailbox) -> None:
    send(mailbox, to="zoe@example.com", subject="Bill")
    send(mailbox, subject="Reminder")
    with pytest.raises(AssertionError) as caught:
        mailbox.expect(to="ada@example.com", subject="Welcome", within=0.01)
    assert str(caught.value).splitlines() == [
        "no mail with to='ada@example.com', subject='Welcome' came within 0.01 s.",
        "  what came (2):",
        "    'Reminder' from shop@example.com to ada@example.com",
        "      has the subject 'Reminder'",
        "    'Bill' from shop@example.com to zoe@example.com",
        "      was sent to zoe@example.com",
        "      has the subject 'Bill'",
    ]


def test_nothing_came(mailbox: Mailbox) -> None:
    with pytest.raises(AssertionError, match=r"nobody has connected to 127\.0\.0\.1:\d+"):
        mailbox.expect(within=0)
    with smtplib.SMTP(*mailbox.address):
        pass
    with pytest.raises(AssertionError, match=r"1 client connected to .* and sent no mail"):
        mailbox.expect(within=0)


def test_expecting_none(mailbox: Mailbox) -> None:
    mailbox.expect_none(within=0.01)
    send(mailbox)
    mailbox.expect_none(to="bob@example.com")
    with pytest.raises(AssertionError, match="there is a mail with to='ada@example.com':\n  'Welcome' from"):
        mailbox.expect_none(to="ada@example.com")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"form": "x"}, "form"),
        ({"to": ["a@b"]}, r"to=\['a@b'\] is no text"),
        ({"text": re.compile(b"x")}, "is no text, no pattern of texts"),
        ({"matching": "x"}, "matching='x' is no predicate of a mail"),
    ],
)
def test_criteria_that_are_none(mailbox: Mailbox, said: dict[str, Any], text: str) -> None:
    for call in (mailbox.expect, mailbox.expect_none):
        with pytest.raises(TypeError, match=text):
            call(**said)
    if "to" in said:
        with pytest.raises(TypeError, match=text):
            mailbox.refuse(**said)


# --- logins


def test_any_login_is_accepted(mailbox: Mailbox) -> None:
    with smtplib.SMTP(*mailbox.address) as client:
        client.ehlo()
        client.docmd("AUTH", "PLAIN " + base64.b64encode("\0ann\0geheim-ü".encode()).decode())
    with smtplib.SMTP(*mailbox.address) as client:
        client.ehlo()
        client.user, client.password = "bob", "geheim"
        client.auth("LOGIN", client.auth_login, initial_response_ok=False)
        client.send_message(letter())
    told = [(login.user, login.password, login.mechanism) for login in mailbox.logins]
    assert told == [("ann", "geheim-ü", "PLAIN"), ("bob", "geheim", "LOGIN")]
    assert "geheim" not in repr(mailbox.logins)


def test_a_password_is_not_in_the_report(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with smtplib.SMTP(*post.mailbox.address) as client:
        client.login("ann", "geheim")
        client.send_message(letter())
    assert "Logged in: ann (password ***)" in captured(post.box)
    assert "geheim" not in captured(post.box)
    assert caplog.records == []


def test_a_login_can_be_refused(mailbox: Mailbox) -> None:
    mailbox.refuse(at="auth", sender="ann")
    with smtplib.SMTP(*mailbox.address) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            client.login("ann", "geheim")
        client.login("bob", "geheim")
    assert [login.user for login in mailbox.logins][-1] == "bob"


# --- STARTTLS


def test_there_is_no_tls_where_nobody_wants_it(mailbox: Mailbox) -> None:
    with smtplib.SMTP(*mailbox.address) as client, pytest.raises(smtplib.SMTPNotSupportedError):
        client.starttls()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl: there is no such program")
def test_starttls(post: Post) -> None:
    certificate = post.mailbox.offer_starttls()
    for context in (None, ssl.create_default_context(cafile=certificate)):
        with smtplib.SMTP(*post.mailbox.address, timeout=30) as client:
            client.starttls(context=context)
            client.login("ann", "geheim")
            client.send_message(letter())
    with smtplib.SMTP(*post.mailbox.address, timeout=30) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.starttls(context=ssl.create_default_context())
    send(post.mailbox)
    stays = smtplib.SMTP(*post.mailbox.address, timeout=30)
    stays.starttls()
    assert len(post.mailbox) == 3
    post.server.close()
    stays.close()
    assert not Path(certificate).exists()


def test_starttls_without_openssl(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="the program openssl, which makes it, is not on PATH"):
        mailbox.offer_starttls()


def test_starttls_with_an_openssl_that_fails(mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho 'no such option' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="openssl could not make a certificate for STARTTLS:\nno such option"):
        mailbox.offer_starttls()


# --- what is shown


def test_much_is_shown_in_short(post: Post) -> None:
    mail = letter(text="".join(f"line {number}\n" for number in range(12)))
    for number in range(12):
        mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename=f"{number}.pdf")
    for _ in range(11):
        post.box.deliver(Mail(mail.as_bytes()))
    for number in range(5000):
        post.box.refused(f"MAIL FROM {number}")
    lines = captured(post.box).splitlines()
    first = lines[: lines.index("")]
    assert first[3:11] == [f"    line {number}" for number in range(8)]
    assert re.fullmatch(r"    … \(12 lines, .* kB\)", first[11])
    assert re.match("  Attachment: .*9.pdf", first[21])
    assert first[22:] == ["  … and 2 more"]
    assert lines.count("Subject: Welcome") == 10
    refused = lines.index(f"Refused, as the test wanted ({MOST_REFUSALS}):")
    assert lines[refused - 1] == "  … and 1 more"
    assert lines[refused + 11 :] == [f"  … and {MOST_REFUSALS - 10} more"]


def test_little_is_shown_whole(post: Post) -> None:
    post.box.deliver(Mail(letter(text="one\ntwo\n").as_bytes()))
    assert captured(post.box).splitlines()[3:] == ["    one", "    two"]


# --- what goes wrong on demand


def test_a_recipient_can_be_refused(post: Post) -> None:
    post.mailbox.refuse(to="Bob@example.com", text="5.1.1 no such user")
    with smtplib.SMTP(*post.mailbox.address) as client:
        assert client.send_message(letter("ada@example.com, bob@example.com")) == {
            "bob@example.com": (550, b"5.1.1 no such user")
        }
    assert post.mailbox.expect().recipients == ("ada@example.com",)
    with pytest.raises(AssertionError, match="RCPT TO bob@example.com: 550 5.1.1 no such user"):
        post.mailbox.expect(to="bob@example.com", within=0)
    assert "Refused, as the test wanted (1):\n  RCPT TO bob@example.com: 550" in captured(post.box)


@pytest.mark.parametrize(
    ("at", "error", "code"),
    [
        ("connect", smtplib.SMTPConnectError, 554),
        ("mail", smtplib.SMTPSenderRefused, 550),
        ("rcpt", smtplib.SMTPRecipientsRefused, 550),
        ("data", smtplib.SMTPDataError, 554),
    ],
)
def test_each_stage_can_be_refused(mailbox: Mailbox, at: str, error: type[smtplib.SMTPException], code: int) -> None:
    with mailbox.refuse(at=at) as rule:  # type: ignore[arg-type]
        with pytest.raises(error, match=str(code)):
            send(mailbox)
    send(mailbox)
    assert (len(mailbox), rule.count) == (1, 1)


def test_a_refusal_has_a_number_of_times(mailbox: Mailbox) -> None:
    mailbox.refuse(code=450, times=2)
    for _ in range(2):
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="450, b'4.1.1"):
            send(mailbox)
    send(mailbox)


def test_the_last_refusal_wins(mailbox: Mailbox) -> None:
    mailbox.refuse(text="first")
    mailbox.refuse(sender="shop@example.com", text="second")
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="second"):
        send(mailbox)


def test_after_421_the_connection_is_closed(mailbox: Mailbox) -> None:
    mailbox.refuse(at="mail", code=421)
    with socket.create_connection(mailbox.address, 30) as client, client.makefile("rwb", 0) as lines:
        lines.readline()
        lines.write(b"HELO x\r\n")
        lines.readline()
        lines.write(b"MAIL FROM:<a@b>\r\n")
        assert lines.readline().startswith(b"421 ")
        assert lines.readline() == b""


@pytest.mark.parametrize("at", ["connect", "auth", "mail", "rcpt", "data"])
def test_the_connection_can_be_dropped(mailbox: Mailbox, at: str) -> None:
    mailbox.drop(at=at, times=1)  # type: ignore[arg-type]

    def login_and_send() -> None:
        with smtplib.SMTP(*mailbox.address, timeout=30) as client:
            client.login("ann", "geheim")
            client.send_message(letter())

    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        login_and_send()
    assert len(mailbox) == 0
    login_and_send()
    assert len(mailbox) == 1


def test_an_answer_can_be_delayed(mailbox: Mailbox) -> None:
    with mailbox.delay(60, at="connect"), pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
        smtplib.SMTP(*mailbox.address, timeout=0.05)
    mailbox.delay(0.1)
    began = time.monotonic()
    send(mailbox)
    assert time.monotonic() - began >= 0.1
    assert len(mailbox) == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda box: box.refuse(at="recpt"), "did you mean 'rcpt'"),
        (lambda box: box.drop(at="xyz"), "there are 'connect', 'auth', 'mail', 'rcpt', 'data'"),
        (lambda box: box.refuse(code=250), "250 is no refusal"),
        (lambda box: box.refuse(text="a\nb"), "more than one line"),
        (lambda box: box.refuse(to="a@b", at="mail"), "before the server knows to="),
        (lambda box: box.delay(-1), "less than nothing"),
    ],
)
def test_what_cannot_be_demanded(mailbox: Mailbox, call: Callable[[Mailbox], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(mailbox)


# --- what is sent


def test_non_ascii_addresses(mailbox: Mailbox) -> None:
    with smtplib.SMTP(*mailbox.address) as client:
        client.send_message(letter("jörg@bücher.example", "Grüße"))
    assert mailbox.expect(to="JÖRG@bücher.example").subject == "Grüße"


def test_a_bounce_has_no_sender(mailbox: Mailbox) -> None:
    with smtplib.SMTP(*mailbox.address) as client:
        client.sendmail("", ["ada@example.com"], b"Subject: returned\r\n\r\n")
    assert (mailbox.messages[0].return_path, mailbox.messages[0].sender) == ("", "")


def test_lines_that_are_too_long_and_dots(mailbox: Mailbox) -> None:
    body = b"x" * 100_000 + b"\r\n.\r\n..two\r\n\xff\xfe\r\n"
    with smtplib.SMTP(*mailbox.address) as client:
        client.sendmail("a@b", ["ada@example.com"], b"Subject: x\r\n\r\n" + body)
    assert mailbox.messages[0].raw == b"Subject: x\r\n\r\n" + body


def test_a_large_mail(mailbox: Mailbox) -> None:
    raw = b"Subject: large\r\n\r\n" + (b"x" * 9998 + b"\r\n") * 5000
    with smtplib.SMTP(*mailbox.address, timeout=60) as client:
        client.sendmail("a@b", ["ada@example.com"], raw)
    assert len(mailbox.expect(subject="large").raw) == len(raw) > 50_000_000


def test_many_at_once(mailbox: Mailbox) -> None:
    faults: list[Exception] = []

    def one(number: int) -> None:
        try:
            send(mailbox, to=f"user{number}@example.com")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert {mail.recipients[0] for mail in mailbox.messages} == {f"user{number}@example.com" for number in range(200)}


@pytest.mark.parametrize(
    "said", [b"", b"EHLO x\r\nMAIL FR", b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: half"]
)
def test_a_client_that_disconnects(mailbox: Mailbox, said: bytes) -> None:
    with socket.create_connection(mailbox.address, 30) as client:
        client.recv(1000)
        client.sendall(said)
    send(mailbox)
    assert [mail.subject for mail in mailbox.messages] == ["Welcome"]


@pytest.mark.filterwarnings("error")
def test_clients_that_reset_the_connection(mailbox: Mailbox) -> None:
    """pytest would tell of an error in the server's thread."""
    for said in (b"", b"EHLO x\r\n" * 1000, b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n" + b"x" * 100_000):
        client = socket.create_connection(mailbox.address, 30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(said)
        client.close()
    send(mailbox)
    gc.collect()
    assert [mail.subject for mail in mailbox.messages] == ["Welcome"]


def test_a_predicate_that_fails_is_told_to_the_client(mailbox: Mailbox) -> None:
    mailbox.refuse(to=lambda address: 1 / 0)
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"500, b'Error: \(ZeroDivisionError\) division by zero"):
        send(mailbox)


def test_an_error_of_the_server_is_told(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_reset() -> None:
        raise ConnectionResetError

    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    reception = post.server._reception
    assert reception is not None
    assert reception._loop is not None
    reception._loop.call_soon_threadsafe(lambda: 1 / 0)
    reception._loop.call_soon_threadsafe(raise_reset)
    post.server.close()
    assert [each.exc_type for each in told] == [ZeroDivisionError]


def test_nonsense(mailbox: Mailbox) -> None:
    with socket.create_connection(mailbox.address, 30) as client:
        client.sendall(b"\xff\xfe\x00\r\nGET / HTTP/1.1\r\n\r\nMAIL FROM:\xff\r\n" + b"A" * 100_000 + b"\r\n")
        assert client.recv(1000)
    send(mailbox)


def test_answers_are_sent_at_once(post: Post) -> None:
    """Or each dialogue takes 40 ms, as the server waits for an acknowledgement that the client puts off."""
    with smtplib.SMTP(*post.mailbox.address):
        assert post.server._reception is not None
        (connection,) = post.server._reception.connections
        assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- ports, and the end


def test_what_comes_after_the_end_is_late(post: Post) -> None:
    post.mailbox.refuse()
    post.box.end()
    send(post.mailbox, subject="too late")
    assert post.late == [("a test", "too late")]
    assert post.mailbox.messages == []


def test_boxes_have_ports_of_their_own(post: Post) -> None:
    other = Box("another", post._came_late)
    port = post.server.open(other)
    send(Mailbox(other, port.number, post.server), subject="other")
    send(post.mailbox)
    assert [[mail.subject for mail in box.mails] for box in (post.box, other)] == [["Welcome"], ["other"]]


def test_a_port_that_was_shut(post: Post) -> None:
    post.server.shut(post.port)
    deadline = time.monotonic() + 30
    with pytest.raises(ConnectionError):  # or reset, in the moment in which it is closed
        while time.monotonic() < deadline:
            socket.create_connection(post.mailbox.address, 30).close()


def test_a_port_that_was_shut_as_the_server_ended(post: Post) -> None:
    gate = threading.Event()
    reception = post.server._reception
    assert reception is not None
    assert reception._loop is not None
    reception._loop.call_soon_threadsafe(gate.wait)
    port = post.server.open(Box("another", post._came_late))
    post.server.shut(port)
    threading.Timer(0.05, gate.set).start()  # all three are told at once: open it, shut it, end
    post.server.close()
    assert port.socket.fileno() == -1


def test_the_end_closes_all(recwarn: pytest.WarningsRecorder) -> None:
    before = threading.enumerate()
    server = MailServer()
    post = Post(server)
    idle = smtplib.SMTP(*post.mailbox.address)
    post.mailbox.delay(60)
    busy = threading.Thread(target=lambda: pytest.raises(smtplib.SMTPException, send, post.mailbox))
    busy.start()
    deadline = time.monotonic() + 30
    while post.box.connections < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 2
    busy.join()
    idle.close()
    assert threading.enumerate() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(post.mailbox.address)
    server.close()
    assert recwarn.list == []


def test_an_idle_server_ends_at_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server = MailServer()
        port = server.open_idle(Box("", lambda owner, mail: None))
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port.number))


def test_an_idle_server_wakes_up() -> None:
    server, box = MailServer(), Box("a test", lambda owner, mail: None)
    port = server.open_idle(box)
    try:
        send(Mailbox(box, port.number, server))
        assert len(box.mails) == 1
    finally:
        server.close()
