"""What came for a test, for people: in the report of its failure, and where a mail was expected in vain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .box import Box
from .criteria import Wanted
from .message import Mail, sized

__all__ = ["captured", "unmet"]

SHOWN = 10
MOST_LINES = 8
"""Lines of a mail's text that are shown."""
WIDEST = 120
READ = 100_000
"""Characters of a mail's text up to which its lines are looked at."""


def captured(box: Box) -> str:
    """Return the section of a report; "" where nothing happened."""
    return "\n".join(_captured(box))


def _captured(box: Box) -> Iterator[str]:
    mails = list(box.mails)
    for mail in mails[:SHOWN]:
        yield from letter(mail)
    yield from left_out(len(mails) - SHOWN)
    yield from logins(box)
    yield from refusals(box)


def letter(mail: Mail) -> Iterator[str]:
    """Yield a mail's lines."""
    yield f"From: {mail.sender or mail.return_path or 'nobody'}"
    yield f"To: {', '.join(mail.recipients[:SHOWN])}{' …' if len(mail.recipients) > SHOWN else ''}"
    yield f"Subject: {cut(mail.subject)}"
    lines = (mail.text or mail.html)[:READ].strip().splitlines()
    yield from (f"    {cut(line)}" for line in lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        yield f"    … ({len(lines)} lines, {sized(len(mail.raw))})"
    for attachment in mail.attachments[:SHOWN]:
        yield f"  Attachment: {attachment}"
    yield from left_out(len(mail.attachments) - SHOWN)
    yield ""


def logins(box: Box) -> Iterator[str]:
    """Yield a line on those who logged in."""
    users = list(dict.fromkeys(login.user for login in list(box.logins)))
    if users:
        yield f"Logged in: {', '.join(users[:SHOWN])} (password ***)"


def refusals(box: Box) -> Iterator[str]:
    """Yield the lines on what the server refused."""
    refused = list(box.refusals)
    if refused:
        yield f"Refused, as the test wanted ({len(refused)}):"
        yield from (f"  {each}" for each in refused[:SHOWN])
        yield from left_out(len(refused) - SHOWN)


def cut(text: str) -> str:
    """Return a text in one printable line, cut to a length."""
    plain = "".join(each if each.isprintable() else " " for each in text[: WIDEST + 1])
    return plain if len(plain) <= WIDEST else f"{plain[:WIDEST]}…"


def left_out(count: int) -> Iterator[str]:
    """Yield a line where something was left out."""
    if count > 0:
        yield f"  … and {count} more"


# --- expected in vain


def unmet(box: Box, place: str, wanted: Wanted, within: float, taken: Sequence[Mail], late: Sequence[str]) -> str:
    """Return why no mail was found.

    Args:
        box: what came.
        place: the server's address.
        wanted: what was looked for.
        within: seconds that were waited.
        taken: mails that were expected before, which do not count again.
        late: what came to the ports of earlier tests, in words.
    """
    return "\n".join(_unmet(box, place, wanted, within, taken, late))


def _unmet(box: Box, place: str, wanted: Wanted, within: float, taken: Sequence[Mail], late: Sequence[str]) -> Iterator[str]:
    said = str(wanted)
    yield f"no mail{f' with {said}' if said else ''} came within {within:g} s."
    mails = list(box.mails)
    rows = sorted(((reasons(mail, wanted, taken), mail) for mail in mails), key=lambda row: len(row[0]))
    if rows:
        yield f"  what came ({len(rows)}):"
        for why, mail in rows[:SHOWN]:
            yield f"    {mail}"
            yield from (f"      {each}" for each in why)
        yield from (f"  {line}" for line in left_out(len(rows) - SHOWN))
    elif box.connections:
        count = box.connections
        yield f"  nothing came; {count} client{'s' if count > 1 else ''} connected to {place} and sent no mail."
    else:
        yield f"  nothing came, and in this test nobody has connected to {place}: does the application send its mails there?"
    yield from (f"  {line}" for line in refusals(box))
    yield from (f"  late: {each}" for each in late[:SHOWN])


def reasons(mail: Mail, wanted: Wanted, taken: Sequence[Mail]) -> list[str]:
    """Return why a mail is not the one that is meant."""
    if faults := wanted.faults(mail):
        return faults
    return ["was returned by an earlier expect"] if any(each is mail for each in taken) else ["came too late for this wait"]
