"""The channels that a client at the front door listens to: another backend has to, too, and the next test must not.

For the host process: the standard library only.
"""

from __future__ import annotations

from .messages import message

__all__ = ["Channels"]


class Channels:
    """What a client has said of channels, in its order, and how much had been sent when it did."""

    def __init__(self) -> None:
        self._said: list[tuple[int, str]] = []

    def hear(self, piece: bytes, count: int) -> bool:
        """Note a statement that is about a channel; tell whether it was one."""
        at = 5 if piece[0] == 81 else piece.find(0, 5) + 1  # a text, or the name of a statement and then its text
        if piece[at : at + 8].lstrip()[:6].lower() not in (b"listen", b"unlist"):
            return False
        text = piece[at : piece.find(0, at)].decode(errors="replace").strip().rstrip(";").rstrip()
        self._said.append((count, text))
        return True

    @property
    def names(self) -> list[str]:
        """The channels that are listened to, as they were written."""
        return _names(self._said)

    def again(self) -> list[bytes]:
        """Return what lets a new backend listen to them."""
        return [message(b"Q", f"LISTEN {name}".encode() + b"\0") for name in self.names]

    def without_those_since(self, count: int) -> bytes:
        """Forget what was said after so much had been sent; return what undoes it, b"" where there is nothing to undo."""
        before = [said for said in self._said if said[0] <= count]
        names, wanted = self.names, _names(before)
        self._said = before
        if names == wanted:
            return b""
        return message(b"Q", ";".join(("UNLISTEN *", *(f"LISTEN {name}" for name in wanted))).encode() + b"\0")


def _names(said: list[tuple[int, str]]) -> list[str]:
    names: dict[str, None] = {}
    for _, text in said:
        verb, _, name = text.partition(" ")
        if verb.lower() == "listen":
            names[name.strip()] = None
        elif name.strip() == "*":
            names.clear()
        else:
            names.pop(name.strip(), None)
    return list(names)
