from __future__ import annotations

import base64
import hashlib
import hmac
import re

from api.ingest.whip.ice_servers import IceServers


def test_each_publisher_gets_a_temporary_turn_user() -> None:
    servers = IceServers(turn=("turn:turn.example",), secret="shared")
    (link,) = servers.links("call-1", 1000.0)
    found = re.fullmatch(
        r'<turn:turn.example>; rel="ice-server"; username="(.+)"; credential="(.+)"; credential-type="password"', link
    )
    assert found is not None
    assert found[1] == "44200:call-1"
    wanted = hmac.new(b"shared", b"44200:call-1", hashlib.sha1).digest()      # as coturn's use-auth-secret
    assert base64.b64decode(found[2]) == wanted
    assert servers.links("call-2", 1000.0) != servers.links("call-1", 1000.0)


def test_a_fixed_turn_user_is_sent_unchanged() -> None:
    (link,) = IceServers(turn=("turn:t",), user='a"b', password="c\\d").links("call", 0.0)
    assert 'username="a\\"b"; credential="c\\\\d"' in link


def test_password_and_secret_are_not_in_the_repr() -> None:
    assert "hidden" not in repr(IceServers(password="hidden", secret="hidden"))
