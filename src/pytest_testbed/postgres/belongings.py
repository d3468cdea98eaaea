"""What a client at the front door has on its backend: statements, settings, channels, a transaction; another one is told of it.

For the host process: the standard library only.
"""

from __future__ import annotations

from .channels import Channels
from .messages import FAILED, IDLE, IN_TRANSACTION, Reader, message
from .prepared import Prepared
from .sessionstate import SessionState

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from ..services.board import Board

__all__ = ["BIND", "Belongings"]

BIND, CLOSE, TEXTS = 66, 67, frozenset(b"QP")
BEGIN = message(b"Q", b"BEGIN\0")


class Belongings:
    """What one client has on its backend.

    Args:
        board: where it is counted how much clients have sent, and who listens.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self.prepared = Prepared()
        self._channels = Channels()
        self._session = SessionState()
        self._in_transaction = False

    @property
    def bound(self) -> list[str]:
        """What the backend had, when it was asked last, that another one would not have."""
        return self._session.bound

    @property
    def listens(self) -> bool:
        """Whether the client listens to a channel."""
        return bool(self._channels.names)

    def hear(self, whole: bytes) -> None:
        """Remember what another backend would have to know.

        Args:
            whole: a message of the client that has text or the name of a statement.
        """
        kind = whole[0]
        if kind != BIND:
            self.prepared.hear(whole)
        if kind != CLOSE:
            self._session.hear(whole)
        if kind in TEXTS and self._channels.hear(whole, self._board.messages):
            self._board.count_listen()

    def learn(self, ask: Callable[[bytes], bytes | None], state: bytes, *, is_led: bool) -> None:
        """Let the backend tell what another one has to be told, and what that one could not have.

        Args:
            ask: sends messages to it unseen by the client, and returns all that it answers.
            state: of its transaction; one that had failed was rolled back, and begun anew.
            is_led: whether it leaves what stands in for its database: then all that cannot be taken along stays there.
        """
        session = self._session
        session.forget_transaction()
        if state == FAILED:
            session.learn(ask(session.question()) or b"")
            return
        session.learn(ask(session.question()) or b"", of_transaction=state == IN_TRANSACTION)
        if session.bound and not is_led:
            return
        self.prepared.describe(lambda text: ask(text) or b"")
        if state == IN_TRANSACTION:
            session.learn(ask(session.question("ROLLBACK;")) or b"")

    def take_along(self, state: bytes) -> None:
        """Note that the backend is given up.

        Args:
            state: of the transaction there.
        """
        self._in_transaction = state != IDLE

    def bring(self, server: _socket.socket, user: str) -> None:
        """Tell a new backend what the last one knew; the first one is told nothing.

        Args:
            server: the connection to it.
            user: as whom it was logged in to.
        """
        reader = Reader(server)
        begin = [BEGIN, *self._session.again_in_transaction()] if self._in_transaction else []
        for text in (*self._session.again(user), *self._channels.again()):
            _ask(server, reader, text)
        self.prepared.bring(lambda text: _ask(server, reader, text))
        for text in begin:
            _ask(server, reader, text)

    def silenced(self) -> bytes:
        """Forget the channels of the running test; return what undoes them, b"" where there is nothing to undo."""
        return self._channels.without_those_since(self._board.began)


def _ask(server: _socket.socket, reader: Reader, text: bytes) -> bytes:
    """Send something; return all that it is answered."""
    server.sendall(text)
    answer, kind = b"", b""
    while kind != b"Z":
        kind, body = reader.next()
        answer += message(kind, body)
    return answer
