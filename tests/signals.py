"""Signals as a terminal's user has them, for whatever is started from here."""

from __future__ import annotations

import signal

__all__ = ["heed_signals"]


def heed_signals() -> None:
    """Undo what a shell does to what it starts in the background, which all that is started from there inherits.

    Ctrl-C is ignored there, and with `nohup` the end of the terminal.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # not for us, but what we start must see its terminal close
