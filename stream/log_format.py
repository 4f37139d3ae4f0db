"""Log lines of worker processes: one JSON object per line with the keys of the service's own lines. No I/O."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

TERMINAL_FORMAT = "%(asctime)s worker %(process)d %(levelname)s %(message)s"

# Attributes that every record has; all others were passed as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


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
        return msgspec.json.encode(fields, enc_hook=repr).decode()
