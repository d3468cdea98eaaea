"""`init`: ini lines for a project."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

__all__ = ["init"]


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
        text = answer(root)
    except RecursionError:
        print(f"init: a file below {directory} is nested too deeply to be read.", file=sys.stderr)
        return 2
    finally:
        gc.enable()
    print(printable(text, sys.stdout.encoding), end="")
    return 0
