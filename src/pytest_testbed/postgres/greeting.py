"""What a client of PostgreSQL says when it comes to the front door, and whether it may stay: by the run's own password.

Who comes as another role than the run's own may stay with the password that it has said: the server decides. For the host
process: the standard library only.
"""

from __future__ import annotations

from contextlib import suppress

from .messages import CANCEL, GSS, LONG, TLS, VERSION_3, Reader, error, message

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from ..services.frontdoor import FrontDoor

__all__ = ["NOT_LET_IN", "WRONG_PASSWORD", "Greeting"]

WRONG_PASSWORD, NOT_LET_IN = "28P01", "28000"


class Greeting:
    """What one client has said when it came.

    Args:
        door: where it came in.
        client: its socket.
    """

    def __init__(self, door: FrontDoor, client: _socket.socket) -> None:
        self._door, self._client = door, client
        self.said: dict[str, str] = {}
        """The parameters that it wants its session to have."""
        self.password: str | None = None
        """That of another role than the run's own: only the server knows whether it is right."""
        self.is_makers = False
        """Whether it is a client of the process that makes the run's database."""
        self.cancels: bytes | None = None
        """The key of another client, where it wants no more than to have that one's statement cancelled."""

    def hear(self) -> bool:
        """Hear what the client wants and who it is; tell whether it may stay."""
        reader = Reader(self._client)
        version, rest = self._hear_first(reader)
        if version == CANCEL:
            self.cancels = rest
            return False
        if version >> 16 != VERSION_3 >> 16:
            return self.refuse("0A000", "pytest-testbed: only version 3 of the protocol is spoken here")
        self._hear_parameters(version, rest)
        self._client.sendall(message(b"R", LONG.pack(3)))
        kind, secret = reader.next()
        return self._is_known(secret) if kind == b"p" else self.refuse(WRONG_PASSWORD, f"{self._failed()}: it has sent none")

    def _hear_first(self, reader: Reader) -> tuple[int, bytes]:
        """Return the client's first message; who asks for an encrypted connection before it does not get one."""
        version, rest = reader.first()
        while version in (TLS, GSS):
            self._client.sendall(b"N")
            version, rest = reader.first()
        return version, rest

    def _hear_parameters(self, version: int, rest: bytes) -> None:
        """Note the parameters; tell the client which of them, and what of its version, are not known here."""
        words = rest.split(b"\0")
        said = {name.decode(): value.decode() for name, value in zip(words[::2], words[1::2], strict=False) if name}
        self.said = {name: value for name, value in said.items() if not name.startswith("_pq_.")}
        if version != VERSION_3 or self.said != said:
            unknown = [name.encode() + b"\0" for name in said if name not in self.said]
            self._client.sendall(message(b"v", LONG.pack(VERSION_3) + LONG.pack(len(unknown)) + b"".join(unknown)))

    def _is_known(self, secret: bytes) -> bool:
        """Tell whether a client may go on with a password; where the server has to decide, it may."""
        user, own = self.said.get("user", ""), self._door.facts["user"]
        known = [secret == each.encode() + b"\0" for each in (self._door.facts["password"], self._door.maker) if each]
        self.is_makers = known[1:] == [True]
        if user == own:
            return any(known) or self.refuse(WRONG_PASSWORD, self._failed())
        if any(known):  # the server would take it where it asks for none
            return self.refuse(WRONG_PASSWORD, f'{self._failed()}: it is that of "{own}"; connect with the role\'s own password')
        self.password = secret[:-1].decode(errors="replace")
        return bool(user) or self.refuse(NOT_LET_IN, "pytest-testbed: the client has not said as which user it comes")

    def _failed(self) -> str:
        return f'pytest-testbed: password authentication failed for user "{self.said.get("user", "")}"'

    def turn_away(self, code: str, text: str) -> bool:
        """Tell the client why it cannot be let in, where it was to be passed through, and has not been heard so far."""
        if self._hear_first(Reader(self._client))[0] == CANCEL:
            return False  # nobody listens
        return self.refuse(code, text)

    def refuse(self, code: str, text: str) -> bool:
        """Tell the client why it may not stay; return False, as that is the end of it."""
        with suppress(OSError):
            self._client.sendall(error(code, text))
        return False
