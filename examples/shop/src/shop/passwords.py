"""Passwords, stored as scrypt hashes."""

from __future__ import annotations

import hashlib
import secrets

COST = 2**13


def hash_password(password: str) -> str:
    """Return what is stored of a password: salt and hash."""
    salt = secrets.token_bytes(16)
    return f"{salt.hex()}${_scrypt(password, salt).hex()}"


def is_password(password: str, stored: str) -> bool:
    """Tell whether this is the password of which that was stored."""
    salt, dollar, digest = stored.partition("$")
    return bool(dollar) and secrets.compare_digest(_scrypt(password, bytes.fromhex(salt)).hex(), digest)


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=8, p=1)
