"""Passwords, stored as scrypt hashes: `scrypt$n$r$p$salt$hash`."""

from __future__ import annotations

import hashlib
import secrets

# what OWASP's "Password Storage Cheat Sheet" asks for; stored with each hash, so a later change leaves old ones valid
N, R, P = 2**14, 8, 5
NOBODYS = f"scrypt${N}${R}${P}$00$"


def hash_password(password: str, n: int = N, r: int = R, p: int = P) -> str:
    """Return what is stored of a password. Smaller numbers are for tests, which have nothing to protect."""
    salt = secrets.token_bytes(16)
    return f"scrypt${n}${r}${p}${salt.hex()}${_scrypt(password, salt, n, r, p).hex()}"


def is_password(password: str, stored: str) -> bool:
    """Tell whether this is the password of which that was stored; "" is of none, and takes as long as another."""
    _, n, r, p, salt, digest = (stored or NOBODYS).split("$")
    return secrets.compare_digest(_scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p)).hex(), digest)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p)
