"""What a client has declared in its virtual host, read from what it says.

Clients declare a queue when they first need it, and remember that they have. So what one has declared must be
there for as long as its connection is.

Source: the AMQP 0-9-1 specification, the methods exchange.declare, exchange.bind, queue.declare and queue.bind.
"""

from __future__ import annotations

import struct

from .frames import CLOSE

__all__ = ["Declared"]

Object = tuple[str, ...]
"""A sort of definitions, and what names the object: ("queues", name), ("bindings", source, destination, routing key)."""
EXCHANGE_DECLARE, EXCHANGE_BIND, QUEUE_DECLARE, QUEUE_BIND = (40, 10), (40, 30), (50, 10), (50, 20)
METHOD = 1
HEAD = 7
"""Bytes before a frame's payload."""
PASSIVE = 1
"""The bit of a declaration that only asks whether the object is there."""
LONGEST = 1 << 14
"""Bytes of a frame that is looked into: a declaration is much shorter."""


class Declared:
    """Follows what a client says after its login, in whatever pieces it comes.

    Args:
        objects: gets what it has declared.
    """

    def __init__(self, objects: set[Object]) -> None:
        self.objects = objects
        self._begun = b""
        """The beginning of a frame that is looked into, or of which nothing is known yet."""
        self._passed_over = 0
        """How many bytes are still to come of a frame that is not looked into."""

    def follow(self, piece: bytes) -> None:
        """Follow what is said."""
        at = min(self._passed_over, len(piece))
        self._passed_over -= at
        if at == len(piece):
            return
        data, at = (self._begun + piece[at:], 0) if self._begun else (piece, at)
        while len(data) - at >= HEAD:
            kind, _, size = struct.unpack_from(">BHI", data, at)
            end = at + HEAD + size + 1
            if end > len(data):
                if kind != METHOD or size > LONGEST:
                    self._begun, self._passed_over = b"", end - len(data)
                    return
                break
            if kind == METHOD:
                self._note(data[at + HEAD : end - 1])
            at = end
        self._begun = data[at:]

    def _note(self, method: bytes) -> None:
        which = struct.unpack_from(">HH", method) if len(method) >= 4 else None
        if which == CLOSE:
            self.objects.clear()
        if which not in (EXCHANGE_DECLARE, EXCHANGE_BIND, QUEUE_DECLARE, QUEUE_BIND):
            return
        texts = Texts(method, 6)  # behind the method, and a number that is reserved
        if which in (EXCHANGE_BIND, QUEUE_BIND):
            destination, source, key = texts.next(), texts.next(), texts.next()
            self.objects.add(("bindings", source, destination, key))
            return
        name = texts.next()
        if which == EXCHANGE_DECLARE:
            texts.next()  # its type
        if not texts.flags & PASSIVE:
            self.objects.add(("queues" if which == QUEUE_DECLARE else "exchanges", name))


class Texts:
    """The short texts at the beginning of a method's arguments, one after the other.

    Args:
        method: the method.
        at: where the first one begins.
    """

    def __init__(self, method: bytes, at: int) -> None:
        self._method, self._at = method, at

    def next(self) -> str:
        """Return the next one; "" where there is none."""
        size = self.flags
        begin, self._at = self._at + 1, self._at + 1 + size
        return self._method[begin : self._at].decode(errors="replace")

    @property
    def flags(self) -> int:
        """The byte that stands behind the last one; 0 where there is none."""
        return self._method[self._at] if self._at < len(self._method) else 0
