"""Local checks of `deepguard doctor`: exposure, model, codecs, addresses, ports, Kafka.

Each check reports what it found and a remedy for a problem. Checks change nothing and show no secrets.
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
from consumers.kafka.topics import inspect_cluster
from detector.config import default_weights_dir
from detector.errors import DetectorError
from detector.model_artifact import open_arrays, read_manifest
from stream.codecs import TITLES, VIDEO_CODECS

BROKER_S = 5.0

Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """The result of one check. `remedy` says how to fix a problem and is empty if there is none."""

    level: Level
    what: str
    said: str
    remedy: str = ""


def check_exposure(settings: Settings) -> Finding:
    """Checks who can reach the service."""
    try:
        require_safe_exposure(settings)
    except SettingsRefused as refused:
        remedy = "set " + str(refused).rpartition(". Set ")[2]
        return Finding("fail", "exposure", f"HOST={settings.host} without API keys", remedy)
    if settings.is_loopback:
        return Finding("ok", "exposure", f"HOST={settings.host}: reachable from this machine only")
    return Finding("ok", "exposure", f"HOST={settings.host}, {len(settings.api_keys)} API keys")


def check_model(settings: Settings) -> Finding:
    """Checks that the model's files match its manifest."""
    folder = settings.model_path or default_weights_dir()
    try:
        manifest = read_manifest(folder)
        open_arrays(folder, manifest)
    except (DetectorError, OSError) as error:
        remedy = "unset MODEL_PATH to use the shipped model, or name a folder written by `deepguard export`"
        return Finding("fail", "model", f"{folder}: {error}", remedy)
    if manifest.calibration is None:
        said = f"{manifest.name} {manifest.version} is not calibrated; all verdicts will be UNCERTAIN"
        return Finding("warn", "model", said, "run `deepguard calibrate` on the training run")
    return Finding("ok", "model", f"{manifest.name} {manifest.version}")


def check_codecs() -> Finding:
    """Checks that PyAV has decoders for the codecs of publishers."""
    missing = [row.title for row in VIDEO_CODECS if row.decoder not in av.codecs_available]
    if missing:
        return Finding("fail", "codecs", f"no decoder for {' and '.join(missing)}", "install the wheel of PyAV")
    return Finding("ok", "codecs", TITLES)


def check_addresses(settings: Settings) -> Finding:
    """Checks the addresses that WebRTC answers announce to publishers."""
    if settings.is_loopback:
        return Finding("ok", "addresses", "HOST is loopback: only publishers on this machine can connect")
    named = settings.public_addresses or tuple(aioice.ice.get_host_addresses(True, True))
    shown = ", ".join(named) or "none"
    if not any(ip_address(address).is_global for address in named):
        remedy = "set DEEPGUARD_PUBLIC_ADDRESSES if publishers connect from outside this network"
        return Finding("warn", "addresses", f"publishers get {shown}: no public address", remedy)
    return Finding("ok", "addresses", f"publishers get {shown}")


def check_ports(settings: Settings) -> Finding:
    """Checks that enough of the allowed UDP ports are free."""
    if settings.udp_ports is None:
        said = "UDP: any port"
        if settings.is_loopback:
            return Finding("ok", "ports", said)
        return Finding("warn", "ports", said, "set DEEPGUARD_UDP_PORTS if a firewall must allow the media")
    low, high = settings.udp_ports
    free = sum(_is_free(port) for port in range(low, high + 1))
    if free < settings.max_streams:
        remedy = "widen DEEPGUARD_UDP_PORTS or free its ports; a running service uses one per address and call"
        level: Level = "warn" if free else "fail"
        said = f"UDP {low}-{high}: {free} free, for {settings.max_streams} streams"
        return Finding(level, "ports", said, remedy)
    return Finding("ok", "ports", f"UDP {low}-{high}: {free} free")


async def check_brokers(settings: Settings) -> Finding:
    """Checks login, metadata and topics of the Kafka cluster."""
    if not settings.kafka_bootstrap:
        return Finding("ok", "broker", "KAFKA_BOOTSTRAP_SERVERS is empty: Kafka is not used")
    shown = f"{', '.join(settings.kafka_bootstrap)} ({settings.kafka_security})"
    if not any(await asyncio.gather(*(_listens(address) for address in settings.kafka_bootstrap))):
        remedy = "start the broker, or correct KAFKA_BOOTSTRAP_SERVERS"
        return Finding("fail", "broker", f"{shown}: connection refused or timed out", remedy)
    try:
        found = await inspect_cluster(kafka_config(settings), consume_config(settings).topics, BROKER_S)
    except (SettingsRefused, BrokerUnreachable, BrokerRefused) as error:
        return _no_cluster(shown, error)
    if found.missing:
        said = f"{shown}: {found.brokers} brokers; missing topics: {', '.join(found.missing)}"
        return Finding("warn", "broker", said, "create them with `deepguard topics`")
    return Finding("ok", "broker", f"{shown}: {found.brokers} brokers, all topics exist")


def worst_of(findings: Iterable[Finding]) -> Level:
    """Returns the most severe level of some findings."""
    levels = {finding.level for finding in findings}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"


def _no_cluster(shown: str, error: Exception) -> Finding:
    """Explains a Kafka error after a successful TCP connection."""
    if isinstance(error, SettingsRefused):
        return Finding("fail", "broker", f"{shown}: {error}", "correct the Kafka settings; see docs/settings.md")
    if isinstance(error, BrokerRefused):
        remedy = "correct the login or the certificates, or grant this user access"
        return Finding("fail", "broker", f"{shown}: {error}", remedy)
    said = f"{shown}: a server listens, but does not answer as a Kafka broker"
    remedy = "check DEEPGUARD_KAFKA_SECURITY, login and certificates, and that advertised.listeners are reachable"
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
