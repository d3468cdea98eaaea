"""The named statements of a client at the front door, which another backend has to know too.

A client may keep what a statement gives (asyncpg does). Where the database that takes the place of another has
other definitions, that is no longer true: PostgreSQL itself says so in such a case, and clients know what to do.
For the host process: the standard library only.
"""

from __future__ import annotations

import re

from .messages import LONG, message, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHANGED", "FAIL", "Prepared"]

BIND, CLOSE, DESCRIBE, PARSE, QUERY = b"B", b"C", b"D", b"P", b"Q"
DEALLOCATES = re.compile(
    rb'\s*(?:discard\s+all\b|deallocate\s+(?:prepare\s+)?(?:"(?P<quoted>[^"]+)"|(?P<plain>[\w$]+)))', re.IGNORECASE | re.ASCII
)
SYNC = message(b"S")
WORDS = "cached plan must not change result type"
CHANGED = message(b"E", f"SERROR\0VERROR\0C0A000\0M{WORDS}\0RRevalidateCachedQuery\0\0".encode())
"""What a server answers where a statement no longer gives what it gave; by the last field asyncpg knows it."""
FAIL = message(b"Q", f"DO $$ BEGIN RAISE '{WORDS}' USING ERRCODE = '0A000'; END $$\0".encode())
"""Lets a transaction fail with the same words."""


class Prepared:
    """The statements that a client has prepared under a name."""

    def __init__(self) -> None:
        self._parses: dict[bytes, bytes] = {}
        self._given: dict[bytes, list[tuple[bytes, int]]] = {}
        self._changed: set[bytes] = set()
        self._missing: set[bytes] = set()

    def hear(self, whole: bytes) -> None:
        """Keep a statement that a client prepares, forget one that it closes.

        Args:
            whole: a Parse, a Close or a Query; the beginning of one that is very long is passed over.
        """
        for kind, body, _ in messages(whole):
            if kind == PARSE and body[0]:
                name = body[: body.index(0)]
                self._forget(name)
                self._parses[name] = whole
            elif kind == CLOSE and body[:1] == b"S":
                self._forget(body[1:-1])
            if kind in (QUERY, PARSE) and self._parses:
                self._hear_text(body if kind == QUERY else body[body.index(0) + 1 :])

    def _hear_text(self, text: bytes) -> None:
        if (said := DEALLOCATES.match(text)) is None:
            return
        quoted, plain = said["quoted"], said["plain"]
        if quoted is None and (plain is None or plain.lower() == b"all"):
            for name in list(self._parses):
                self._forget(name)
        else:
            self._forget(quoted if quoted is not None else plain.lower())

    def _forget(self, name: bytes) -> None:
        self._parses.pop(name, None)
        self._given.pop(name, None)
        self._changed.discard(name)
        self._missing.discard(name)

    def describe(self, ask: Callable[[bytes], bytes]) -> None:
        """Note what each statement gives, before its backend is given up.

        Args:
            ask: sends messages to it, and returns all that it answers.
        """
        for name in self._parses.keys() - self._given.keys():
            if (given := columns(ask(described(name)))) is not None:
                self._given[name] = given

    def bring(self, ask: Callable[[bytes], bytes]) -> None:
        """Let another backend know them.

        Args:
            ask: sends messages to it, and returns all that it answers.
        """
        self._missing.clear()
        for name, parse in self._parses.items():
            given = columns(ask(parse + described(name)))
            if given is None:
                self._missing.add(name)
            if given is None or self._given.get(name, given) != given:
                self._changed.add(name)
            else:
                self._changed.discard(name)

    def is_refused(self, piece: bytes) -> bool:
        """Tell whether a client must be told that a statement gives something else by now: it does not ask what."""
        if not self._changed:
            return False
        kinds = [kind for kind, _, _ in messages(piece)]
        return self._bound(piece) in self._changed and DESCRIBE not in kinds and kinds[-1:] == [b"S"]

    def missing(self, piece: bytes) -> bytes:
        """Return what prepares a statement that is wanted, and could not be prepared on this backend when it was new."""
        name = self._bound(piece) if self._missing else b""
        return self._parses[name] + SYNC if name in self._missing else b""

    def _bound(self, piece: bytes) -> bytes:
        for kind, body, _ in messages(piece):
            if kind == BIND:
                return body.split(b"\0", 2)[1]
        return b""


def described(name: bytes) -> bytes:
    """Return what asks for the columns of a statement."""
    return message(DESCRIBE, b"S" + name + b"\0") + SYNC


def columns(answer: bytes) -> list[tuple[bytes, int]] | None:
    """Return the names and types of the columns that a server describes, None where it answers with an error."""
    found: list[tuple[bytes, int]] | None = None
    for kind, body, _ in messages(answer):
        if kind == b"E":
            return None
        if kind == b"n":
            found = []
        if kind == b"T":
            found, at = [], 2
            while at < len(body):
                end = body.index(0, at)
                found.append((body[at:end], LONG.unpack_from(body, end + 7)[0]))  # after the table and the column
                at = end + 19
    return found
