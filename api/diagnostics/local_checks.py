"""What would fail, as those who send calls would see it: settings, model, codecs, ports, addresses, broker.

Every check says what it found and, where something is wrong, what to do. Nothing is changed, and no secret is shown.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import closing
from ipaddress import ip_address
from typing import Literal, NamedTuple

import aioice.ice
import av

from api.errors import SettingsRefused
from api.settings.base import Settings, require_safe_exposure
from api.settings.factories import consume_config, kafka_config
from consumers.errors import BrokerRefused, BrokerUnreachable
from consumers.kafka.topics import look_at
from detector.config import default_weights_dir
from detector.errors import DetectorError
from detector.model_artifact import open_arrays, read_manifest

BROKER_S = 5.0
_CODECS = {"h264": "H.264", "vp8": "VP8"}

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` says what to do about it, and is empty where all is well."""

    level: Level
    what: str
    said: str
    remedy: str = ""


def check_exposure(settings: Settings) -> Finding:
    """Who may reach the service."""
    try:
        require_safe_exposure(settings)
    except SettingsRefused as refused:
        remedy = "set " + str(refused).rpartition(". Set ")[2]
        return Finding("fail", "exposure", f"HOST={settings.host} without keys", remedy)
    if settings.is_loopback:
        return Finding("ok", "exposure", f"HOST={settings.host}: this machine alone")
    return Finding("ok", "exposure", f"HOST={settings.host}, {len(settings.api_keys)} keys")


def check_model(settings: Settings) -> Finding:
    """Whether there is a model whose files are those of its manifest."""
    folder = settings.model_path or default_weights_dir()
    try:
        manifest = read_manifest(folder)
        open_arrays(folder, manifest)
    except (DetectorError, OSError) as error:
        remedy = "unset MODEL_PATH for the model that is shipped, or name a folder that `deepguard export` made"
        return Finding("fail", "model", f"{folder}: {error}", remedy)
    if manifest.calibration is None:
        said = f"{manifest.name} {manifest.version} is not calibrated: no verdict will have a label"
        return Finding("warn", "model", said, "run `deepguard calibrate` on it")
    return Finding("ok", "model", f"{manifest.name} {manifest.version}")


def check_codecs() -> Finding:
    """Whether PyAV can decode what publishers send."""
    missing = [name for codec, name in _CODECS.items() if codec not in av.codecs_available]
    if missing:
        return Finding("fail", "codecs", f"no decoder for {' and '.join(missing)}", "install PyAV from its wheel")
    return Finding("ok", "codecs", " and ".join(_CODECS.values()))


def check_addresses(settings: Settings) -> Finding:
    """What the answer to a publisher names as the way here."""
    if settings.is_loopback:
        return Finding("ok", "addresses", "publishers on this machine alone, as HOST is loopback")
    named = settings.public_addresses or tuple(aioice.ice.get_host_addresses(True, True))
    shown = ", ".join(named) or "none"
    if not any(ip_address(address).is_global for address in named):
        remedy = "set DEEPGUARD_PUBLIC_ADDRESSES if publishers come from outside of this network"
        return Finding("warn", "addresses", f"publishers are told {shown}: not of the public internet", remedy)
    return Finding("ok", "addresses", f"publishers are told {shown}")


def check_ports(settings: Settings) -> Finding:
    """Whether the UDP ports that are allowed are free, and enough."""
    if settings.udp_ports is None:
        said = "UDP: any port"
        if settings.is_loopback:
            return Finding("ok", "ports", said)
        return Finding("warn", "ports", said, "set DEEPGUARD_UDP_PORTS if a firewall has to let media through")
    low, high = settings.udp_ports
    free = sum(_is_free(port) for port in range(low, high + 1))
    if free < settings.max_streams:
        remedy = "widen DEEPGUARD_UDP_PORTS, or end what has them; a running service has one per address and call"
        level: Level = "warn" if free else "fail"
        said = f"UDP {low}-{high}: {free} free, for {settings.max_streams} streams"
        return Finding(level, "ports", said, remedy)
    return Finding("ok", "ports", f"UDP {low}-{high}: {free} free")


async def check_brokers(settings: Settings) -> Finding:
    """Whether the Kafka cluster lets us in, tells its metadata, and has our topics."""
    if not settings.kafka_bootstrap:
        return Finding("ok", "broker", "none is set")
    shown = f"{', '.join(settings.kafka_bootstrap)} ({settings.kafka_security})"
    if not any(await asyncio.gather(*(_listens(address) for address in settings.kafka_bootstrap))):
        remedy = "start the broker, or mend KAFKA_BOOTSTRAP_SERVERS"
        return Finding("fail", "broker", f"{shown}: nothing listens", remedy)
    try:
        found = await look_at(kafka_config(settings), consume_config(settings).topics, BROKER_S)
    except (SettingsRefused, BrokerUnreachable, BrokerRefused) as error:
        return _no_cluster(shown, error)
    if found.missing:
        said = f"{shown}: {found.brokers} brokers, without the topics {', '.join(found.missing)}"
        return Finding("warn", "broker", said, "make them with `deepguard topics`")
    return Finding("ok", "broker", f"{shown}: {found.brokers} brokers, all topics")


def worst_of(findings: Iterable[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"


def _no_cluster(shown: str, error: Exception) -> Finding:
    """Something listens, and yet this came of it."""
    if isinstance(error, SettingsRefused):
        return Finding("fail", "broker", f"{shown}: {error}", "mend the settings of Kafka")
    if isinstance(error, BrokerRefused):
        remedy = "mend the login or the certificates, or give this user rights"
        return Finding("fail", "broker", f"{shown}: {error}", remedy)
    said = f"{shown}: something listens, but does not talk to us as a Kafka broker"
    remedy = "mend DEEPGUARD_KAFKA_SECURITY, login, certificates; see that the advertised listeners can be reached"
    return Finding("fail", "broker", said, remedy)


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(BROKER_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
