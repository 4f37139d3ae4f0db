from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from starlette.requests import HTTPConnection

from api.http.auth import KeyRing, address_of, bearer_of, bearer_of_subprotocols
from tests.api.conftest import KEY, OTHER_KEY

if TYPE_CHECKING:
    from tests.api.rig import Rig

PUBLIC = ["/health", "/livez", "/readyz", "/metrics", "/v1/limits", "/", "/docs", "/openapi.json", "/static/icon.svg"]
PRIVATE = [
    ("POST", "/predict"), ("POST", "/gradcam"), ("GET", "/v1/streams"), ("POST", "/v1/streams"),
    ("GET", "/v1/streams/x"),
    ("GET", "/v1/streams/x/timeline"), ("GET", "/v1/streams/x/evidence"), ("GET", "/v1/spectrum"),
    ("GET", "/v1/streams/x/evidence/1/2.jpg"), ("DELETE", "/v1/streams/x"), ("GET", "/v1/streams/x/frame.jpg"),
    ("GET", "/v1/jobs/x"), ("DELETE", "/v1/jobs/x"),
    ("GET", "/v1/policy"), ("GET", "/v1/events"), ("POST", "/whip/x"), ("GET", "/whip/x"), ("DELETE", "/whip/x/y"),
    ("PATCH", "/whip/x/y"), ("GET", "/whip/x/y"), ("POST", "/v1/calls/c/participants/p/whip"),
    ("GET", "/v1/incidents"), ("GET", "/v1/incidents/i"), ("DELETE", "/v1/incidents/i"),
    ("POST", "/v1/incidents/i/review"), ("GET", "/v1/incidents/i/evidence/f"), ("GET", "/v1/incidents/i/export"),
    ("GET", "/v1/participants/p/export"), ("DELETE", "/v1/participants/p"), ("GET", "/v1/calls/c/export"),
    ("DELETE", "/v1/calls/c"),
    ("GET", "/v1/webhooks/dead"), ("POST", "/v1/webhooks/dead/7/retry"), ("DELETE", "/v1/webhooks/dead/7"),
]


def test_a_key_ring_knows_its_keys_and_no_others() -> None:
    ring = KeyRing([KEY, OTHER_KEY])
    assert ring.required
    assert ring.identify(KEY) != ring.identify(OTHER_KEY)
    assert ring.identify(KEY[:-1]) is None
    assert ring.identify(KEY + "x") is None
    assert ring.identify("\udcff") is None
    assert not KeyRing([]).required


def test_a_key_ring_stores_digests_only() -> None:
    ring = KeyRing([KEY])
    assert KEY not in repr(vars(ring))
    assert KEY not in str(ring.identify(KEY))


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer", None), ("", None), (None, None)],
)
def test_bearer_header(header: str | None, token: str | None) -> None:
    assert bearer_of(header) == token


def test_bearer_subprotocol_round_trip() -> None:
    encoded = base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")
    assert bearer_of_subprotocols(["deepguard.v1", f"bearer.{encoded}"]) == KEY


@pytest.mark.parametrize("names", [[], ["deepguard.v1"], ["bearer.???"], ["bearer.a"], ["bearer._w"]])
def test_a_bad_bearer_subprotocol_is_no_token(names: list[str]) -> None:
    assert bearer_of_subprotocols(names) is None


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("unix", 0), "unix"),
        (None, ""),
    ],
)
def test_address(client: tuple[str, int] | None, address: str) -> None:
    assert address_of(HTTPConnection({"type": "http", "client": client, "headers": []})) == address


@pytest.mark.parametrize("path", PUBLIC)
def test_public_routes_need_no_key(keyed_rig: Rig, path: str) -> None:
    with keyed_rig.client() as client:
        assert client.get(path).status_code in (200, 503)


@pytest.mark.parametrize(("method", "path"), PRIVATE)
@pytest.mark.parametrize("key", ["", "wrong-key-of-good-length"])
def test_private_routes_need_a_key(keyed_rig: Rig, method: str, path: str, key: str) -> None:
    with keyed_rig.client(key) as client:
        answer = client.request(method, path)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_each_key_opens_the_door(keyed_rig: Rig, key: str) -> None:
    with keyed_rig.client(key) as client:
        assert client.get("/v1/streams").status_code == 200


def test_every_route_is_listed_as_public_or_protected(keyed_rig: Rig) -> None:
    with keyed_rig.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    listed = set(PUBLIC) | {path for _, path in PRIVATE}
    names = {"{stream_id}": "x", "{job_id}": "x", "{session_id}": "y", "{call_id}": "c", "{participant_id}": "p"}
    names |= {"{incident_id}": "i", "{name}": "f", "{letter_id}": "7", "{epoch}": "1", "{sequence}": "2"}
    concrete = set(paths)
    for name, value in names.items():
        concrete = {path.replace(name, value) for path in concrete}
    assert concrete <= listed


def test_with_keys_any_host_name_is_answered(keyed_rig: Rig) -> None:
    with keyed_rig.client(KEY) as client:
        assert client.get("/v1/streams", headers={"Host": "deepguard.example"}).status_code == 200
