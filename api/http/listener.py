"""Listening TCP sockets, and the URL a browser reaches them at."""

from __future__ import annotations

import socket

from api.errors import SettingsRefused

BACKLOG = 256       # connections the kernel accepts before the server does
_SEND_BUFFER_BYTES = 128 * 1024
_UNREAD_LIMIT_MS = 4000


def listening_socket(host: str, port: int) -> socket.socket:
    """Binds a TCP socket; the kernel drops a connection whose peer acknowledges nothing for 4 s.

    Without the limit, a WebSocket client that stops reading would hold its connection and its buffers forever.
    Raises SettingsRefused.
    """
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only if the protocol is named; with Nagle every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_LIMIT_MS)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsRefused(f"PORT, HOST: cannot listen on {host}:{port} ({error.strerror})") from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Returns the URL at which a browser on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
