"""A login at a broker, from the standard library alone: tells whether it is ready, and lets us in."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ..services.model import Endpoint
from .frames import frame_size, login

__all__ = ["try_login"]


def try_login(endpoint: Endpoint, vhost: str, timeout: float) -> str:
    """Open an AMQP connection and close it; return the broker's version.

    Args:
        endpoint: the broker; `amqps` as its scheme means TLS.
        vhost: the virtual host to open.
        timeout: seconds for each answer.

    Raises:
        OSError: nobody answers, or who does is not ready to.
        Refused: the broker does not let in, or it is none.
    """
    with socket.create_connection((endpoint.host, endpoint.port), timeout) as plain:
        connection = plain
        if endpoint.scheme == "amqps":
            import ssl

            connection = ssl.create_default_context().wrap_socket(plain, server_hostname=endpoint.host)
        with connection:
            return login(reader(connection), connection.sendall, endpoint.user, endpoint.password, vhost)


def reader(connection: socket.socket) -> Callable[[], bytes]:
    """Return what reads one frame after the other."""

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = connection.recv(size - len(data))
            except TimeoutError:
                raise TimeoutError("what listens there says nothing") from None
            if not piece:
                raise ConnectionResetError("what listens there hung up without a word")
            data += piece
        return data

    def frame() -> bytes:
        head = exactly(7)
        return head + exactly(frame_size(head) - 7)

    return frame
