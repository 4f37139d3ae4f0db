"""STUN and TURN servers for publishers, as WHIP Link headers (RFC 9725 4.6). No I/O."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

_VALID_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class IceServers:
    """`stun` and `turn` are URIs. Without a `secret`, all publishers get `user` and `password`.

    With a `secret`, each publisher gets a TURN user of its own for twelve hours (coturn's `use-auth-secret`).
    """

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    def public_links(self) -> list[str]:
        """Returns Link values without TURN servers, which need credentials."""
        return [f'<{uri}>; rel="ice-server"' for uri in self.stun]

    def links(self, name: str, now_s: float) -> list[str]:
        """Returns one Link value per server. `name` becomes part of the TURN user; `now_s` is Unix time."""
        user, password = self.credentials(name, now_s)
        credentials = f'username="{_quoted(user)}"; credential="{_quoted(password)}"; credential-type="password"'
        return self.public_links() + [f'<{uri}>; rel="ice-server"; {credentials}' for uri in self.turn]

    def credentials(self, name: str, now_s: float) -> tuple[str, str]:
        """Returns user and password for TURN."""
        if not self.secret:
            return self.user, self.password
        user = f"{int(now_s) + _VALID_S}:{name}"
        digest = hmac.new(self.secret.encode(), user.encode(), hashlib.sha1).digest()
        return user, base64.b64encode(digest).decode()


def _quoted(text: str) -> str:
    """Escapes text for an HTTP quoted-string."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
