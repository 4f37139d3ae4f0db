"""Structured logs: to the terminal, and to a rotating file as one JSON object per line.

Both are written by one thread behind a bounded queue, so that neither a slow disk nor a blocked pipe can stop the
event loop; what does not fit is counted. Messages are static text plus fields. No pixels, tokens or addresses.
"""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any

import structlog
from structlog.types import Processor

from api.errors import SettingsRefused
from api.settings.base import Settings

FILE_NAME = "deepguard.log"
FILE_BYTES = 10 * 2**20
FILES_KEPT = 5

_END_S = 5.0
_QUEUE_RECORDS = 4096
_QUIET = {
    "aioice": logging.WARNING,              # logs addresses of peers
    "aiortc": logging.WARNING,
    "uvicorn.error": logging.ERROR,         # logs addresses, and every request that is no HTTP
    "httpx": logging.WARNING,               # logs addresses with their query
    "httpcore": logging.WARNING,
    "python_multipart": logging.ERROR,      # a malformed form is the client's business
    "asyncio": logging.WARNING,
}


class _Queue(QueueHandler):
    """Hands records on as they are; drops and counts what does not fit."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(QueueListener):
    """The thread that writes. Stopping it waits for what is queued, but not for an output that takes nothing."""

    def __init__(self, records: queue.Queue[Any], *handlers: logging.Handler) -> None:
        super().__init__(records, *handlers, respect_handler_level=True)
        self._records = records

    def stop_within(self, timeout_s: float) -> bool:
        """Whether everything was written."""
        with suppress(queue.Full):
            self._records.put(None, timeout=timeout_s)      # the mark at which the thread ends
        writing = self._thread
        if writing is not None:
            writing.join(timeout_s)
        return writing is None or not writing.is_alive()


@contextmanager
def logging_to(settings: Settings) -> Iterator[None]:
    """Logs as the settings say until the end of the block. Raises SettingsRefused if the folder cannot be used."""
    level = logging.DEBUG if settings.debug else logging.getLevelNamesMapping()[settings.log_level]
    handlers: list[logging.Handler] = [_terminal()]
    if settings.log_dir:
        handlers.append(_file(Path(settings.log_dir)))
    records: queue.Queue[Any] = queue.Queue(_QUEUE_RECORDS)
    feed = _Queue(records)
    listener = _Writer(records, *handlers)
    root = logging.getLogger()
    before = root.level
    root.addHandler(feed)
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, quiet))
    _configure_structlog()
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(feed)
        root.setLevel(before)
        structlog.reset_defaults()
        if listener.stop_within(_END_S):
            for handler in handlers:
                handler.close()


def _configure_structlog() -> None:
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(*renderers: Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )


def _json() -> logging.Formatter:
    return _formatter(structlog.processors.format_exc_info, structlog.processors.JSONRenderer())


def _terminal() -> logging.Handler:
    """For people where there is a terminal, JSON where the output is collected."""
    handler = logging.StreamHandler(sys.stderr)
    for_people = _formatter(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    handler.setFormatter(for_people if sys.stderr.isatty() else _json())
    return handler


def _file(folder: Path) -> logging.Handler:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            folder / FILE_NAME, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        raise SettingsRefused(
            f"LOG_DIR: {folder} cannot be written ({error.strerror}); empty turns files off"
        ) from None
    handler.setFormatter(_json())
    return handler
