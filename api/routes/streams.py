"""Running streams: list, look at, stop."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from api.errors import NotFound
from api.routes.context import context_of
from api.routes.dependencies import require_key
from api.routes.schemas import ErrorAnswer, StreamList
from stream.stream_service import StreamInfo
from stream.types import EndReason

StreamId = Annotated[str, Path(max_length=200)]

_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer}}

router = APIRouter(prefix="/v1/streams", tags=["streams"], dependencies=[Depends(require_key)])


@router.get("", responses={200: {"model": StreamList}})
async def list_streams(request: Request, call_id: Annotated[str | None, Query(max_length=200)] = None) -> Response:
    """Running streams in the order they started, then those that ended in the last minute; of one call, if named."""
    found = (info for info in context_of(request).service.list() if call_id is None or info.call_id == call_id)
    sources = (source for source in context_of(request).pulls.list() if call_id is None or source.call_id == call_id)
    return _no_store({
        "streams": [_plain(info) for info in found], "sources": [source._asdict() for source in sources],
    })


@router.get("/{stream_id}", responses=_UNKNOWN)
async def get_stream(request: Request, stream_id: StreamId) -> Response:
    """One stream with its latest verdict."""
    return _no_store(_plain(context_of(request).service.get(stream_id)))


@router.delete("/{stream_id}", status_code=204, responses=_UNKNOWN)
async def stop_stream(request: Request, stream_id: StreamId) -> Response:
    """Hangs the stream's source up and ends it, or waits no longer for one that has not begun."""
    context = context_of(request)
    if stream_id in context.sources:
        await context.sources.stop(stream_id)
    elif stream_id in context.pulls:
        await context.pulls.stop(stream_id)
    else:
        await context.service.stop(stream_id, EndReason.STOPPED)
    return Response(status_code=204)


@router.get(
    "/{stream_id}/frame.jpg", responses={**_UNKNOWN, 200: {"content": {"image/jpeg": {}}}, 304: {}},
    response_class=Response,
)
async def get_frame(request: Request, stream_id: StreamId) -> Response:
    """The newest examined frame, small."""
    service = context_of(request).service
    preview = service.preview(stream_id)
    if preview is None:
        raise NotFound("no_frame", "no frame of this stream was examined yet")
    tag = f'"{service.get(stream_id).epoch}-{preview.sequence}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-store"}
    if tag in (candidate.strip() for candidate in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(preview.jpeg, media_type="image/jpeg", headers=headers)


def _plain(info: StreamInfo) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(info)
    return plain


def _no_store(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
