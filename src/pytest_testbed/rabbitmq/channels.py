"""Waiting until a broker has done all that a client has said: a question of ours on each of its channels, unseen by the client.

A broker's channels work each for itself, and behind the connection that reads for them: what was published without
waiting for an answer may reach its queue after that was purged. `channel.flow` with its bit set changes nothing,
and its answer comes when all before it is done.

Source: the AMQP 0-9-1 specification; RabbitMQ's rabbit_channel answers it so in all versions that were tried (3.10 to 4.3).
"""

from __future__ import annotations

import struct
import threading

from .frames import OVERHEAD, Track

__all__ = ["Channels", "Questions"]

METHOD, HEADER, BODY = 1, 2, 3
OPEN, FLOW, FLOW_OK, CLOSE, CLOSE_OK, PUBLISH = (20, 10), (20, 20), (20, 21), (20, 40), (20, 41), (60, 40)
ANSWER = 13
"""Bytes of the answer's frame."""
TOLD = 11
"""Bytes of a frame that tell which method it is."""


class Channels:
    """Which channels a client has open, and on which it is in the midst of a message: read from what it says."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        """By channel: bytes of a message's body that are still to come; -1 where its header is."""

    def note(self, kind: int, channel: int, size: int, head: bytes) -> None:
        """Note what a frame says; see `Track`."""
        if kind == METHOD and channel and size >= 4:
            method = struct.unpack_from(">HH", head, 7)
            if method == OPEN:
                self._left[channel] = 0
            elif method in (CLOSE, CLOSE_OK):
                self._left.pop(channel, None)
            elif method == PUBLISH and channel in self._left:
                self._left[channel] = -1
        elif kind == HEADER and channel in self._left:
            self._left[channel] = int.from_bytes(head[11:19])
        elif kind == BODY and channel in self._left:
            self._left[channel] -= size

    @property
    def idle(self) -> list[int]:
        """Those on which nothing is half said."""
        return [channel for channel, left in self._left.items() if not left]


class Questions:
    """What is asked of the broker on channels of a client, and not yet answered.

    Args:
        heard: follows what the client is told.
    """

    def __init__(self, heard: Track) -> None:
        self._heard = heard
        self._open: set[int] = set()
        self._held = b""
        self._answered = threading.Event()

    def __bool__(self) -> bool:
        """Whether what the broker says has to be sifted."""
        return bool(self._open or self._held)

    def ask(self, channels: list[int]) -> bytes:
        """Return what asks on channels where nothing is asked yet; from now on answers are ours."""
        new = [channel for channel in channels if channel not in self._open]
        self._open.update(new)
        self._answered.clear()  # behind it: an answer to an earlier question is not the last one any more
        return b"".join(struct.pack(">BHIHHBB", METHOD, channel, 5, *FLOW, 1, 0xCE) for channel in new)

    def await_answers(self, seconds: float) -> bool:
        """Wait until all are answered; tell whether they are."""
        return not self._open or self._answered.wait(seconds)

    def sift(self, piece: bytes) -> bytes:
        """Return what the broker has said without answers that are ours; the beginning of one is held back."""
        data, passed, at = self._held + piece, [], 0
        while at < len(data):
            step = self._heard.missing
            if not step and not self._heard.is_lost:
                step = whole(data, at)
                if not step:
                    break
                if self._is_ours(data[at : at + step]):
                    at += step
                    continue
            part = data[at : at + (step or len(data))]
            self._heard.follow(part)
            passed.append(part)
            at += len(part)
        self._held = data[at:]
        return b"".join(passed)

    def _is_ours(self, frame: bytes) -> bool:
        """Tell whether a frame is an answer of ours; where the broker closes a channel, there will be none."""
        if frame[0] != METHOD or len(frame) < TOLD:
            return False
        _, channel, _, *method = struct.unpack_from(">BHIHH", frame)
        is_answer = tuple(method) == FLOW_OK and channel in self._open
        if is_answer or tuple(method) == CLOSE:
            self._done(channel)
        return is_answer

    def _done(self, channel: int) -> None:
        self._open.discard(channel)
        if not self._open:
            self._answered.set()


def whole(data: bytes, at: int) -> int:
    """Return the size of the frame that begins there; 0 where it may be an answer of ours of which more is to come."""
    there = len(data) - at
    size = int.from_bytes(data[at + 3 : at + 7]) + OVERHEAD
    return 0 if there < 7 or (data[at] == METHOD and there < size == ANSWER) else size
