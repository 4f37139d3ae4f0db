"""`POST /v1/streams`: starts an RTP receiver or a pulled source."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from api.errors import OfferRefused
from api.http.auth import Caller
from api.ingest.pull.errors import PullRefused
from api.ingest.rtp_receiver import RtpRequest
from api.routes.context import AppContext, context_of
from api.routes.dependencies import limit
from api.routes.json_answers import described
from api.routes.schemas import ErrorAnswer
from stream.identity import LABEL, STREAM_ID, StreamIdentity
from stream.types import Codec

router = APIRouter(prefix="/v1/streams", tags=["streams"])


class RtpIn(BaseModel):
    """Plain RTP with RTCP on the same port. `from` is the sending address, optional on loopback only."""

    model_config = ConfigDict(extra="forbid")

    codec: Literal["h264", "vp8"]
    sender: IPv4Address | IPv6Address | None = Field(None, alias="from")
    port: int | None = Field(None, ge=1024, le=65535)
    payload_type: int | None = Field(None, ge=0, le=127)


class StreamStart(BaseModel):
    """The stream to start, and exactly one source: `rtp`, `url` or `whep`."""

    model_config = ConfigDict(extra="forbid")

    stream: str = Field(pattern=f"^{STREAM_ID}$")
    call_id: str = Field("", pattern=f"^{LABEL}$")
    participant_id: str = Field("", pattern=f"^{LABEL}$")
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

    @property
    def identity(self) -> StreamIdentity:
        return StreamIdentity(self.stream, self.call_id, self.participant_id)


@router.post("", status_code=201, responses={409: described(ErrorAnswer), 503: described(ErrorAnswer)})
async def start_stream(
    request: Request, start: StreamStart, caller: Annotated[Caller, Depends(limit("offer"))]
) -> Response:
    """Open a port for plain RTP, or fetch a stream by its URL or from an SFU.

    The stream begins with its first key frame. `DELETE` on `Location` ends it.
    """
    context = context_of(request)
    if start.rtp is not None:
        started = await _listen(context, start, start.rtp, caller.identity)
    else:
        started = await _pull(context, start, caller.identity)
    body = {"stream": start.stream, "state": "waiting", **started}
    return JSONResponse(body, 201, headers={"Location": f"/v1/streams/{start.stream}", "Cache-Control": "no-store"})


async def _listen(context: AppContext, start: StreamStart, rtp: RtpIn, caller: str) -> dict[str, Any]:
    wanted = RtpRequest(start.identity, Codec(rtp.codec), str(rtp.sender or ""), rtp.payload_type)
    return {"rtp": {"port": await context.rtp_receivers.listen(wanted, rtp.port, caller), "codec": rtp.codec}}


async def _pull(context: AppContext, start: StreamStart, caller: str) -> dict[str, Any]:
    try:
        if start.url is not None:
            pulled = await context.pulled_sources.pull(start.identity, start.url, caller)
        else:
            token = start.token.get_secret_value() if start.token is not None else ""
            pulled = await context.pulled_sources.whep(start.identity, start.whep or "", token, caller)
    except PullRefused as refused:
        raise OfferRefused(422, refused.code, refused.message) from None
    return {"source": pulled.protocol, "host": pulled.host}
