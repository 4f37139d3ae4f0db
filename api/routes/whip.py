"""WHIP (RFC 9725): publishers come in by HTTP. `Peers` does the rest; docs/contracts/whip.md says what is held."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from api.errors import Busy, OfferRefused
from api.http.auth import Caller
from api.ingest.whip.offer import MAX_OFFER_BYTES
from api.ingest.whip.session import Offer
from api.ingest.whip.sessions import SessionName
from api.ingest.whip.trickle import MAX_FRAGMENT_BYTES
from api.routes.context import context_of
from api.routes.dependencies import limit, require_key
from stream.errors import ServiceDraining, ServiceFull

router = APIRouter(tags=["whip"])

LABEL_HEADERS = ("DeepGuard-Call-Id", "DeepGuard-Participant-Id")

_SDP = "application/sdp"
_FRAGMENT = "application/trickle-ice-sdpfrag"
ID_PATTERN = r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}$"     # never "." or "..", which clients take out of URLs
_PART_OF_ID = r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,62}$"
LABEL_PATTERN = r"^[A-Za-z0-9._~@:-]{0,128}$"
_EXPOSED = {"Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch, Accept-Post"}
_REDIRECTED = "overflow"

StreamId = Annotated[str, Path(pattern=ID_PATTERN)]
SessionId = Annotated[str, Path(pattern=ID_PATTERN)]
Name = Annotated[str, Path(pattern=_PART_OF_ID)]
Publisher = Annotated[Caller, Depends(limit("offer"))]
Participant = Annotated[Caller, Depends(limit("session request"))]
ALabel = Annotated[str, Query(pattern=LABEL_PATTERN)]


class CallLabels(NamedTuple):
    """Who is seen, as far as the request says so."""

    call_id: str
    participant_id: str


async def labels(
    call_id: ALabel = "", participant_id: ALabel = "",
    deepguard_call_id: Annotated[str, Header(pattern=LABEL_PATTERN)] = "",
    deepguard_participant_id: Annotated[str, Header(pattern=LABEL_PATTERN)] = "",
) -> CallLabels:
    """By query or, for clients that can only set headers, by header; the query counts where there are both."""
    return CallLabels(call_id or deepguard_call_id, participant_id or deepguard_participant_id)


def _takes(content_type: str) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {content_type: {"schema": {"type": "string"}}}}}


@router.post(
    "/whip/{stream_id}", status_code=201, response_class=Response, openapi_extra=_takes(_SDP),
    responses={201: {"content": {_SDP: {"schema": {"type": "string"}}}}},
)
async def publish(
    request: Request, stream_id: StreamId, caller: Publisher, named: Annotated[CallLabels, Depends(labels)]
) -> Response:
    """Start a call: an SDP offer with one video in, the answer out. `Location` is where to DELETE it."""
    return await _publish(request, stream_id, caller, named)


@router.post(
    "/v1/calls/{call_id}/participants/{participant_id}/whip", status_code=201, response_class=Response,
    openapi_extra=_takes(_SDP), responses={201: {"content": {_SDP: {"schema": {"type": "string"}}}}},
)
async def publish_participant(request: Request, call_id: Name, participant_id: Name, caller: Publisher) -> Response:
    """The same for clients that can be given nothing but an address: the stream is `<call_id>.<participant_id>`."""
    return await _publish(request, f"{call_id}.{participant_id}", caller, CallLabels(call_id, participant_id))


@router.patch("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response,
              openapi_extra=_takes(_FRAGMENT))
async def trickle(request: Request, stream_id: StreamId, session_id: SessionId, caller: Participant) -> Response:
    """Further candidates of a publisher. Needs `If-Match` with the `ETag` of the answer; 422 for an ICE restart."""
    fragment = await _text_of(request, _FRAGMENT, MAX_FRAGMENT_BYTES)
    name = SessionName(stream_id, session_id, caller.tenant)
    await context_of(request).peers.trickle(name, fragment, request.headers.get("if-match"))
    return Response(status_code=204)


@router.delete("/whip/{stream_id}/{session_id}", response_class=Response)
async def hang_up(request: Request, stream_id: StreamId, session_id: SessionId, caller: Participant) -> Response:
    """End a call. Answers when its last verdict is out."""
    await context_of(request).peers.hang_up(SessionName(stream_id, session_id, caller.tenant))
    return Response(status_code=200)


@router.get("/whip/{stream_id}", status_code=204, response_class=Response, dependencies=[Depends(require_key)])
@router.head("/whip/{stream_id}", status_code=204, dependencies=[Depends(require_key)], include_in_schema=False)
async def endpoint(stream_id: StreamId) -> Response:
    """Nothing, with success: what may once stand here is kept free (RFC 9725 4.2)."""
    return Response(status_code=204, headers=_EXPOSED)


@router.get("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response)
@router.head("/whip/{stream_id}/{session_id}", status_code=204, include_in_schema=False)
async def session(
    request: Request, stream_id: StreamId, session_id: SessionId, caller: Annotated[Caller, Depends(require_key)]
) -> Response:
    """Nothing, with success, while the session lives."""
    context_of(request).peers.find(SessionName(stream_id, session_id, caller.tenant))
    return Response(status_code=204, headers=_EXPOSED)


@router.options("/whip/{stream_id}", status_code=204, response_class=Response)
@router.options("/v1/calls/{call_id}/participants/{participant_id}/whip", status_code=204, response_class=Response)
async def endpoint_options(request: Request) -> Response:
    """What can be sent here; open to everybody, because browsers ask before they know a key."""
    response = Response(status_code=204, headers={"Accept-Post": _SDP, "Allow": "GET, HEAD, OPTIONS, POST", **_EXPOSED})
    for link in context_of(request).peers.config.ice_servers.public_links():
        response.headers.append("Link", link)
    return response


@router.options("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response)
async def session_options() -> Response:
    """What can be sent to a session."""
    headers = {"Accept-Patch": _FRAGMENT, "Accept-Post": _SDP, "Allow": "DELETE, GET, HEAD, OPTIONS, PATCH", **_EXPOSED}
    return Response(status_code=204, headers=headers)


async def _publish(request: Request, stream_id: str, caller: Caller, named: CallLabels) -> Response:
    peers = context_of(request).peers
    sdp = await _text_of(request, _SDP, MAX_OFFER_BYTES)
    try:
        answer = await peers.offer(Offer(stream_id, sdp, caller, _is_sample(request), *named))
    except (Busy, ServiceFull, ServiceDraining):
        elsewhere = _elsewhere(request, peers.config.overflow_url)
        if elsewhere is None:
            raise
        return Response(status_code=307, headers={"Location": elsewhere, **_EXPOSED})
    location = f"/whip/{stream_id}/{answer.session_id}"
    headers = {"Location": location, "ETag": answer.etag, "Accept-Patch": _FRAGMENT, **_EXPOSED}
    response = Response(answer.sdp, 201, headers, _SDP)
    for link in peers.config.ice_servers.links(stream_id, time.time()):
        response.headers.append("Link", link)
    return response


def _elsewhere(request: Request, base_url: str) -> str | None:
    """Where another service takes the same offer, unless this one was sent here by such a service already."""
    if not base_url or _REDIRECTED in request.query_params:
        return None
    return base_url + str(request.url.include_query_params(**{_REDIRECTED: "1"})).partition(request.url.netloc)[2]


async def _text_of(request: Request, wanted: str, max_bytes: int) -> str:
    """The body. Raises OfferRefused: 415, 413, or 400 if it is no text."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != wanted:
        raise OfferRefused(415, "wrong_content_type", f"{wanted} is expected here, not {content_type or 'nothing'}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise OfferRefused(413, "offer_too_large", f"at most {max_bytes} bytes are taken")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise OfferRefused(400, "sdp_malformed", "the body is not UTF-8 text") from None


def _is_sample(request: Request) -> bool:
    """Only a process on this machine can mark its call as the demonstration."""
    host = request.client.host if request.client else ""
    return request.headers.get("deepguard-sample") == "1" and _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
