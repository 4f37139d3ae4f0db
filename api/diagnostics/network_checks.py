"""Network checks of `deepguard doctor`: STUN and TURN servers, and a test call to a running service."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

import aioice
import httpx
from aiortc.rtcicetransport import parse_stun_turn_uri

from api.clients.whip import PublishOptions, publish
from api.diagnostics.local_checks import Finding
from api.errors import PublishFailed
from api.ingest.whip.ice_servers import IceServers

SAMPLE = Path(__file__).resolve().parents[1] / "demo_media" / "sample_call.mp4"
CALL_S = 3.0
REQUEST_TIMEOUT_S = 5.0


async def check_ice_servers(servers: IceServers) -> list[Finding]:
    """Checks the configured STUN and TURN servers as a publisher would use them, with its credentials."""
    if not servers.stun and not servers.turn:
        return [Finding("ok", "turn", "no STUN or TURN server is set: publishers must reach this machine directly")]
    checks = [*(_check_stun(uri) for uri in servers.stun), *(_check_turn(uri, servers) for uri in servers.turn)]
    return list(await asyncio.gather(*checks))


async def check_service(url: str) -> list[Finding]:
    """Checks that the service at `url` is ready."""
    try:
        async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False) as client:
            answer = (await client.get(f"{url}/readyz")).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return [Finding("fail", "service", f"{url}: {error!r}", "start `deepguard serve`, or correct the URL")]
    if answer.get("reasons"):
        return [Finding("fail", "service", f"{url}: not ready: {', '.join(answer['reasons'])}", "read its log")]
    return [Finding("ok", "service", f"{url}: {answer['workers_ready']} workers, {answer['streams']} streams")]


async def check_call(url: str, key: str) -> Finding:
    """Publishes the sample call for 3 s like any WHIP client: HTTP, ICE, DTLS, media."""
    try:
        stats = await publish(f"{url}/whip/doctor-{secrets.token_hex(4)}", SAMPLE, PublishOptions(CALL_S, key or None))
    except PublishFailed as error:
        return Finding("fail", "call", str(error), _remedy_of(error))
    if stats.ended_by == "server":
        return Finding("fail", "call", f"ended by the service after {stats.frames} frames", "read the service's log")
    return Finding("ok", "call", f"connected after {stats.connected_s:.2f} s, {stats.frames} frames sent")


def _remedy_of(error: PublishFailed) -> str:
    status = error.refusal.status if error.refusal else 0
    if status == httpx.codes.UNAUTHORIZED:
        return "pass one of DEEPGUARD_API_KEYS with --key-stdin"
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return "the service is full; try again later"
    if status or "reached" in str(error):
        return "read the service's log"
    return "media is blocked: open DEEPGUARD_UDP_PORTS in the firewall; behind NAT, set DEEPGUARD_PUBLIC_ADDRESSES"


async def _check_stun(uri: str) -> Finding:
    parsed = parse_stun_turn_uri(uri)
    mapped = await _gathered("srflx", stun_server=(parsed["host"], parsed["port"]))
    if mapped is None:
        remedy = "start the server, open its UDP port, or correct DEEPGUARD_STUN"
        return Finding("fail", "stun", f"{uri}: no answer", remedy)
    return Finding("ok", "stun", f"{uri}: this machine appears as {mapped}")


async def _check_turn(uri: str, servers: IceServers) -> Finding:
    parsed = parse_stun_turn_uri(uri)
    user, password = servers.credentials("doctor", time.time())
    relay = await _gathered(
        "relay", turn_server=(parsed["host"], parsed["port"]), turn_username=user, turn_password=password,
        turn_ssl=parsed["scheme"] == "turns", turn_transport=parsed["transport"],
    )
    if relay is None:
        remedy = "start the server, open its port, or correct DEEPGUARD_TURN and its secret or user"
        return Finding("fail", "turn", f"{uri}: no relay address", remedy)
    return Finding("ok", "turn", f"{uri}: relays from {relay}")


async def _gathered(kind: str, **server: object) -> str | None:
    """Returns the address of the ICE candidate of this kind from a server, or None."""
    connection = aioice.Connection(ice_controlling=True, use_ipv6=False, **server)     # type: ignore[arg-type]
    try:
        async with asyncio.timeout(2 * REQUEST_TIMEOUT_S):
            await connection.gather_candidates()
        return next((found.host for found in connection.local_candidates if found.type == kind), None)
    except (OSError, TimeoutError):
        return None
    finally:
        await connection.close()
