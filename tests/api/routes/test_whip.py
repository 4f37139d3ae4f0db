"""WHIP over HTTP: status codes, headers, limits, keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from api.ingest.whip.config import WhipConfig
from tests.api.guards import loop_never_blocked, nothing_left
from tests.api.offers import BROWSER, MALFORMED, UNACCEPTABLE, damaged_offers
from tests.api.rfc9725 import FRAGMENT, SDP, TRICKLE
from tests.api.whip_rig import Rig, whip_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = ("first-key-0123456789", "second-key-0123456789")


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with whip_rig() as running:
        yield running


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as session:
        yield session


async def test_an_offer_is_answered_with_201(client: httpx.AsyncClient, rig: Rig) -> None:
    answer = await client.post("/whip/call-1", content=BROWSER, headers=SDP)
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("application/sdp")
    assert answer.text.startswith("v=0\r\n")
    location = answer.headers["location"]
    assert location.startswith("/whip/call-1/")
    assert len(location.rpartition("/")[2]) >= 22
    assert "Location" in answer.headers["access-control-expose-headers"]
    assert rig.sessions.status == (1, 1)
    assert (await client.delete(location)).status_code == 200
    assert rig.sessions.status == (0, 0)
    assert (await client.delete(location)).status_code == 404


async def test_the_content_type_may_have_parameters(client: httpx.AsyncClient) -> None:
    answer = await client.post("/whip/a", content=BROWSER, headers={"Content-Type": "Application/SDP; charset=utf-8"})
    assert answer.status_code == 201


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json", "application/sdpx", "multipart/mixed"])
async def test_a_wrong_content_type_is_415(client: httpx.AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await client.post("/whip/a", content=BROWSER, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "wrong_content_type")


async def test_every_bad_offer_is_4xx_and_leaves_nothing(client: httpx.AsyncClient, rig: Rig) -> None:
    await client.post("/whip/warm", content="", headers=SDP)
    async with nothing_left(), loop_never_blocked():
        for expected, offers in ((400, MALFORMED), (422, UNACCEPTABLE)):
            for name, text in offers.items():
                answer = await client.post("/whip/bad", content=text.encode(), headers=SDP)
                assert (name, answer.status_code) == (name, expected)
                assert answer.json()["error"]["message"]
    assert rig.sessions.status == (0, 0)


async def test_no_damaged_offer_breaks_anything(client: httpx.AsyncClient, rig: Rig) -> None:
    offers = damaged_offers()
    assert len(offers) >= 190
    warm = await client.post("/whip/warm", content=BROWSER, headers=SDP)
    await client.delete(warm.headers["location"])
    at_once = asyncio.Semaphore(8)

    async def taken(number: int, name: str, text: str) -> bool:
        async with at_once, httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as sender:
            answer = await sender.post(f"/whip/damaged-{number}", content=text.encode(), headers=SDP)
            assert answer.status_code in (201, 400, 422), (name, answer.text)
            if answer.status_code == 201:
                assert (await sender.delete(answer.headers["location"])).status_code == 200
            return answer.status_code == 201

    async with nothing_left():
        found = await asyncio.gather(*(taken(number, *offer) for number, offer in enumerate(offers.items())))
    assert 0 < sum(found) < len(offers)
    assert rig.sessions.status == (0, 0)


async def test_an_ended_session_is_404(client: httpx.AsyncClient) -> None:
    session = await client.post("/whip/a", content=BROWSER, headers=SDP)
    location, headers = session.headers["location"], {"If-Match": session.headers["etag"], **FRAGMENT}
    assert (await client.delete(location)).status_code == 200
    for answer in (
        await client.patch(location, content=TRICKLE, headers=headers), await client.delete(location),
        await client.get(location),
    ):
        assert answer.status_code == 404
    again = await client.post("/whip/a", content=BROWSER, headers=SDP)      # replayed: a new session
    assert again.headers["location"] != location
    assert (await client.patch(location, content=TRICKLE, headers=headers)).status_code == 404


@pytest.mark.parametrize("body", [b"\xff\xfe", BROWSER.encode() + b"\xc3", BROWSER.encode("utf-16")])
async def test_an_offer_that_is_not_utf8_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/whip/a", content=body, headers=SDP)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "sdp_malformed")


async def test_a_giant_offer_is_413(client: httpx.AsyncClient) -> None:
    giant = BROWSER + "a=x:" + "y" * 2**20
    answer = await client.post("/whip/a", content=giant, headers=SDP)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "offer_too_large")

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a=x\r\n" * 1000

    answer = await client.post("/whip/a", content=parts(), headers=SDP)
    assert answer.status_code == 413


@pytest.mark.parametrize("stream", ["a" * 129, "a b", "a%2Fb", "ä", ".", "..", "%2e%2e", "a$"])
async def test_a_stream_id_of_other_characters_is_refused(client: httpx.AsyncClient, stream: str, rig: Rig) -> None:
    answer = await client.post(f"/whip/{stream}", content=BROWSER, headers=SDP)
    assert answer.status_code in (404, 405, 422)
    assert rig.sessions.status == (0, 0)


@pytest.mark.parametrize("stream", ["a", "a" * 128, "A-Z.a~z_0"])
async def test_a_stream_id_may_be(client: httpx.AsyncClient, stream: str) -> None:
    assert (await client.post(f"/whip/{stream}", content=BROWSER, headers=SDP)).status_code == 201


@pytest.mark.parametrize("query", ["call_id=a%20b", "participant_id=" + "x" * 129, "call_id=%3Cscript%3E"])
async def test_labels_of_other_characters_are_422(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.post(f"/whip/a?{query}", content=BROWSER, headers=SDP)).status_code == 422


async def test_a_second_publisher_of_a_stream_is_409(client: httpx.AsyncClient) -> None:
    first = await client.post("/whip/a", content=BROWSER, headers=SDP)
    second = await client.post("/whip/a", content=BROWSER, headers=SDP)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "stream_exists")
    await client.delete(first.headers["location"])
    assert (await client.post("/whip/a", content=BROWSER, headers=SDP)).status_code == 201


async def test_one_of_concurrent_offers_for_a_stream_succeeds(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/whip/a", content=BROWSER, headers=SDP) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_no_room_is_503_with_retry_after(client: httpx.AsyncClient, rig: Rig) -> None:
    rig.service.max_streams = 0
    answer = await client.post("/whip/a", content=BROWSER, headers=SDP)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    rig.service.draining = True
    answer = await client.post("/whip/a", content=BROWSER, headers=SDP)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert "retry-after" in answer.headers


async def test_sessions_are_capped() -> None:
    async with whip_rig(WhipConfig(max_sessions=1)) as rig, httpx.AsyncClient(base_url=rig.url) as client:
        await client.post("/whip/a", content=BROWSER, headers=SDP)
        answer = await client.post("/whip/b", content=BROWSER, headers=SDP)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "sessions_full")
        assert "retry-after" in answer.headers


async def test_options_list_the_accepted_content_types(client: httpx.AsyncClient) -> None:
    for path in ("/whip/a", "/whip/a/session"):
        answer = await client.options(path)
        assert answer.status_code == 204
        assert answer.headers["accept-post"] == "application/sdp"


async def test_unknown_sessions_are_404(client: httpx.AsyncClient) -> None:
    for path in ("/whip/a/b", "/whip/a/" + "x" * 128):
        answer = await client.delete(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session_unknown")


async def test_other_methods_are_405(client: httpx.AsyncClient) -> None:
    for method, path in (("PUT", "/whip/a"), ("PATCH", "/whip/a"), ("PUT", "/whip/a/b"), ("POST", "/whip/a/b")):
        assert (await client.request(method, path)).status_code == 405


async def test_keys_are_needed_where_there_are_keys() -> None:
    first, second = ({"Authorization": f"Bearer {key}"} for key in KEYS)
    async with whip_rig(keys=KEYS) as rig, httpx.AsyncClient(base_url=rig.url, trust_env=False) as client:
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEYS[0]}"}):
            refused = await client.post("/whip/a", content="v=0 never parsed", headers=SDP | wrong)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        taken = await client.post("/whip/a", content=BROWSER, headers=SDP | first)
        location = taken.headers["location"]
        assert (await client.delete(location)).status_code == 401
        assert (await client.delete(location, headers=second)).status_code == 404
        assert (await client.options("/whip/a")).status_code == 204
        assert (await client.delete(location, headers=first)).status_code == 200


async def test_offers_are_rate_limited() -> None:
    async with whip_rig(offers_per_min=3) as rig, httpx.AsyncClient(base_url=rig.url, trust_env=False) as client:
        statuses = [(await client.post("/whip/a", content="x", headers=SDP)).status_code for _ in range(5)]
        assert statuses == [400, 400, 400, 429, 429]
        refused = await client.post("/whip/a", content=BROWSER, headers=SDP)
        assert int(refused.headers["retry-after"]) >= 1


async def test_requests_to_sessions_are_limited_ten_times_as_generously() -> None:
    async with whip_rig(offers_per_min=1) as rig, httpx.AsyncClient(base_url=rig.url, trust_env=False) as client:
        statuses = [(await client.delete("/whip/a/nobody")).status_code for _ in range(11)]
        assert statuses == [404] * 10 + [429]
        refused = await client.patch("/whip/a/nobody", content=TRICKLE, headers=FRAGMENT)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.options("/whip/a/nobody")).status_code == 204


async def test_an_upload_that_breaks_off_leaves_nothing(rig: Rig) -> None:
    host, port = rig.url.removeprefix("http://").split(":")
    async with nothing_left():
        for _ in range(5):
            _, writer = await asyncio.open_connection(host, int(port))
            head = b"POST /whip/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 999\r\n\r\n"
            writer.write(head + b"v=0")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    assert rig.sessions.status == (0, 0)


async def test_only_this_machine_can_mark_a_sample(client: httpx.AsyncClient, rig: Rig) -> None:
    from fastapi import Request

    from api.routes.whip import _is_sample

    def request(host: str, value: str) -> Request:
        headers = [(b"deepguard-sample", value.encode())]
        return Request({"type": "http", "client": (host, 1), "headers": headers})

    assert [_is_sample(request(host, "1")) for host in ("127.0.0.1", "::1", "127.9.9.9")] == [True] * 3
    assert [_is_sample(request(host, "1")) for host in ("192.0.2.7", "2001:db8::1", "testclient", "")] == [False] * 4
    assert not _is_sample(request("127.0.0.1", "0"))
