"""The settings of a process. This is the only module that reads the environment.

`Settings` is frozen. `load_settings` reports each invalid value as one line of a SettingsRefused: the variable and its
allowed values. `docs/settings.md` is generated from these classes by `python -m api.settings.reference`.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.errors import SettingsRefused
from api.settings.detection import AlarmSettings, ModelSettings, StreamSettings, UploadSettings
from api.settings.field import allowed_of, shown, variable_of
from api.settings.incidents import IncidentSettings, WebhookSettings
from api.settings.kafka import KafkaSettings
from api.settings.logging import LoggingSettings
from api.settings.pull import PullSettings
from api.settings.server import AccessSettings, ServerSettings
from api.settings.webrtc import LiveKitSettings, RtcSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


_PREFIX = "DEEPGUARD_"
_FOR_TESTS = frozenset({"DEEPGUARD_SCREENSHOTS"})


class SettingGroup(NamedTuple):
    """One section of the settings reference."""

    title: str
    settings: type[BaseSettings]


GROUPS = (
    SettingGroup("Server", ServerSettings),
    SettingGroup("Access", AccessSettings),
    SettingGroup("Uploads", UploadSettings),
    SettingGroup("Model and workers", ModelSettings),
    SettingGroup("Streams", StreamSettings),
    SettingGroup("Alarms", AlarmSettings),
    SettingGroup("WebRTC", RtcSettings),
    SettingGroup("Pulled streams", PullSettings),
    SettingGroup("Kafka", KafkaSettings),
    SettingGroup("Incidents", IncidentSettings),
    SettingGroup("Webhooks", WebhookSettings),
    SettingGroup("LiveKit", LiveKitSettings),
    SettingGroup("Logging", LoggingSettings),
)


class Settings(
    ServerSettings, AccessSettings, UploadSettings, ModelSettings, StreamSettings, AlarmSettings, RtcSettings,
    PullSettings, KafkaSettings, IncidentSettings, WebhookSettings, LiveKitSettings, LoggingSettings,
):
    """The settings of one process."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v != "" or k in ("LOG_DIR", "log_dir")}

    @property
    def is_local_only(self) -> bool:
        """On loopback without API keys and not explicitly insecure: requests must name this machine as host."""
        return self.is_loopback and not self.api_keys and not self.insecure

    @property
    def is_loopback(self) -> bool:
        """Whether HOST is a loopback address, which other machines cannot reach."""
        return self.host == "localhost" or ip_address(self.host).is_loopback


def load_settings(**overrides: Any) -> Settings:
    """Reads the environment. `overrides` (by field name) take precedence; None is ignored. Raises SettingsRefused."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsRefused("\n".join(_explain(error))) from None


def all_fields() -> dict[str, FieldInfo]:
    """Returns every setting by field name, in the order of the groups."""
    return {name: field for group in GROUPS for name, field in group.settings.model_fields.items()}


def unknown_settings() -> list[str]:
    """Returns one sentence for every DEEPGUARD_ variable in the environment that no setting has."""
    known = {variable_of(field).removeprefix(_PREFIX) for field in all_fields().values()}
    sentences = []
    for name in sorted(os.environ):
        bare = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and bare not in known and name not in _FOR_TESTS:
            nearest = get_close_matches(bare, known, n=1, cutoff=0.7)
            others = "`deepguard serve --help` lists the settings"
            hint = f"; did you mean {_PREFIX}{nearest[0]}?" if nearest else f"; {others}"
            sentences.append(f"{name} is no setting and has no effect{hint}")
    return sentences


def require_safe_exposure(settings: Settings) -> None:
    """Raises SettingsRefused if other machines could use the service without a key, unless `insecure` is set."""
    if settings.api_keys or settings.is_loopback or settings.insecure:
        return
    raise SettingsRefused(
        f"HOST={settings.host} is reachable from other machines, but DEEPGUARD_API_KEYS is empty. "
        "Set DEEPGUARD_API_KEYS, or HOST=127.0.0.1, or DEEPGUARD_INSECURE=1 to allow every client."
    )


def has_display() -> bool:
    """Returns whether this process can open a browser window."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))


def child_environment(**changes: str) -> dict[str, str]:
    """Returns the environment for a child process, with changed settings."""
    return {**os.environ, **changes}


def keras_backend(wanted: str | None = None) -> str:
    """Returns the Keras backend, after setting it to `wanted` if given. The default is TensorFlow.

    Keras reads KERAS_BACKEND once, at its first import.
    """
    if wanted is not None:
        os.environ["KERAS_BACKEND"] = wanted
    return os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def _explain(error: ValidationError) -> list[str]:
    """Returns one line per invalid setting, in the order of the groups, without the values of secrets."""
    lines = {}
    fields = all_fields()
    order = list(fields)
    by_name = {variable_of(field): key for key, field in fields.items()} | {key: key for key in fields}
    for item in error.errors():
        key = by_name[str(item["loc"][0])]
        is_secret = "SecretStr" in str(fields[key].annotation)
        got = "" if is_secret else f", got {shown(item['input'])}"
        lines[key] = f"{variable_of(fields[key])}: expected {allowed_of(fields[key])}{got}"
    return [lines[key] for key in sorted(lines, key=order.index)]
