"""Everything that the environment can say. This is the only file that reads it.

`Settings` is frozen; `load_settings` turns a wrong value into one SettingsRefused that names the variable and what is
allowed. `python -m api.settings.base` prints the table that the README shows.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AliasChoices, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode, SettingsConfigDict

from api.errors import SettingsRefused
from api.settings.field import setting as _setting
from api.settings.field import split
from api.settings.incidents import IncidentSettings
from api.settings.pull import PullSettings
from api.settings.webrtc import RtcSettings
from consumers.kafka.config import SaslMechanism, Security

_MIN_KEY_LENGTH = 16
_SECRETS = frozenset({
    "api_keys", "kafka_password", "turn_secret", "turn_password", "livekit_api_secret", "webhook_secrets",
    "database_url",
})
_LISTS = ("cors_origins", "origins", "proxies", "api_keys", "kafka_bootstrap", "kafka_claim_urls")
_KAFKA_NAME = r"^[A-Za-z0-9._-]{1,249}$"
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def _topic(default: str, name: str, meaning: str) -> Any:
    return _setting(default, name, f"Kafka topic of {meaning}", "letters, digits or ._-", pattern=_KAFKA_NAME)


def _one_of(words: type[StrEnum]) -> str:
    return ", ".join(words)


class DetectionMode(StrEnum):
    """Where live calls are analyzed: in this process, or by Kafka consumers."""

    LOCAL = "local"
    KAFKA = "kafka"


class VerdictSource(StrEnum):
    """Whose verdicts clients read: those of this process, or those of every worker on Kafka."""

    LOCAL = "local"
    KAFKA = "kafka"


class Settings(IncidentSettings, PullSettings, RtcSettings):
    """The settings of one process. Field order is that of the table, where those of incidents and WebRTC come last."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=())

    port: int = _setting(5000, "PORT", "port to listen on", "0 to 65535; 0 picks a free one", ge=0, le=65535)
    host: str = _setting(
        "127.0.0.1", "HOST", "address to listen on; anything but loopback needs keys", "an IP address or localhost"
    )
    debug: bool = _setting(False, "DEBUG", "log everything (as LOG_LEVEL=DEBUG)", "true or false")
    log_level: str = _setting("INFO", "LOG_LEVEL", "least severe message that is logged", ", ".join(_LOG_LEVELS))
    log_dir: str = _setting("logs", "LOG_DIR", "folder of deepguard.log; empty: no log file", "a folder, or empty")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "CORS_ORIGINS", "origins whose pages may call the API", "http(s)://host[:port], comma separated"
    )
    video_frame_count: int = _setting(
        300, "VIDEO_FRAME_COUNT", "frames examined per uploaded video, at most (2 per second)", "1 to 600", ge=1, le=600
    )
    model_path: Path | None = _setting(
        None, "MODEL_PATH", "folder with the model's manifest.json; empty: the model that is shipped", "a folder"
    )
    max_file_size_bytes: int = _setting(
        50 * 2**20, "MAX_FILE_SIZE", "largest upload, in bytes", "1024 to 2147483648", ge=1024, le=2**31
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = _setting(
        (), "DEEPGUARD_API_KEYS", "keys that clients send as `Authorization: Bearer`",
        f"at least {_MIN_KEY_LENGTH} letters, digits or -._~+/= each, comma separated",
    )
    insecure: bool = _setting(
        False, "DEEPGUARD_INSECURE", "allow a HOST that is not loopback without keys", "true or false"
    )
    workers: int = _setting(
        0, "DEEPGUARD_WORKERS", "worker processes; 0: one per processor core", "0 to 256", ge=0, le=256
    )
    sample_rate_hz: float = _setting(
        2.0, "DEEPGUARD_SAMPLE_RATE", "frames examined per second of a stream", "0.1 to 30", ge=0.1, le=30
    )
    adaptive: bool = _setting(
        True, "DEEPGUARD_ADAPTIVE", "examine suspicious streams more often and clear ones less often", "true or false"
    )
    false_alarms_per_hour: float = _setting(
        0.01, "DEEPGUARD_FALSE_ALARMS_PER_HOUR", "false alarms that one stream may raise per hour, on average",
        "0.0001 to 60", ge=0.0001, le=60,
    )
    miss_rate: float = _setting(
        0.1, "DEEPGUARD_MISS_RATE", "share of fakes that may be cleared as real", "0.001 to 0.5", ge=0.001, le=0.5
    )
    window_s: float = _setting(
        4.0, "DEEPGUARD_WINDOW_S", "seconds of media that a verdict looks back on", "0.5 to 60", ge=0.5, le=60
    )
    hop_s: float = _setting(
        0.5, "DEEPGUARD_HOP_S", "seconds of media between two verdicts", "0.1 to DEEPGUARD_WINDOW_S", ge=0.1, le=60
    )
    max_streams: int = _setting(
        64, "DEEPGUARD_MAX_STREAMS", "streams at the same time, at most", "1 to 1000", ge=1, le=1000
    )
    max_uploads: int = _setting(
        8, "DEEPGUARD_MAX_UPLOADS", "uploads held on disk at the same time, at most", "1 to 256", ge=1, le=256
    )
    upload_rate_per_min: int = _setting(
        60, "DEEPGUARD_UPLOAD_RATE", "uploads per minute and key (or address)", "1 to 100000", ge=1, le=100_000
    )
    offer_rate_per_min: int = _setting(
        30, "DEEPGUARD_OFFER_RATE", "WebRTC offers per minute and key (or address)", "1 to 100000", ge=1, le=100_000
    )
    origins: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "DEEPGUARD_ORIGINS", "further origins whose pages may open the WebSocket",
        "http(s)://host[:port], comma separated",
    )
    proxies: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "DEEPGUARD_PROXIES", "reverse proxies whose X-Forwarded-For is believed",
        "IP addresses or networks, comma separated",
    )
    spool_dir: Path | None = _setting(
        None, "DEEPGUARD_SPOOL_DIR", "folder for uploads while they are judged; empty: the system's", "a folder"
    )

    kafka_bootstrap: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "KAFKA_BOOTSTRAP_SERVERS", "brokers of the Kafka cluster to start from", "host:port, comma separated"
    )
    detect: DetectionMode = _setting(
        DetectionMode.LOCAL, "DEEPGUARD_DETECT",
        "where live calls are examined: here, or by `deepguard consume` elsewhere",
        _one_of(DetectionMode),
    )
    verdicts: VerdictSource = _setting(
        VerdictSource.LOCAL, "DEEPGUARD_VERDICTS",
        "whose verdicts clients see: this process's, or those of all workers",
        _one_of(VerdictSource),
    )
    kafka_client_id: str = _setting(
        "deepguard", "DEEPGUARD_KAFKA_CLIENT_ID", "name of this client in the broker's logs and quotas",
        "letters, digits or ._-", pattern=_KAFKA_NAME,
    )
    kafka_security: Security = _setting(
        Security.PLAINTEXT, "DEEPGUARD_KAFKA_SECURITY", "what connections to Kafka are protected by", _one_of(Security)
    )
    kafka_ca_file: Path | None = _setting(
        None, "DEEPGUARD_KAFKA_CA_FILE", "PEM of who signs the brokers' certificates; empty: the system's", "a file"
    )
    kafka_cert_file: Path | None = _setting(
        None, "DEEPGUARD_KAFKA_CERT_FILE", "PEM of our certificate, where brokers ask for one", "a file"
    )
    kafka_key_file: Path | None = _setting(
        None, "DEEPGUARD_KAFKA_KEY_FILE", "PEM of its key; empty: it stands beside the certificate", "a file"
    )
    kafka_sasl_mechanism: SaslMechanism = _setting(
        SaslMechanism.SCRAM_SHA_512, "DEEPGUARD_KAFKA_SASL_MECHANISM", "how we log in to Kafka", _one_of(SaslMechanism)
    )
    kafka_username: str = _setting("", "DEEPGUARD_KAFKA_USERNAME", "user of that login", "a name")
    kafka_password: SecretStr = _setting(SecretStr(""), "DEEPGUARD_KAFKA_PASSWORD", "its password", "a password")
    kafka_group: str = _setting(
        "deepguard", "DEEPGUARD_KAFKA_GROUP", "consumer group that shares the media topic",
        "letters, digits or ._-", pattern=_KAFKA_NAME,
    )
    kafka_instance: str = _setting(
        "", "DEEPGUARD_KAFKA_INSTANCE",
        "name of this member of the group, the same after a restart (a pod's name); empty: a new one each time",
        "letters, digits or ._-", pattern=f"^$|{_KAFKA_NAME}",
    )
    kafka_session_timeout_s: float = _setting(
        30.0, "DEEPGUARD_KAFKA_SESSION_TIMEOUT_S",
        "silence after which a consumer's partitions go to others, in seconds; a restart within moves none", "1 to 300",
        ge=1, le=300,
    )
    health_port: int = _setting(
        0, "DEEPGUARD_HEALTH_PORT", "port on HOST at which `consume` answers /livez, /readyz, /metrics; 0: none",
        "0 to 65535", ge=0, le=65535,
    )
    kafka_idle_s: float = _setting(
        30.0, "DEEPGUARD_KAFKA_IDLE_S", "seconds without a record after which a stream counts as ended", "1 to 86400",
        ge=1, le=86400,
    )
    kafka_media_topic: str = _topic("media", "DEEPGUARD_KAFKA_MEDIA_TOPIC", "media that comes in")
    kafka_verdicts_topic: str = _topic("verdicts", "DEEPGUARD_KAFKA_VERDICTS_TOPIC", "verdicts that go out")
    kafka_state_topic: str = _topic(
        "stream-state", "DEEPGUARD_KAFKA_STATE_TOPIC", "the latest verdict per stream (compacted)"
    )
    kafka_dlq_topic: str = _topic("media.dlq", "DEEPGUARD_KAFKA_DLQ_TOPIC", "media that could not be judged")
    kafka_record_bytes: int = _setting(
        8 * 2**20, "DEEPGUARD_KAFKA_RECORD_BYTES", "largest Kafka record, in bytes", "65536 to 67108864",
        ge=65536, le=64 * 2**20,
    )

    kafka_claim_urls: Annotated[tuple[str, ...], NoDecode] = _setting(
        (), "DEEPGUARD_KAFKA_CLAIM_URLS", "what `ce_dataref` may begin with; empty: nothing is fetched",
        "http(s)://host[:port]/path, host may begin with *. , comma separated",
    )
    kafka_claim_private: bool = _setting(
        False, "DEEPGUARD_KAFKA_CLAIM_PRIVATE", "allow references to addresses that are not public", "true or false"
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v != "" or k in ("LOG_DIR", "log_dir")}

    @field_validator(*_LISTS, mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split(value)

    @field_validator("cors_origins", "origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, _, rest = origin.partition("://")
            if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
                raise ValueError(origin)
        return tuple(origin.lower() for origin in value)

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        allowed = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=")
        if any(len(k.get_secret_value()) < _MIN_KEY_LENGTH or set(k.get_secret_value()) - allowed for k in value):
            raise ValueError("a key")
        return value

    @field_validator("kafka_claim_urls")
    @classmethod
    def _are_prefixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            scheme, _, rest = url.partition("://")
            rest = rest.removeprefix("*.")
            if scheme not in ("http", "https") or not rest or "*" in rest:
                raise ValueError(url)
        return value

    @field_validator("kafka_bootstrap")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            host, _, port = address.rpartition(":")
            if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise ValueError(address)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _is_level(cls, value: Any) -> Any:
        if not isinstance(value, str) or value.upper() not in _LOG_LEVELS:
            raise ValueError(value)
        return value.upper()

    @field_validator("hop_s")
    @classmethod
    def _hop_fits(cls, value: float, info: Any) -> float:
        if value > info.data.get("window_s", 60):
            raise ValueError(value)
        return value

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if value != "localhost":
            ip_address(value)
        return value

    @property
    def is_local_only(self) -> bool:
        """Without keys, on loopback, and not open on purpose: only names of this machine are answered."""
        return self.is_loopback and not self.api_keys and not self.insecure

    @property
    def is_loopback(self) -> bool:
        """Nobody outside this machine can reach `host`."""
        return self.host == "localhost" or ip_address(self.host).is_loopback


def load_settings(**overrides: Any) -> Settings:
    """The environment, with `overrides` (field names; None is ignored) on top. Raises SettingsRefused."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsRefused("\n".join(_explain(error))) from None


def require_safe_exposure(settings: Settings) -> None:
    """Raises SettingsRefused if strangers could use the service without a key and nobody said so on purpose."""
    if settings.api_keys or settings.is_loopback or settings.insecure:
        return
    raise SettingsRefused(
        f"HOST={settings.host} can be reached from other machines, and no keys are set. Set DEEPGUARD_API_KEYS, "
        "or HOST=127.0.0.1, or DEEPGUARD_INSECURE=1 if everybody who can reach it may use it."
    )


def has_display() -> bool:
    """Whether somebody here could see a browser window."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a process of ours that is to run with these settings."""
    return {**os.environ, **changes}


def keras_backend(wanted: str | None = None) -> str:
    """What Keras will compute on: `wanted` from now on, else what KERAS_BACKEND says, else TensorFlow.

    Keras looks once, when it is first imported.
    """
    if wanted is not None:
        os.environ["KERAS_BACKEND"] = wanted
    return os.environ.setdefault("KERAS_BACKEND", "tensorflow")


class SettingRow(NamedTuple):
    """One line of the table of settings."""

    name: str
    default: str
    meaning: str
    allowed: str


def settings_table() -> tuple[SettingRow, ...]:
    """Every setting, in the order in which people look for them."""
    parts = {**IncidentSettings.model_fields, **RtcSettings.model_fields}
    own = [field for name, field in Settings.model_fields.items() if name not in parts]
    return tuple(_row(field) for field in (*own, *parts.values()))


def settings_markdown() -> str:
    """The table as the README has it."""
    lines = ["| variable | default | meaning | allowed |", "|---|---|---|---|"]
    for row in settings_table():
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {default} | {row.meaning} | {row.allowed} |")
    return "\n".join(lines)


def _row(field: FieldInfo) -> SettingRow:
    value = field.default
    if value is None or value == () or isinstance(value, SecretStr):
        default = ""
    elif isinstance(value, bool):
        default = str(value).lower()
    elif isinstance(value, tuple):
        default = ",".join(value)
    else:
        default = f"{value:g}" if isinstance(value, float) else str(value)
    return SettingRow(_name(field), default, field.description or "", _allowed(field))


def _name(field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else ""


def _allowed(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""


def _explain(error: ValidationError) -> list[str]:
    lines = []
    by_name = {_name(field): (key, field) for key, field in Settings.model_fields.items()}
    by_name |= {key: (key, field) for key, field in Settings.model_fields.items()}
    for item in error.errors():
        key, field = by_name[str(item["loc"][0])]
        shown = "" if key in _SECRETS else f", got {item['input']!r}"
        lines.append(f"{_name(field)}: expected {_allowed(field)}{shown}")
    return lines


if __name__ == "__main__":
    sys.stdout.write(settings_markdown() + "\n")
