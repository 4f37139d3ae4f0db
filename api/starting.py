"""`POST /v1/streams`: streams that the service fetches or waits for by itself."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Caller
from api.context import context_of
from api.limits import limit
from api.rtp_source import RtpOrder
from api.schemas import ErrorAnswer
from api.whip import ID_PATTERN, LABEL_PATTERN
from stream.session import StreamSpec
from stream.types import Codec

router = APIRouter(prefix="/v1/streams", tags=["streams"])


class RtpIn(BaseModel):
    """Plain RTP, RTCP on the same port. `from` is the address that sends; needed unless only this machine can."""

    model_config = ConfigDict(extra="forbid")

    codec: Literal["h264", "vp8"]
    sender: IPv4Address | IPv6Address | None = Field(None, alias="from")
    port: int | None = Field(None, ge=1024, le=65535)
    payload_type: int | None = Field(None, ge=0, le=127)


class StreamStart(BaseModel):
    """What to start."""

    model_config = ConfigDict(extra="forbid")

    stream: str = Field(pattern=ID_PATTERN)
    call_id: str = Field("", pattern=LABEL_PATTERN)
    participant_id: str = Field("", pattern=LABEL_PATTERN)
    rtp: RtpIn


@router.post("", status_code=201, responses={409: {"model": ErrorAnswer}, 503: {"model": ErrorAnswer}})
async def start_stream(
    request: Request, start: StreamStart, _: Annotated[Caller, Depends(limit("offer"))]
) -> Response:
    """Open a port for plain RTP. The stream begins with its first key frame; `DELETE` on `Location` ends it."""
    spec = StreamSpec(
        stream=start.stream, source="rtp", codec=Codec(start.rtp.codec), call_id=start.call_id,
        participant_id=start.participant_id,
    )
    order = RtpOrder(spec, str(start.rtp.sender or ""), start.rtp.payload_type)
    port = await context_of(request).sources.listen(order, start.rtp.port)
    body = {"stream": start.stream, "state": "waiting", "rtp": {"port": port, "codec": start.rtp.codec}}
    return JSONResponse(body, 201, headers={"Location": f"/v1/streams/{start.stream}", "Cache-Control": "no-store"})
