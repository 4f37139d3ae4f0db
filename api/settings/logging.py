"""Settings of logs. Part of `api.settings.base`."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator
from pydantic_settings import BaseSettings

from api.settings.field import BOOLEAN, setting

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class LoggingSettings(BaseSettings):
    """What is logged, and where."""

    log_level: str = setting("INFO", "LOG_LEVEL", "Least severe message that is logged", ", ".join(_LEVELS))
    log_dir: str = setting("logs", "LOG_DIR", "Folder of deepguard.log; empty: no log file", "a folder, or empty")
    debug: bool = setting(False, "DEBUG", "Same as LOG_LEVEL=DEBUG", BOOLEAN)

    @field_validator("log_level", mode="before")
    @classmethod
    def _is_level(cls, value: Any) -> Any:
        if not isinstance(value, str) or value.upper() not in _LEVELS:
            raise ValueError(value)
        return value.upper()
