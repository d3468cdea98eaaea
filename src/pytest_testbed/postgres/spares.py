"""What a server of our own has ready for whoever comes first, and what it must be rid of before its data are kept.

For the host process: over the private socket, with the few messages of `protocol`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from ..services.model import Endpoint
from .protocol import ServerError, Trusted
from .service import CREATE_SPARE, SPARE, SPARE_PREFIX, TEMPLATE_PREFIX, spare_of

__all__ = ["enter", "make_spare", "prepare_to_keep"]

TIMEOUT = 10.0
UNWANTED_AFTER = 0.3
"""Seconds after which a spare is not for a run that is under way, which would have to wait for another connection to end."""
_FAULTS = (ServerError, OSError)
_OURS = f"SELECT datname FROM pg_database WHERE datname ~ '^({TEMPLATE_PREFIX}|{SPARE_PREFIX})\\w+$' ORDER BY oid DESC"


def enter(endpoint: Endpoint, timeout: float) -> Trusted:
    """Log in over the private socket."""
    return Trusted(f"{endpoint.socket}/.s.PGSQL.{endpoint.port}", endpoint.user, endpoint.database, timeout)


def make_spare(session: Trusted) -> bool:
    """Make a spare: a clone of the newest template, else an empty database; tell whether the session is still in use.

    A clone takes as long as the rest of the start from a cache does not: it is made while the first client is on its way.
    A client that comes sooner finds none, and may make its own from the same template at the same time.
    """
    names = session.column(_OURS)
    newest = next((name for name in names if name.startswith(TEMPLATE_PREFIX)), "")
    if not newest:
        with suppress(ServerError):  # a server that was started again has it, or needs none
            session.execute(CREATE_SPARE)
        return False
    if spare_of(newest) in names:
        return False
    threading.Thread(target=_clone, args=(session, newest), name="spare", daemon=True).start()
    return True


def _clone(session: Trusted, template: str) -> None:
    with suppress(*_FAULTS):  # the template may be gone, and the server may end
        session.patience(TIMEOUT)
        session.execute(f'CREATE DATABASE "{spare_of(template)}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        _warm(session, spare_of(template))
    with suppress(OSError):
        session.close()


def _warm(session: Trusted, spare: str) -> None:
    """Connect once to a spare that nobody has taken yet: the first connection to a database builds its caches."""
    time.sleep(UNWANTED_AFTER)
    if spare in session.column(_OURS):
        Trusted(session.path, session.user, spare, TIMEOUT).close()


def prepare_to_keep(endpoint: Endpoint) -> bool:
    """Rid the server of this run's password, and of spares, which the next start makes sooner than it unpacks them."""
    try:
        session = enter(endpoint, TIMEOUT)
        try:
            _drop(session, [SPARE, *(name for name in session.column(_OURS) if name.startswith(SPARE_PREFIX))])
            session.execute("ALTER ROLE CURRENT_USER PASSWORD NULL")
        finally:
            session.close()
    except _FAULTS:
        return False
    return True


def _drop(session: Trusted, names: Sequence[str]) -> None:
    for name in names:
        with suppress(ServerError):  # somebody has it in use: it does no harm
            session.execute(f'DROP DATABASE IF EXISTS "{name}"')
