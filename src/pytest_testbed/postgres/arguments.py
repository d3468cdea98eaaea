"""Arguments that users give to the server's programs: split as a shell does it, and which of them are not theirs to give."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import split

__all__ = ["check_arguments", "words"]

OURS = ("port", "listen_addresses", "unix_socket_directories", "data_directory", "external_pid_file")
"""Settings of a local server that the run chooses."""


def words(lines: Sequence[str]) -> list[str]:
    """Return arguments for a command line, quotes taken as a shell does.

    Raises:
        ValueError: a quote is not closed.
    """
    return split(" ".join(lines))


def check_arguments(lines: Sequence[str]) -> None:
    """Refuse arguments that say where the server listens, or where its data are.

    Raises:
        ValueError: one does, or a quote is not closed; the text is the end of a sentence.
    """
    for word in words(lines):
        name = word.removeprefix("-c").lstrip("-").partition("=")[0].strip().replace("-", "_").lower()
        if ("=" in word and name in OURS) or word[:2] in ("-p", "-h", "-k", "-D", "-i"):
            raise ValueError(f"holds {word!r}, which is for the run to choose")
