"""`/v1/streams`: lists streams and their sources, shows one stream, stops one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api.errors import NotFound
from api.ingest.live_source import SourceStatus
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.schemas import ErrorAnswer, StreamList
from stream.session_table import StreamInfo

StreamId = Annotated[str, Path(max_length=200)]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer}}

router = APIRouter(prefix="/v1/streams", tags=["streams"], dependencies=[Depends(require_key)])


@router.get("", responses={200: {"model": StreamList}})
async def list_streams(request: Request, call_id: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """Running streams in the order they started, then those that ended in the last minute; and all live sources.

    `call_id` selects those of one call.
    """
    context = context_of(request)
    streams = (info for info in context.service.list() if call_id in (None, info.call_id))
    sources = (status for status in context.sources.list() if call_id in (None, status.identity.call_id))
    return _no_store({"streams": [_plain(info) for info in streams], "sources": [_source(each) for each in sources]})


@router.get("/{stream_id}", responses=_UNKNOWN)
async def get_stream(request: Request, stream_id: StreamId) -> Response:
    """One stream with its latest verdict."""
    return _no_store(_plain(context_of(request).service.get(stream_id)))


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


def _plain(info: StreamInfo) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(info)
    return plain


def _source(status: SourceStatus) -> dict[str, Any]:
    identity, problem = status.identity, status.problem
    return {
        "stream": identity.stream, "source": status.protocol, "host": status.host, "call_id": identity.call_id,
        "participant_id": identity.participant_id, "state": status.state, "attempts": status.attempts,
        "retry_in_s": status.retry_in_s,
        "problem": None if problem is None else {"code": problem.code, "message": problem.message},
    }


def _no_store(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
