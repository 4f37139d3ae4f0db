"""Log lines of worker processes: one JSON object per line with the keys of the service's own lines. No I/O.

No line holds the login or the query of a URL.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime

import msgspec

TERMINAL_FORMAT = "%(asctime)s worker %(process)d %(levelname)s %(message)s"

_LOGIN = re.compile(r"""(?<=://)[^\s/?#"'<>\\]*@""")
_QUERY = re.compile(r"""(://[^\s?#"'<>\\]*\?)[^\s"'<>\\)\]}]+""")

# Attributes that every record has; all others were passed as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def without_secrets(text: str) -> str:
    """Removes the logins and queries of all URLs, which exceptions of libraries quote."""
    return _QUERY.sub(r"\1...", _LOGIN.sub("", text)) if "://" in text else text


class TerminalLines(logging.Formatter):
    """Formats a record as text, without the logins and queries of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """Formats a record as JSON: event, level, logger, timestamp, worker (process id), the extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "worker": record.process,
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return without_secrets(msgspec.json.encode(fields, enc_hook=repr).decode())
