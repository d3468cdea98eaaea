"""What a client at the front door has set up on its backend: settings, which another one can have too, and what it cannot.

Texts of the client are not said again: they may do more than to set something, or may have been undone since. The old
backend is asked. For the host process: the standard library only.
"""

from __future__ import annotations

import re

from .messages import message, rows

__all__ = ["SessionState"]

BOUND = "bound"
ASK = f"""SELECT '{BOUND}', 'changes that are not committed' WHERE txid_current_if_assigned() IS NOT NULL
UNION ALL SELECT '{BOUND}', 'temporary tables'
  WHERE EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema())
UNION ALL SELECT '{BOUND}', 'advisory locks'
  WHERE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
UNION ALL SELECT '{BOUND}', 'a cursor WITH HOLD' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)
UNION ALL SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session'"""
ENCODING, USER, ROLE = b"client_encoding", b"session_authorization", b"role"
OF_TRANSACTION = b"transaction_"
UNLISTED = (USER, ROLE)
"""Settings that the server's list leaves out; a project's own, whose names have a dot, are left out as well."""
NAMED = re.compile(rb"[a-z_][\w$]*\.[a-z_][\w$.]*", re.IGNORECASE | re.ASCII)
HEARD = 1 << 12
"""Bytes of what a client sends in which the names of a project's own settings are looked for."""
MOST_NAMES = 100


class SessionState:
    """The settings of one client's session, as its backend has told when it was asked for them."""

    def __init__(self) -> None:
        self._names: dict[bytes, None] = dict.fromkeys(UNLISTED)
        self._is_parameter = False
        self._session: dict[bytes, bytes] = {}
        self._transaction: dict[bytes, bytes] = {}
        self.bound: list[str] = []
        """What the backend had, when it was asked last, that another one would not have."""

    # --- what the client says

    def hear(self, piece: bytes) -> None:
        """Note names that may be those of a project's own settings."""
        first = piece[0]
        if first == 66:  # Bind
            if self._is_parameter:
                self._note(piece)
            return
        text = piece[:HEARD].lower()
        if b"set" not in text:
            return
        at = 5 if first == 81 else text.find(0, 5) + 1
        is_function = b"set_config" in text
        if is_function or text[at : at + 4] == b"set " or b";set " in text or b"; set " in text:
            self._note(piece)
            self._is_parameter |= is_function and b"$" in text

    def _note(self, piece: bytes) -> None:
        for name in NAMED.findall(piece, 5, HEARD):
            if len(self._names) < MOST_NAMES:
                self._names[name] = None

    # --- what the old backend is asked

    def question(self, before: str = "") -> bytes:
        """Return what asks a backend for its state.

        Args:
            before: a statement to be executed first.
        """
        names = ", ".join(f"('{name.decode()}')" for name in self._names)
        unlisted = f"UNION ALL SELECT name, current_setting(name, true) FROM (VALUES {names}) AS unlisted (name)"
        return message(b"Q", f"{before}{ASK}\n{unlisted}\0".encode())

    def learn(self, answer: bytes, *, of_transaction: bool = False) -> None:
        """Take what a backend has answered.

        Args:
            answer: to `question`; an error, or nothing, leaves what was known.
            of_transaction: whether it holds for the open transaction only, as far as it differs from the session's.
        """
        self.bound = []
        if not (found := rows(answer)):
            return
        self.bound = [text.decode() for name, text in found if name == BOUND.encode() and text is not None]
        settings = {name: value for name, value in found if name is not None and name != BOUND.encode() and value is not None}
        if of_transaction:
            self._transaction = settings
        else:
            self._session = settings

    def forget_transaction(self) -> None:
        """Forget what held for a transaction: another one is open, or none."""
        self._transaction = {}

    # --- what a new one is told

    def again(self, user: str) -> list[bytes]:
        """Return what gives a new backend the session's settings.

        Args:
            user: as whom it was logged in to.
        """
        usual = {USER: user.encode(), ROLE: b"none"}
        return [_set(name, value) for name, value in _in_order(self._session) if usual.get(name) != value]

    def again_in_transaction(self) -> list[bytes]:
        """Return what gives a new backend's open transaction what the old one's had set: it ends with the transaction."""
        own = {name: value for name, value in self._transaction.items() if self._session.get(name) != value}
        return [_set(name, value, is_local=True) for name, value in _in_order(own)]


def _in_order(settings: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return what must come before any query first, then how all others are written; what takes rights away at the end."""
    ends = {ENCODING: -1, USER: 1, ROLE: 2}
    return sorted(settings.items(), key=lambda pair: (not pair[0].startswith(OF_TRANSACTION), ends.get(pair[0], 0)))


def _set(name: bytes, value: bytes, *, is_local: bool = False) -> bytes:
    literal = b"E'" + value.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"
    if name.startswith(OF_TRANSACTION) and b"." not in name:  # no query may come before it
        return message(b"Q", b"SET LOCAL " + name + b" = " + literal + b"\0")
    return message(b"Q", b"SELECT set_config('" + name + b"', " + literal + (b", true)\0" if is_local else b", false)\0"))
