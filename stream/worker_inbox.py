"""Worker inbox: a thread that reads the pool's messages for the main thread and answers pings."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from stream.errors import ChannelBroken
from stream.worker_messages import Ping, Pong

if TYPE_CHECKING:
    from stream.worker_channel import WorkerChannel
    from stream.worker_messages import ToWorker

MAX_MESSAGES = 20_000       # credits keep the queue far shorter; more means that the pool miscounts

_log = logging.getLogger(__name__)


class WorkerInbox:
    """Queue filled by its own thread and emptied by the main thread. The process ends when the connection does."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._channel = channel
        self._messages: deque[tuple[ToWorker, float]] = deque()
        self._ready = threading.Condition()
        self._round_began_s: float | None = None
        self._thread = threading.Thread(target=self._read_to_end, name="inbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self, timeout_s: float) -> list[tuple[ToWorker, float]]:
        """Returns all waiting messages with their monotonic arrival times; waits up to `timeout_s` for the first.

        The time until the next call counts as one round of the caller's loop.
        """
        with self._ready:
            self._round_began_s = None
            if not self._messages and timeout_s > 0:
                self._ready.wait(timeout_s)
            taken = list(self._messages)
            self._messages.clear()
            self._round_began_s = time.monotonic()
        return taken

    def _read_to_end(self) -> None:
        status = 0
        try:
            self._read()
        except (OSError, ChannelBroken):
            _log.exception("connection to the pool broke")
            status = 1
        finally:
            os._exit(status)

    def _read(self) -> None:
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Ping):
                self._channel.send(Pong(nonce=message.nonce, busy_s=self._busy_s()))
            else:
                self._put(message)

    def _put(self, message: ToWorker) -> None:
        with self._ready:
            if len(self._messages) >= MAX_MESSAGES:
                raise ChannelBroken(f"{MAX_MESSAGES} messages are waiting, which is the limit")
            self._messages.append((message, time.monotonic()))
            self._ready.notify()

    def _busy_s(self) -> float:
        began_s = self._round_began_s
        return 0.0 if began_s is None else time.monotonic() - began_s
