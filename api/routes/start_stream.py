"""`POST /v1/streams`: streams that the service fetches or waits for by itself."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from api.errors import OfferRefused
from api.http.auth import Caller
from api.ingest.pull.errors import PullRefused
from api.ingest.pull.pulls import Who
from api.ingest.rtp_source import RtpOrder
from api.routes.context import AppContext, context_of
from api.routes.dependencies import limit
from api.routes.schemas import ErrorAnswer
from api.routes.whip import ID_PATTERN, LABEL_PATTERN
from stream.stream_session import StreamSpec
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
    rtp: RtpIn | None = None
    url: str | None = Field(None, min_length=1, max_length=2048)
    whep: str | None = Field(None, min_length=1, max_length=2048)
    token: SecretStr | None = Field(None, max_length=4096)

    @model_validator(mode="after")
    def _has_one_source(self) -> StreamStart:
        if sum(source is not None for source in (self.rtp, self.url, self.whep)) != 1:
            raise ValueError("expected exactly one of rtp, url and whep")
        if self.token is not None and self.whep is None:
            raise ValueError("a token goes with whep")
        return self


@router.post("", status_code=201, responses={409: {"model": ErrorAnswer}, 503: {"model": ErrorAnswer}})
async def start_stream(
    request: Request, start: StreamStart, _: Annotated[Caller, Depends(limit("offer"))]
) -> Response:
    """Open a port for plain RTP, or fetch a stream by its URL or from an SFU. It begins with its first key frame;
    `DELETE` on `Location` ends it."""
    context = context_of(request)
    told = await _listen(context, start, start.rtp) if start.rtp is not None else await _pull(context, start)
    body = {"stream": start.stream, "state": "waiting", **told}
    return JSONResponse(body, 201, headers={"Location": f"/v1/streams/{start.stream}", "Cache-Control": "no-store"})


async def _listen(context: AppContext, start: StreamStart, rtp: RtpIn) -> dict[str, Any]:
    spec = StreamSpec(
        stream=start.stream, source="rtp", codec=Codec(rtp.codec), call_id=start.call_id,
        participant_id=start.participant_id,
    )
    order = RtpOrder(spec, str(rtp.sender or ""), rtp.payload_type)
    return {"rtp": {"port": await context.sources.listen(order, rtp.port), "codec": rtp.codec}}


async def _pull(context: AppContext, start: StreamStart) -> dict[str, Any]:
    who = Who(start.stream, start.call_id, start.participant_id)
    try:
        if start.url is not None:
            order = await context.pulls.pull(who, start.url)
        else:
            token = start.token.get_secret_value() if start.token is not None else ""
            order = await context.pulls.whep(who, start.whep or "", token)
    except PullRefused as refused:
        raise OfferRefused(422, refused.code, refused.message) from None
    return {"source": order.source, "host": order.host}
