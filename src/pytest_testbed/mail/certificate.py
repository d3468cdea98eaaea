"""A certificate for a server on this machine, signed by itself; made by the program openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

from ..errors import ConfigurationError

__all__ = ["Certificate"]

DAYS = 2
MAKE = (
    *("req", "-x509", "-nodes", "-days", str(DAYS), "-subj", "/CN=localhost"),
    *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),  # clients that are strict want it
)


class Certificate:
    """A certificate of this process, made when first asked for."""

    def __init__(self) -> None:
        self._directory: str | None = None

    @cached_property
    def path(self) -> Path:
        """The file of it, in PEM.

        Raises:
            ConfigurationError: there is no program to make it, or it failed.
        """
        program = shutil.which("openssl")
        if program is None:
            raise ConfigurationError("STARTTLS needs a certificate, and the program openssl, which makes it, is not on PATH.")
        self._directory = tempfile.mkdtemp(prefix="testbed-mail-")
        certificate = Path(self._directory, "certificate.pem")
        command: list[str | Path] = [program, *MAKE, "-out", certificate, "-keyout", self._key]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigurationError(f"openssl could not make a certificate for STARTTLS:\n{done.stderr.strip()}")
        return certificate

    @property
    def _key(self) -> Path:
        assert self._directory is not None
        return Path(self._directory, "key.pem")

    @cached_property
    def context(self) -> ssl.SSLContext:
        """What a server does TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self._key)
        return context

    def remove(self) -> None:
        """Remove its files."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
