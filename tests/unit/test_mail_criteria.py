"""Which mail is meant, and why another one is not."""

from __future__ import annotations

import re

import pytest

from pytest_testbed.mail.criteria import Wanted
from pytest_testbed.mail.message import Mail

RAW = (
    b"From: Shop <shop@example.com>\r\nTo: Ada <ada@example.com>, all@example.com\r\nSubject: Welcome, Ada\r\n\r\nClick here\r\n"
)
MAIL = Mail(RAW, "bounce@example.com", ("ada@example.com", "hidden@example.com"))


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(to="ada@example.com"),
        Wanted(to="ADA@Example.com"),
        Wanted(to="Ada L. <ada@example.com>"),
        Wanted(to="hidden@example.com"),
        Wanted(to=re.compile("^hidden")),
        Wanted(to=lambda address: address.startswith("hid")),
        Wanted(sender="shop@example.com"),
        Wanted(sender="bounce@example.com"),
        Wanted(subject="Welcome"),
        Wanted(subject=re.compile("^welcome", re.IGNORECASE)),
        Wanted(subject=str.istitle),
        Wanted(text="Click"),
        Wanted(text="", subject=""),
        Wanted(matching=lambda mail: mail.cc == []),
        Wanted(to="ada@example.com", subject="Welcome", text="here"),
    ],
    ids=str,
)
def test_it_is_meant(wanted: Wanted) -> None:
    assert wanted.faults(MAIL) == []


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        (Wanted(to="ada@example"), "was sent to ada@example.com, hidden@example.com"),
        (Wanted(to=re.compile("zoe")), "was sent to ada@example.com, hidden@example.com"),
        (Wanted(sender="bob@example.com"), "is from shop@example.com, bounce@example.com"),
        (Wanted(subject="welcome"), "has the subject 'Welcome, Ada'"),
        (Wanted(text="Tap"), r"has the text 'Click here\n'"),
        (Wanted(matching=lambda mail: False), "<lambda> says no"),
    ],
    ids=str,
)
def test_it_is_not_meant(wanted: Wanted, fault: str) -> None:
    assert wanted.faults(MAIL) == [fault]


def test_a_header_does_not_send_a_mail() -> None:
    (fault,) = Wanted(to="all@example.com").faults(MAIL)
    assert fault.endswith("it is named in the header, but it was not among the recipients")


def test_html_is_text_too() -> None:
    mail = Mail(b"Content-Type: text/html\r\n\r\n<p>Click</p>")
    assert Wanted(text="Click").faults(mail) == []
    assert Wanted(text="Tap").faults(mail) == ["has the text '<p>Click</p>'"]


def test_in_words() -> None:
    assert str(Wanted(to="a@b", subject=re.compile("x"), text=str.istitle)) == "to='a@b', subject=re.compile('x'), text=istitle"
    assert str(Wanted()) == ""
