"""`init`: ini lines for a project."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["init"]

PATIENCE = 1.0
"""Seconds without a word that nobody minds."""


def init(directory: str) -> int:
    """Print what is suggested for the project in a directory; return 2 where there is no such directory."""
    root = Path(directory)
    try:
        if not root.is_dir():
            why = "is a file; name the project's folder" if root.exists() else "is not there"
            print(f"init: {directory} {why}.", file=sys.stderr)
            return 2
        next(root.iterdir(), None)
    except OSError as error:
        print(f"init: {directory} cannot be read: {error.strerror}.", file=sys.stderr)
        return 2
    from .looking.answer import answer  # nothing else on the command line needs it
    from .shown import printable

    gc.disable()  # trees of syntax are many objects that all stay: to look for garbage among them takes most of the time
    try:
        with _going_on(sys.stderr):
            text = answer(root)
    except RecursionError:
        print(f"init: a file below {directory} is nested too deeply to be read.", file=sys.stderr)
        return 2
    finally:
        gc.enable()
    print(printable(text, sys.stdout.encoding), end="")
    return 0


@contextmanager
def _going_on(stream: TextIO) -> Iterator[None]:
    """Tell who sits at a terminal that long work goes on, in a line that is gone when it has ended."""
    if not stream.isatty():
        yield
        return
    ended = threading.Event()

    def tell() -> None:
        seconds, line = 0.0, ""
        while not ended.wait(PATIENCE):
            seconds += PATIENCE
            line = f"init: reading the project … {seconds:.0f} s"
            stream.write(f"\r{line}")
            stream.flush()
        stream.write("\r" + " " * len(line) + "\r" if line else "")
        stream.flush()

    teller = threading.Thread(target=tell)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
