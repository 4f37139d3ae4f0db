"""WHIP (RFC 9725): publishers come in by HTTP. `Peers` does the rest."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.auth import Caller, require_key
from api.context import context_of
from api.errors import OfferRefused
from api.limits import limit
from api.peer import Offer
from api.sdp import MAX_OFFER_BYTES

router = APIRouter(tags=["whip"])

_SDP = "application/sdp"
_ID = r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}$"     # never "." or "..", which clients take out of URLs
_LABEL = r"^[A-Za-z0-9._~@:-]{0,128}$"
_EXPOSED = "Location, ETag, Link, Accept-Post"

StreamId = Annotated[str, Path(pattern=_ID)]
SessionId = Annotated[str, Path(pattern=_ID)]
ALabel = Annotated[str, Query(pattern=_LABEL)]


@router.post(
    "/whip/{stream_id}", status_code=201, response_class=Response,
    responses={201: {"content": {_SDP: {"schema": {"type": "string"}}}}},
    openapi_extra={"requestBody": {"required": True, "content": {_SDP: {"schema": {"type": "string"}}}}},
)
async def publish(
    request: Request, stream_id: StreamId, caller: Annotated[Caller, Depends(limit("offer"))],
    call_id: ALabel = "", participant_id: ALabel = "",
) -> Response:
    """Start a call: an SDP offer with one video in, the answer out. `Location` is where to DELETE it."""
    offer = Offer(stream_id, await _sdp_of(request), caller, _is_sample(request), call_id, participant_id)
    answer = await context_of(request).peers.offer(offer)
    headers = {"Location": f"/whip/{stream_id}/{answer.session_id}", "Access-Control-Expose-Headers": _EXPOSED}
    return Response(answer.sdp, 201, headers, _SDP)


@router.delete("/whip/{stream_id}/{session_id}", response_class=Response)
async def hang_up(
    request: Request, stream_id: StreamId, session_id: SessionId, caller: Annotated[Caller, Depends(require_key)]
) -> Response:
    """End a call. Answers when its last verdict is out."""
    await context_of(request).peers.hang_up(stream_id, session_id, caller.tenant)
    return Response(status_code=200)


@router.options("/whip/{stream_id}", status_code=204, response_class=Response)
@router.options("/whip/{stream_id}/{session_id}", status_code=204, response_class=Response)
async def options() -> Response:
    """What can be sent here; open to everybody, because browsers ask before they know a key."""
    return Response(status_code=204, headers={"Accept-Post": _SDP, "Access-Control-Expose-Headers": _EXPOSED})


async def _sdp_of(request: Request) -> str:
    """The body. Raises OfferRefused: 415, 413, or 400 if it is no text."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != _SDP:
        raise OfferRefused(415, "wrong_content_type", f"an offer is sent as {_SDP}, not {content_type or 'nothing'}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_OFFER_BYTES:
            raise OfferRefused(413, "offer_too_large", f"an offer has at most {MAX_OFFER_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise OfferRefused(400, "sdp_malformed", "the offer is not UTF-8 text") from None


def _is_sample(request: Request) -> bool:
    """Only a process on this machine can mark its call as the demonstration."""
    host = request.client.host if request.client else ""
    return request.headers.get("deepguard-sample") == "1" and _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
