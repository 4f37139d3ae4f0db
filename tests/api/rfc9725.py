"""What RFC 9725 demands of a WHIP endpoint, a row each, with the check that proves it.

    python -m tests.api.rfc9725         prints the table of docs/contracts/whip.md
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import httpx

from api.ingest.whip.config import WhipConfig
from api.ingest.whip.ice_servers import IceServers
from tests.api.offers import BROWSER, BROWSER_VIDEO_ONLY, MALFORMED, PASSWORD, UFRAG, UNACCEPTABLE
from tests.api.publisher import publishing
from tests.api.whip_rig import Rig, until, whip_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEY = "a-publishers-key-0123456789"
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
CANDIDATE = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host"
TRICKLE = f"a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\nm=video 9 RTP/AVP 0\r\na=mid:1\r\n{CANDIDATE}\r\n"
RESTART = "a=ice-ufrag:Anew\r\na=ice-pwd:AnewAnewAnewAnewAnew00\r\n"


class Client(NamedTuple):
    """A client of one running endpoint."""

    http: httpx.AsyncClient
    rig: Rig

    async def offer(self, sdp: str = BROWSER, **headers: str) -> httpx.Response:
        return await self.http.post("/whip/call", content=sdp, headers=SDP | headers)

    async def session(self) -> httpx.Response:
        """A session that lives, as its 201."""
        answer = await self.offer()
        assert answer.status_code == 201, answer.text
        return answer

    async def patch(self, session: httpx.Response, body: str = TRICKLE, **headers: str) -> httpx.Response:
        """With the ETag of the session, unless headers (with _ for -) say otherwise; an empty one is left out."""
        given = {"If-Match": session.headers["etag"], **FRAGMENT} | {n.replace("_", "-"): v for n, v in headers.items()}
        kept = {name: value for name, value in given.items() if value}
        return await self.http.patch(session.headers["location"], content=body, headers=kept)


@asynccontextmanager
async def client_of(config: WhipConfig | None = None, keys: tuple[str, ...] = ()) -> AsyncIterator[Client]:
    async with (
        whip_rig(config, keys=keys) as rig,
        httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=20) as http,
    ):
        yield Client(http, rig)


async def created() -> None:
    async with client_of() as client:
        answer = await client.offer()
        assert answer.status_code == 201
        assert answer.headers["content-type"].startswith("application/sdp")
        assert answer.text.startswith("v=0\r\n")
        assert answer.headers["location"].startswith("/whip/call/")


async def wrong_type_of_offer() -> None:
    async with client_of() as client:
        for wrong in ("text/plain", "application/json", "application/trickle-ice-sdpfrag"):
            refused = await client.http.post("/whip/call", content=BROWSER, headers={"Content-Type": wrong})
            assert refused.status_code == 415


async def malformed_offer() -> None:
    async with client_of() as client:
        for text in MALFORMED.values():
            assert (await client.offer(text)).status_code == 400


async def answer_receives() -> None:
    async with client_of() as client:
        for direction in ("sendonly", "sendrecv"):
            answer = await client.offer(BROWSER.replace("a=sendonly", f"a={direction}"))
            assert answer.text.count("a=recvonly") == 2
            await client.http.delete(answer.headers["location"])


async def not_sending() -> None:
    async with client_of() as client:
        for direction in ("recvonly", "inactive"):
            refused = await client.offer(BROWSER_VIDEO_ONLY.replace("a=sendonly", f"a={direction}"))
            assert refused.status_code == 422


async def get_is_kept_free() -> None:
    async with client_of() as client:
        session = await client.session()
        for path in ("/whip/call", session.headers["location"]):
            for method in ("GET", "HEAD"):
                answer = await client.http.request(method, path)
                assert (answer.status_code, answer.content) == (204, b"")


async def options() -> None:
    async with client_of() as client:
        for path in ("/whip/call", "/whip/call/session", "/v1/calls/a/participants/b/whip"):
            answer = await client.http.options(path)
            assert answer.is_success
            assert answer.headers["accept-post"] == "application/sdp"
            assert {"Location", "ETag", "Link"} <= set(answer.headers["access-control-expose-headers"].split(", "))


async def delete_frees() -> None:
    async with client_of() as client, publishing(f"{client.rig.url}/whip/call") as call:
        await client.rig.service.first()
        assert (await call.delete()).status_code == 200
        assert client.rig.sessions.status == (0, 0)
        await until(lambda: call.connection.connectionState == "closed")
        assert (await call.delete()).status_code == 404


async def consent() -> None:
    """A publisher that vanishes is detected by the media timeout, and by ICE consent checks."""
    async with client_of(WhipConfig(silence_s=1.0)) as client, publishing(f"{client.rig.url}/whip/call") as call:
        session = await client.rig.service.first()
        call.lose = lambda _: True
        await until(lambda: session.ended is not None)


async def consent_is_revoked() -> None:
    async with client_of() as client, publishing(f"{client.rig.url}/whip/call") as call:
        session = await client.rig.service.first()
        source = client.rig.session("call")
        assert (await call.delete()).status_code == 200
        ice = source._connection.getTransceivers()[0].receiver.transport.transport
        assert ice.state == "closed"                            # no socket is left that could answer a check
        assert all(protocol.transport.is_closing() for protocol in ice._connection._protocols)
        assert session.ended is not None


async def wrong_type_of_fragment() -> None:
    async with client_of() as client:
        session = await client.session()
        for wrong in ("application/sdp", "text/plain"):
            assert (await client.patch(session, Content_Type=wrong)).status_code == 415


async def malformed_fragment() -> None:
    async with client_of() as client:
        session = await client.session()
        for body in ("", "hello", "v=0\r\n", "a=candidate:nonsense\r\n", "a=mid:7\r\n", "a=ice-ufrag:a b\r\n", "\x00"):
            assert (await client.patch(session, body)).status_code == 400


async def restart_is_422() -> None:
    async with client_of() as client:
        session = await client.session()
        for if_match in ("*", session.headers["etag"]):
            refused = await client.patch(session, RESTART, If_Match=if_match)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "ice_restart_unsupported")


async def strong_etag() -> None:
    async with client_of() as client:
        first = await client.session()
        await client.http.delete(first.headers["location"])
        second = await client.session()
        tags = {first.headers["etag"], second.headers["etag"]}
        assert len(tags) == 2
        assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


async def delete_ignores_etags() -> None:
    async with client_of() as client:
        session = await client.session()
        ended = await client.http.delete(session.headers["location"], headers={"If-Match": '"another"'})
        assert ended.status_code == 200


async def all_candidates() -> None:
    async with client_of() as client:
        lines = (await client.session()).text.splitlines()
        assert any(line.startswith("a=candidate:") for line in lines)
        assert "a=end-of-candidates" in lines


async def stale_etag() -> None:
    async with client_of() as client:
        session = await client.session()
        for stale in ('"another"', "W/" + session.headers["etag"], session.headers["etag"].strip('"')):
            assert (await client.patch(session, If_Match=stale)).status_code == 412


async def missing_etag() -> None:
    async with client_of() as client:
        assert (await client.patch(await client.session(), If_Match="")).status_code == 428


async def trickled() -> None:
    async with client_of() as client:
        session = await client.session()
        for if_match in (session.headers["etag"], f'"x", {session.headers["etag"]}', "*"):
            answer = await client.patch(session, If_Match=if_match)
            assert (answer.status_code, answer.content) == (204, b"")
            assert "etag" not in answer.headers


async def odd_candidates() -> None:
    async with client_of(WhipConfig(remote_candidates=True)) as client:
        session = await client.session()
        for odd in (
            "a=candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
            "a=candidate:1 1 udp 1518280447 4f1c3b2a-93c7-4a0b-9bb7-0c5a5a4a1d11.local 9 typ host",
            "a=candidate:1 1 udp 1518280447 host.invalid 9 typ host",
            "a=candidate:1 1 udp 1518280447 224.0.0.1 9 typ host",
        ):
            assert (await client.patch(session, f"{odd}\r\n{CANDIDATE}\r\n")).status_code == 204


async def failed_restart_keeps_the_session() -> None:
    async with client_of() as client, publishing(f"{client.rig.url}/whip/call") as call:
        session = await client.rig.service.first()
        etag = client.rig.session("call").etag
        headers = {"If-Match": "*", **FRAGMENT}
        assert (await client.http.patch(call.session, content=RESTART, headers=headers)).status_code == 422
        known = len(session.units)
        await until(lambda: len(session.units) > known + 10)
        assert client.rig.session("call").etag == etag


async def bundle() -> None:
    async with client_of() as client:
        lines = (await client.session()).text.splitlines()
        assert "a=group:BUNDLE 0 1" in lines
        assert lines.count("a=rtcp-mux") == lines.count("a=rtcp-mux-only") == 2
        assert (await client.offer(BROWSER.replace("a=rtcp-mux\r\n", ""))).status_code == 422


async def one_track_of_a_kind() -> None:
    async with client_of() as client:
        for name in ("two cameras", "two microphones", "50 cameras"):
            assert (await client.offer(UNACCEPTABLE[name])).status_code == 422


async def all_or_nothing() -> None:
    async with client_of() as client:
        for name, text in UNACCEPTABLE.items():
            assert (await client.offer(text)).status_code == 422, name
        assert client.rig.sessions.status == (0, 0)


async def dtls_roles() -> None:
    async with client_of() as client:
        for offered, answered in (("actpass", "active"), ("active", "passive"), ("passive", "active")):
            answer = await client.offer(BROWSER.replace("a=setup:actpass", f"a=setup:{offered}"))
            assert answer.text.count(f"a=setup:{answered}") == 2
            await client.http.delete(answer.headers["location"])


async def redirects() -> None:
    async with client_of(WhipConfig(max_sessions=0, overflow_url="https://other.example")) as client:
        sent_on = await client.http.post("/whip/call?call_id=a", content=BROWSER, headers=SDP)
        assert sent_on.status_code == 307
        assert sent_on.headers["location"] == "https://other.example/whip/call?call_id=a&overflow=1"
        again = await client.http.post("/whip/call?overflow=1", content=BROWSER, headers=SDP)
        assert again.status_code == 503                         # no ping-pong between two that are full


async def overload() -> None:
    async with client_of(WhipConfig(max_sessions=0)) as client:
        refused = await client.offer()
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1


SERVERS = IceServers(("stun:stun.example:3478",), ("turn:turn.example?transport=udp", "turns:turn.example"), secret="s")


async def ice_servers_are_linked() -> None:
    async with client_of(WhipConfig(ice_servers=SERVERS)) as client:
        links = (await client.session()).headers.get_list("link")
        assert links[0] == '<stun:stun.example:3478>; rel="ice-server"'
        assert [link.partition(">")[0][1:] for link in links[1:]] == list(SERVERS.turn)
        for link in links[1:]:
            assert 'rel="ice-server"; username="' in link
            assert link.endswith('credential-type="password"')


async def preflight_tells_no_credentials() -> None:
    async with client_of(WhipConfig(ice_servers=SERVERS), keys=(KEY,)) as client:
        answer = await client.http.options("/whip/call")
        assert answer.headers.get_list("link") == ['<stun:stun.example:3478>; rel="ice-server"']


async def bearer() -> None:
    async with client_of(keys=(KEY,)) as client:
        refused = await client.offer()
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await client.http.options("/whip/call")).status_code == 204
        taken = await client.offer(Authorization=f"Bearer {KEY}")
        assert taken.status_code == 201
        assert (await client.http.delete(taken.headers["location"])).status_code == 401


async def no_simulcast() -> None:
    layers = "a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n"
    async with client_of() as client:
        answer = await client.offer(BROWSER_VIDEO_ONLY + layers)
        assert answer.status_code == 201
        assert "a=simulcast" not in answer.text
        assert "a=rid" not in answer.text


async def no_extensions() -> None:
    async with client_of() as client:
        assert "link" not in (await client.session()).headers


class Row(NamedTuple):
    """One demand, in our words, and the check that proves that it is met."""

    section: str
    demand: str
    here: str
    check: Callable[[], Awaitable[None]]


TABLE = (
    Row("4.2", "An offer gets 201, `application/sdp`, the answer and a `Location`", "absolute path", created),
    Row("4.2", "Another content type is refused with a 4xx", "415", wrong_type_of_offer),
    Row("4.2", "An offer that is not SDP is refused with a 4xx", "400", malformed_offer),
    Row("4.2", "`sendonly` and `sendrecv` are answered with `recvonly`", "both", answer_receives),
    Row("4.2", "`recvonly` and `inactive` must not be offered", "422", not_sending),
    Row("4.2", "GET and HEAD succeed without content; reserved for later versions", "204", get_is_kept_free),
    Row("4.2", "OPTIONS works for CORS, with `Accept-Post`", "204", options),
    Row("4.2", "DELETE removes the session and frees ICE and DTLS", "200, then 404", delete_frees),
    Row("4.2", "A silent disconnection is detected (RFC 7675)", "no media for 10 s", consent),
    Row("4.2", "Ending a session revokes consent at once (RFC 7675 5.2)", "sockets closed", consent_is_revoked),
    Row("4.3.1", "A PATCH of another content type is refused with a 4xx", "415", wrong_type_of_fragment),
    Row("4.3.1", "A malformed fragment is refused with a 4xx", "400", malformed_fragment),
    Row("4.3.1", "With only trickle or only restart supported, the other gets 422", "trickle alone", restart_is_422),
    Row("4.3.1", "The 201 carries a strong `ETag` of the ICE session, a new one each", "always", strong_etag),
    Row("4.3.1", "Entity tags on DELETE are ignored", "200", delete_ignores_etags),
    Row("4.3.2", "The answer has all candidates of the server", "with `end-of-candidates`", all_candidates),
    Row("4.3.2", "A PATCH whose `If-Match` names another ICE session is refused", "412", stale_etag),
    Row("4.3.2", "A PATCH without `If-Match` is refused", "428", missing_etag),
    Row("4.3.2", "New candidates are answered with 204, no body and no `ETag`", "204", trickled),
    Row("4.3.2", "Candidates that cannot be used are ignored", "TCP, names, multicast", odd_candidates),
    Row("4.3.3", "A restart that fails does not end the session", "media goes on", failed_restart_keeps_the_session),
    Row("4.4.1", "One BUNDLE group, RTP and RTCP on one port, `rtcp-mux-only`", "else 422", bundle),
    Row("4.4.2", "More than one track of a kind is refused with a 4xx", "422", one_track_of_a_kind),
    Row("4.4.3", "An answer never accepts only a part of an offer", "422 for the whole", all_or_nothing),
    Row("4.4.4", "`actpass` and `active` are answered with the matching role", "and `passive`", dtls_roles),
    Row("4.5", "POST is redirected with 307 only", "`DEEPGUARD_OVERFLOW_URL`", redirects),
    Row("4.5", "Overload is 503 with `Retry-After`", "503", overload),
    Row("4.6", "STUN and TURN servers are sent as `Link` with `rel=\"ice-server\"`", "several", ice_servers_are_linked),
    Row("4.6", "OPTIONS reveals no TURN credentials", "STUN alone", preflight_tells_no_credentials),
    Row("4.7", "Bearer tokens on every request but OPTIONS", "401 without", bearer),
    Row("4.8", "A simulcast offer gets an answer by RFC 8853", "none accepted: one layer is sent", no_simulcast),
    Row("4.9", "Extensions are announced by `Link`, and never required", "none", no_extensions),
)


def markdown() -> str:
    lines = ["| RFC 9725 | demand | here | proved by (`tests/api/rfc9725.py`) |", "|---|---|---|---|"]
    lines += [f"| {row.section} | {row.demand} | {row.here} | `{row.check.__name__}` |" for row in TABLE]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
