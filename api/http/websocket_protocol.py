"""uvicorn's WebSocket protocol without error lines for what clients do: refused handshakes, text that is not UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

_NOT_UTF8 = 1007


class QuietWebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    async def send(self, message: ASGISendEvent) -> None:
        """Sends one ASGI message. A complete denial response ends the handshake, which uvicorn does not record."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def send_receive_event_to_app(self) -> None:
        """Hands a message to the application, or closes with 1007; uvicorn would log a traceback."""
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(b"".join(self.frames)):
            self.frames = []
            self.conn.send_close(_NOT_UTF8)
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
