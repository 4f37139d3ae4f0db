from __future__ import annotations

import httpx
import pytest
from starlette.datastructures import Headers

from api.errors import OriginRefused
from api.http.middleware import require_local_host, require_origin
from tests.api.rig import Rig, running_rig


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5000", "LOCALHOST.", "127.0.0.1:5000", "[::1]:5000", "[::1]", "app.localhost:80"]
)
def test_names_of_this_machine(host: str) -> None:
    require_local_host(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "example.org", "localhost.example.org", "192.0.2.1:5000", "127.0.0.1.example.org", "::ff:1", "[", "a:b"],
)
def test_other_names_are_refused(host: str | None) -> None:
    with pytest.raises(OriginRefused):
        require_local_host(host)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (None, "localhost:5000", "http"),
        ("http://localhost:5000", "localhost:5000", "http"),
        ("HTTP://LOCALHOST:5000", "localhost:5000", "ws"),
        ("http://example.org", "example.org:80", "http"),
        ("https://example.org", "example.org", "http"),       # behind a proxy that ends TLS
        ("https://example.org:443", "example.org", "wss"),
        ("https://page.example", "example.org", "https"),     # on the list
    ],
)
def test_own_and_listed_origins_may_call(origin: str | None, host: str, scheme: str) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    require_origin(Headers(headers), scheme, frozenset({"https://page.example"}))


@pytest.mark.parametrize(
    "origin", ["http://localhost:5001", "http://evil.example", "null", "", "file://", "https://localhost:5000.evil.example",
               "ftp://localhost:5000"]
)
def test_foreign_origins_are_refused(origin: str) -> None:
    with pytest.raises(OriginRefused):
        require_origin(Headers({"host": "localhost:5000", "origin": origin}), "http", frozenset())


def test_a_foreign_page_cannot_post_or_delete(client: httpx.Client) -> None:
    for method, path in (("POST", "/predict"), ("POST", "/whip/x"), ("DELETE", "/v1/streams/x")):
        answer = client.request(method, path, headers={"Origin": "http://evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")


def test_our_own_page_can(client: httpx.Client, rig: Rig) -> None:
    assert client.delete("/v1/streams/x", headers={"Origin": rig.url}).status_code == 404


def test_a_name_that_points_here_is_not_answered(client: httpx.Client) -> None:
    for path in ("/", "/v1/streams", "/health"):
        answer = client.get(path, headers={"Host": "rebound.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_refused")


def test_open_on_purpose_answers_to_any_name() -> None:
    with running_rig(insecure=True) as rig, rig.client() as client:
        assert client.get("/health", headers={"Host": "deepguard.example"}).status_code == 200


def test_no_cors_headers_without_origins(client: httpx.Client) -> None:
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": "http://a.example"}).headers


def test_a_listed_origin_gets_cors_headers_on_answers_and_errors() -> None:
    origin = {"Origin": "http://page.example:3000"}
    with running_rig(cors_origins="http://page.example:3000") as rig, rig.client() as client:
        for answer in (client.get("/health", headers=origin), client.post("/predict", headers=origin)):
            assert answer.headers["access-control-allow-origin"] == "http://page.example:3000"
        preflight = client.options(
            "/predict", headers={**origin, "Access-Control-Request-Method": "POST",
                                 "Access-Control-Request-Headers": "authorization"},
        )
        assert preflight.status_code == 200
        foreign = client.get("/health", headers={"Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize("path", ["/v1/streams/x", "/whip/x", "/nothing"])
def test_bodies_are_bounded_everywhere(client: httpx.Client, path: str) -> None:
    def chunks() -> object:
        for _ in range(40):
            yield b"x" * 64 * 1024

    for content in (b"x" * 200_000, chunks()):
        answer = client.post(path, content=content, headers={"Content-Type": "application/sdp"})     # type: ignore[arg-type]
        assert answer.status_code in (404, 405, 413)
        assert set(answer.json()) == {"error"}


def test_the_page_is_served_with_its_policy(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["permissions-policy"].startswith("camera=(self)")


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/js/../../../cli.py"])
def test_static_files_end_at_their_folder(rig: Rig, path: str) -> None:
    with rig.client() as client:
        url = httpx.URL(rig.url).copy_with(raw_path=path.encode())
        assert client.get(url).status_code == 404
