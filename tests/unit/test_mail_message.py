"""A mail as tests see it: decoded, its parts told apart, and never a crash on a broken one."""

from __future__ import annotations

import random
from email.message import EmailMessage

import pytest

from pytest_testbed.mail.message import Mail, sized


def written(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


def whole() -> Mail:
    message = written(
        From="Shop <shop@example.com>", To="Ada <ada@example.com>, bob@example.com", Subject="Grüße €", Cc="c@x.org"
    )
    message.set_content("Hallo Ada,\nschöne Grüße\n")
    message.add_alternative("<p>Hallo <b>Ada</b></p>", subtype="html")
    message.add_attachment(b"%PDF-1", maintype="application", subtype="pdf", filename="Rechnung März.pdf")
    message.add_attachment("a;b\n", subtype="csv", filename="a.csv")
    return Mail(message.as_bytes(), "bounce@example.com", ("ada@example.com", "hidden@example.com"))


def test_headers_and_envelope() -> None:
    mail = whole()
    assert (mail.subject, mail.sender, mail.return_path) == ("Grüße €", "shop@example.com", "bounce@example.com")
    assert (mail.to, mail.cc) == (["ada@example.com", "bob@example.com"], ["c@x.org"])
    assert mail.recipients == ("ada@example.com", "hidden@example.com")
    assert mail.headers["FROM"] == "Shop <shop@example.com>"
    assert "Subject" in list(mail.headers)
    assert "reply-to" not in mail.headers
    assert isinstance(mail.message, EmailMessage)


def test_bodies_and_attachments() -> None:
    mail = whole()
    assert mail.text == "Hallo Ada,\nschöne Grüße\n"
    assert mail.html.strip() == "<p>Hallo <b>Ada</b></p>"
    assert [(each.name, each.content_type, each.content) for each in mail.attachments] == [
        ("Rechnung März.pdf", "application/pdf", b"%PDF-1"),
        ("a.csv", "text/csv", b"a;b\n"),
    ]
    assert repr(mail) == "<Mail 'Grüße €' from shop@example.com to ada@example.com, hidden@example.com, 2 attachments>"
    assert repr(mail.attachments[1]) == "<Attachment a.csv (text/csv, 4 bytes)>"


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64", "8bit"])
def test_encodings(encoding: str) -> None:
    message = written(Subject="x")
    message.set_content("Grüße\n", cte=encoding)
    assert Mail(message.as_bytes()).text == "Grüße\n"


def test_lines_end_as_in_python() -> None:
    assert Mail(b"Subject: x\r\n\r\none\r\ntwo\r\n").text == "one\ntwo\n"


def test_html_alone_has_no_text() -> None:
    message = written(Subject="x")
    message.set_content("<p>hi</p>", subtype="html")
    mail = Mail(message.as_bytes())
    assert (mail.text, mail.html.strip(), mail.attachments) == ("", "<p>hi</p>", [])


def test_a_text_file_is_no_body() -> None:
    message = written(Subject="x")
    message.set_content("body")
    message.add_attachment("file", filename="file.txt")
    mail = Mail(message.as_bytes())
    assert mail.text == "body\n"
    assert [each.content for each in mail.attachments] == [b"file\n"]


def test_a_forwarded_mail_is_one_attachment() -> None:
    inner, message = written(Subject="inner"), written(Subject="outer")
    inner.set_content("inner text")
    message.set_content("see below")
    message.add_attachment(inner)
    mail = Mail(message.as_bytes())
    assert mail.text == "see below\n"
    (forwarded,) = mail.attachments
    assert forwarded.content_type == "message/rfc822"
    assert Mail(forwarded.content).subject == "inner"


def test_utf8_without_encoding() -> None:
    mail = Mail("Subject: Grüße\r\nTo: Ärzte <ä@example.com>\r\n\r\nschön".encode())
    assert (mail.subject, mail.to, mail.text) == ("Grüße", ["ä@example.com"], "schön")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"no header at all", "no header at all"),
        (b"\r\nno headers", "no headers"),
        (b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xc3\xa4", "ä"),
        (b"Content-Type: text/plain; charset=ascii\r\n\r\n\xc3\xa4", "ä"),
        (b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xe4", "ä"),
        (b"Content-Type: text/plain; charset=hex\r\n\r\nzz", "zz"),
        (b"Content-Type: ;;\r\nTo: <\r\nMessage-ID: <>\r\n\r\nx", "x"),
        (b"Content-Transfer-Encoding: base64\r\n\r\nYQ!", "a"),
        (b"Content-Type: multipart/mixed\r\n\r\nno boundary", "no boundary"),
    ],
)
def test_broken_mails(raw: bytes, text: str) -> None:
    mail = Mail(raw)
    assert text in (mail.text, *(each.content.decode() for each in mail.attachments))
    assert repr(mail)
    assert dict(mail.headers) is not None


def test_bytes_that_are_no_ascii_can_be_printed() -> None:
    raw = "Content-Disposition: attachment; filename=März.pdf\r\nTo: <ä\r\nFrom: ö <\r\n\r\n%PDF".encode()
    mail = Mail(raw)
    assert [each.name for each in mail.attachments] == ["März.pdf"]
    assert mail.headers["From"].startswith("ö")  # what else there is depends on the version of Python
    f"{mail!r} {mail.headers!r} {mail.to}".encode()


def test_no_bytes_crash_it() -> None:
    """Headers and structure damaged at random: all of it can be read, whatever it says."""
    chance = random.Random(6)
    sound = whole().raw
    for _ in range(300):
        raw = bytearray(sound)
        for _ in range(chance.randrange(1, 12)):
            at = chance.randrange(len(raw))
            raw[at : at + chance.randrange(3)] = bytes(chance.choices(b'\r\n:;="<>,@()\\ \xff\x00=?a', k=chance.randrange(3)))
        mail = Mail(bytes(raw))
        shown = (
            mail.subject,
            mail.sender,
            mail.to,
            mail.cc,
            mail.text,
            mail.html,
            mail.attachments,
            dict(mail.headers),
            repr(mail),
        )
        repr(shown).encode()


def test_sizes() -> None:
    assert [sized(each) for each in (0, 999, 1500, 50_000_000)] == ["0 bytes", "999 bytes", "1.5 kB", "50.0 MB"]
