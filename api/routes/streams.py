"""`/v1/streams`: lists streams and their sources, shows one stream, stops one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.errors import NotFound
from api.ingest.live_source import SourceState, SourceStatus
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.json_answers import NO_STORE, described, json_response
from api.routes.schemas import ErrorAnswer
from stream.session_table import StreamInfo

PROTOCOLS = ["whip", "rtp", "rtsp", "rtmp", "hls", "http", "whep"]
SourceName = Annotated[str, msgspec.Meta(extra_json_schema={"enum": PROTOCOLS})]
StreamId = Annotated[str, Path(max_length=200)]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: described(ErrorAnswer)}

router = APIRouter(prefix="/v1/streams", tags=["streams"], dependencies=[Depends(require_key)])


class SourceProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last attempt to connect failed."""

    code: str
    message: str


class SourceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A live source, or a source that failed in the last minute."""

    stream: str
    source: SourceName
    host: str
    call_id: str
    participant_id: str
    state: SourceState
    attempts: int
    retry_in_s: float | None
    problem: SourceProblem | None


class StreamList(msgspec.Struct, frozen=True, kw_only=True):
    """Running streams, then those that ended in the last minute, and all live sources."""

    streams: tuple[StreamInfo, ...]
    sources: tuple[SourceAnswer, ...]


@router.get("", responses={200: described(StreamList)})
async def list_streams(request: Request, call_id: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """Running streams in the order they started, then those that ended in the last minute; and all live sources.

    `call_id` selects those of one call.
    """
    context = context_of(request)
    streams = tuple(info for info in context.service.list() if call_id in (None, info.call_id))
    sources = (status for status in context.sources.list() if call_id in (None, status.identity.call_id))
    return json_response(StreamList(streams=streams, sources=tuple(map(_source, sources))), headers=NO_STORE)


@router.get("/{stream_id}", responses={**_UNKNOWN, 200: described(StreamInfo)})
async def get_stream(request: Request, stream_id: StreamId) -> Response:
    """Returns one stream with its latest verdict."""
    return json_response(context_of(request).service.get(stream_id), headers=NO_STORE)


@router.delete("/{stream_id}", status_code=204, responses=_UNKNOWN)
async def stop_stream(request: Request, stream_id: StreamId) -> Response:
    """End the stream and its source, also a source whose stream has not begun."""
    await context_of(request).sources.stop(stream_id)
    return Response(status_code=204)


@router.get(
    "/{stream_id}/frame.jpg", responses={**_UNKNOWN, 200: {"content": {"image/jpeg": {}}}, 304: {}},
    response_class=Response,
)
async def get_frame(request: Request, stream_id: StreamId) -> Response:
    """The newest examined frame as a small JPEG."""
    service = context_of(request).service
    preview = service.preview(stream_id)
    if preview is None:
        raise NotFound("no_frame", "no frame of this stream has been examined yet")
    tag = f'"{service.get(stream_id).epoch}-{preview.sequence}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-store"}
    if tag in (candidate.strip() for candidate in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(preview.jpeg, media_type="image/jpeg", headers=headers)


def _source(status: SourceStatus) -> SourceAnswer:
    identity, problem = status.identity, status.problem
    return SourceAnswer(
        stream=identity.stream,
        source=status.protocol,
        host=status.host,
        call_id=identity.call_id,
        participant_id=identity.participant_id,
        state=status.state,
        attempts=status.attempts,
        retry_in_s=status.retry_in_s,
        problem=None if problem is None else SourceProblem(code=problem.code, message=problem.message),
    )
