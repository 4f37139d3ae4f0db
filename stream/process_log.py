"""Log of a process: warnings and uncaught exceptions are log lines too. Also the log of child processes on stderr."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

from stream.log_format import TERMINAL_FORMAT, JsonLines, TerminalLines

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

log = logging.getLogger(__name__)


def log_to_stderr() -> None:
    """Logs warnings of a child process as the service does: text on a terminal, JSON elsewhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalLines(TERMINAL_FORMAT) if sys.stderr.isatty() else JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log_uncaught()


def log_uncaught() -> Callable[[], None]:
    """Logs what Python would print to stderr by itself. Returns a function that undoes this."""
    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _of_process, _of_thread, _of_finalizer

    def undo() -> None:
        logging.captureWarnings(False)
        sys.excepthook, threading.excepthook, sys.unraisablehook = before

    return undo


def _of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        log.critical("process ends by an exception", exc_info=(kind, error, trace))


def _of_thread(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None and crash.exc_type is not SystemExit:
        name = crash.thread.name if crash.thread is not None else ""
        log.error("thread ends by an exception", exc_info=crash.exc_value, extra={"crashed_thread": name})


def _of_finalizer(crash: sys.UnraisableHookArgs) -> None:
    if crash.exc_value is not None:
        log.error("exception in a finalizer or callback", exc_info=crash.exc_value)
