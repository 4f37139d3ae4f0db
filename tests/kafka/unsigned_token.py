"""Unsigned tokens, which Kafka accepts where no key is configured; functions that a token provider setting can name."""

from __future__ import annotations

import base64
import json
import time

from tests.kafka.node import USER

LIFETIME_S = 300


def unsigned_token(lifetime_s: float = LIFETIME_S) -> str:
    """Returns a JSON Web Token without a signature that expires after `lifetime_s` seconds."""
    now_s = time.time()
    return ".".join((_part({"alg": "none"}), _part({"sub": USER, "iat": now_s - 1, "exp": now_s + lifetime_s}), ""))


def valid_token() -> tuple[str, float]:
    """Returns a token and its expiry in milliseconds, as signers for cloud services do."""
    return unsigned_token(), (time.time() + LIFETIME_S) * 1000


async def expired_token() -> str:
    return unsigned_token(-60)


def failing() -> str:
    raise RuntimeError("the password of the vault")


def _part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
