"""Structured logging: to the terminal, and to a rotating file as one JSON object per line.

One thread writes both behind a bounded queue, so that a slow disk or a blocked pipe cannot stop the event loop. Records
that do not fit are counted. Messages are static text plus fields, without pixels, tokens or addresses. What libraries
print, warn of or fail with is a line like any other, without the logins and queries of URLs.
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
from api.settings.base import Settings, unknown_settings
from stream.log_format import without_secrets
from stream.process_log import log_uncaught

FILE_NAME = "deepguard.log"
FILE_BYTES = 10 * 2**20
FILES_KEPT = 5

_END_S = 5.0
_QUEUE_RECORDS = 4096
_QUIET = {
    "aioice": logging.WARNING,              # logs client addresses
    "aiortc": logging.WARNING,
    "uvicorn.error": logging.ERROR,         # logs client addresses and every malformed request
    "httpx": logging.WARNING,               # logs URLs with their query
    "httpcore": logging.WARNING,
    "python_multipart": logging.ERROR,      # malformed forms are client errors
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,             # lists its plugins at every start
}


class _DroppingQueue(QueueHandler):
    """Queues records unformatted; drops and counts those that do not fit."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(QueueListener):
    """The writer thread. Stopping it waits for queued records, but not for a blocked output."""

    def __init__(self, records: queue.Queue[Any], *handlers: logging.Handler) -> None:
        super().__init__(records, *handlers, respect_handler_level=True)
        self._records = records

    def stop_within(self, timeout_s: float) -> bool:
        """Stops the thread; returns whether all records were written."""
        with suppress(queue.Full):
            self._records.put(None, timeout=timeout_s)      # sentinel that ends the thread
        writing = self._thread
        if writing is not None:
            writing.join(timeout_s)
        return writing is None or not writing.is_alive()


@contextmanager
def logging_to(settings: Settings) -> Iterator[None]:
    """Configures logging for the block. Raises SettingsRefused if LOG_DIR is not writable."""
    level = logging.DEBUG if settings.debug else logging.getLevelNamesMapping()[settings.log_level]
    handlers: list[logging.Handler] = [_terminal()]
    if settings.log_dir:
        handlers.append(_file(Path(settings.log_dir)))
    records: queue.Queue[Any] = queue.Queue(_QUEUE_RECORDS)
    feed = _DroppingQueue(records)
    listener = _Writer(records, *handlers)
    root = logging.getLogger()
    before = root.level
    root.addHandler(feed)
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, quiet))
    _configure_structlog()
    undo = log_uncaught()
    listener.start()
    try:
        yield
    finally:
        undo()
        root.removeHandler(feed)
        root.setLevel(before)
        structlog.reset_defaults()
        if listener.stop_within(_END_S):
            for handler in handlers:
                handler.close()


def warn_of_unknown_settings() -> None:
    """Logs a warning for every DEEPGUARD_ variable that no setting has, such as a misspelt one."""
    for sentence in unknown_settings():
        structlog.get_logger(__name__).warning(sentence)


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
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers, _without_secrets],
    )


def _without_secrets(_: object, __: str, line: Any) -> Any:
    return without_secrets(line)


def _json() -> logging.Formatter:
    return _formatter(structlog.processors.format_exc_info, structlog.processors.JSONRenderer())


def _terminal() -> logging.Handler:
    """Human-readable on a terminal, JSON where stderr is redirected."""
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
            f"LOG_DIR: cannot write to {folder} ({error.strerror}); name a writable folder, or nothing for no file"
        ) from None
    handler.setFormatter(_json())
    return handler
