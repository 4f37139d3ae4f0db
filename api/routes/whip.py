"""WHIP endpoints (RFC 9725) over `WhipSessions`; docs/contracts/whip.md lists the conformance of each clause."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from api.errors import Busy, OfferRefused
from api.http.auth import Caller
from api.ingest.whip.offer import MAX_OFFER_BYTES
from api.ingest.whip.session import Offer
from api.ingest.whip.sessions import SessionRef
from api.ingest.whip.trickle import MAX_FRAGMENT_BYTES
from api.routes.context import context_of
from api.routes.dependencies import limit, require_key
from stream.errors import ServiceDraining, ServiceFull
from stream.identity import LABEL, STREAM_ID, StreamIdentity

router = APIRouter(tags=["whip"])

LABEL_HEADERS = ("DeepGuard-Call-Id", "DeepGuard-Participant-Id")

_SDP = "application/sdp"
_FRAGMENT = "application/trickle-ice-sdpfrag"
_ID_PATTERN = f"^{STREAM_ID}$"
_LABEL_PATTERN = f"^{LABEL}$"
_ID_PART = r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,62}$"
_EXPOSED = {"Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch, Accept-Post"}
_REDIRECTED = "overflow"

StreamId = Annotated[str, Path(pattern=_ID_PATTERN)]
SessionId = Annotated[str, Path(pattern=_ID_PATTERN)]
Name = Annotated[str, Path(pattern=_ID_PART)]
Publisher = Annotated[Caller, Depends(limit("offer"))]
Participant = Annotated[Caller, Depends(limit("session request"))]
ALabel = Annotated[str, Query(pattern=_LABEL_PATTERN)]


async def stream_identity(
    stream_id: StreamId, call_id: ALabel = "", participant_id: ALabel = "",
    deepguard_call_id: Annotated[str, Header(pattern=_LABEL_PATTERN)] = "",
    deepguard_participant_id: Annotated[str, Header(pattern=_LABEL_PATTERN)] = "",
) -> StreamIdentity:
    """Reads call and participant from the query or, for clients that can only set headers, from headers."""
    return StreamIdentity(stream_id, call_id or deepguard_call_id, participant_id or deepguard_participant_id)


def _request_body(content_type: str) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {content_type: {"schema": {"type": "string"}}}}}


@router.post(
    "/whip/{stream_id}", status_code=201, response_class=Response, openapi_extra=_request_body(_SDP),
    responses={201: {"content": {_SDP: {"schema": {"type": "string"}}}}},
)
async def publish(
    request: Request, caller: Publisher, identity: Annotated[StreamIdentity, Depends(stream_identity)]
) -> Response:
    """Start a session: an SDP offer with one video in, the answer out. `DELETE` on `Location` ends it."""
    return await _publish(request, identity, caller)


@router.post(
    "/v1/calls/{call_id}/participants/{participant_id}/whip", status_code=201, response_class=Response,
    openapi_extra=_request_body(_SDP), responses={201: {"content": {_SDP: {"schema": {"type": "string"}}}}},
)
async def publish_participant(request: Request, call_id: Name, participant_id: Name, caller: Publisher) -> Response:
    """The same for clients that take only a URL; the stream is `<call_id>.<participant_id>`."""
    identity = StreamIdentity(f"{call_id}.{participant_id}", call_id, participant_id)
    return await _publish(request, identity, caller)


@router.patch("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response,
              openapi_extra=_request_body(_FRAGMENT))
async def trickle(request: Request, stream_id: StreamId, session_id: SessionId, caller: Participant) -> Response:
    """Further ICE candidates. Requires `If-Match` with the `ETag` of the answer; 422 for an ICE restart."""
    fragment = await _read_text(request, _FRAGMENT, MAX_FRAGMENT_BYTES)
    ref = SessionRef(stream_id, session_id, caller.tenant)
    await context_of(request).whip_sessions.trickle(ref, fragment, request.headers.get("if-match"))
    return Response(status_code=204)


@router.delete("/whip/{stream_id}/{session_id}", response_class=Response)
async def hang_up(request: Request, stream_id: StreamId, session_id: SessionId, caller: Participant) -> Response:
    """End a session. Answers after its last verdict."""
    await context_of(request).whip_sessions.end(SessionRef(stream_id, session_id, caller.tenant))
    return Response(status_code=200)


@router.get("/whip/{stream_id}", status_code=204, response_class=Response, dependencies=[Depends(require_key)])
@router.head("/whip/{stream_id}", status_code=204, dependencies=[Depends(require_key)], include_in_schema=False)
async def endpoint(stream_id: StreamId) -> Response:
    """204 without content; RFC 9725 4.2 reserves it for later versions."""
    return Response(status_code=204, headers=_EXPOSED)


@router.get("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response)
@router.head("/whip/{stream_id}/{session_id}", status_code=204, include_in_schema=False)
async def session(
    request: Request, stream_id: StreamId, session_id: SessionId, caller: Annotated[Caller, Depends(require_key)]
) -> Response:
    """204 while the session runs, else 404."""
    context_of(request).whip_sessions.find(SessionRef(stream_id, session_id, caller.tenant))
    return Response(status_code=204, headers=_EXPOSED)


@router.options("/whip/{stream_id}", status_code=204, response_class=Response)
@router.options("/v1/calls/{call_id}/participants/{participant_id}/whip", status_code=204, response_class=Response)
async def endpoint_options(request: Request) -> Response:
    """Accepted content types and STUN servers. Public: browsers send preflight requests without a key."""
    response = Response(status_code=204, headers={"Accept-Post": _SDP, "Allow": "GET, HEAD, OPTIONS, POST", **_EXPOSED})
    for link in context_of(request).whip_sessions.config.ice_servers.public_links():
        response.headers.append("Link", link)
    return response


@router.options("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response)
async def session_options() -> Response:
    """Content types that a session accepts."""
    headers = {"Accept-Patch": _FRAGMENT, "Accept-Post": _SDP, "Allow": "DELETE, GET, HEAD, OPTIONS, PATCH", **_EXPOSED}
    return Response(status_code=204, headers=headers)


async def _publish(request: Request, identity: StreamIdentity, caller: Caller) -> Response:
    sessions = context_of(request).whip_sessions
    sdp = await _read_text(request, _SDP, MAX_OFFER_BYTES)
    try:
        answer = await sessions.offer(Offer(identity, sdp, caller, _is_sample(request)))
    except (Busy, ServiceFull, ServiceDraining):
        overflow_url = _overflow_url(request, sessions.config.overflow_url)
        if overflow_url is None:
            raise
        return Response(status_code=307, headers={"Location": overflow_url, **_EXPOSED})
    location = f"/whip/{identity.stream}/{answer.session_id}"
    headers = {"Location": location, "ETag": answer.etag, "Accept-Patch": _FRAGMENT, **_EXPOSED}
    response = Response(answer.sdp, 201, headers, _SDP)
    for link in sessions.config.ice_servers.links(identity.stream, time.time()):
        response.headers.append("Link", link)
    return response


def _overflow_url(request: Request, base_url: str) -> str | None:
    """Returns the same offer's URL at the overflow service; None if there is none or the offer was redirected here."""
    if not base_url or _REDIRECTED in request.query_params:
        return None
    return base_url + str(request.url.include_query_params(**{_REDIRECTED: "1"})).partition(request.url.netloc)[2]


async def _read_text(request: Request, expected: str, max_bytes: int) -> str:
    """Reads the body. Raises OfferRefused: 415 for the content type, 413 for the size, 400 if it is not UTF-8."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != expected:
        raise OfferRefused(415, "wrong_content_type", f"expected {expected}, got {content_type or 'no content type'}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            raise OfferRefused(413, "offer_too_large", f"the body has more than {max_bytes} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise OfferRefused(400, "sdp_malformed", "the body is not UTF-8 text") from None


def _is_sample(request: Request) -> bool:
    """Whether the call is the demonstration; only a process on this machine can mark it so."""
    host = request.client.host if request.client else ""
    return request.headers.get("deepguard-sample") == "1" and _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
