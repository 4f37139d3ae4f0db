"""The network face of the service: HTTP, WHIP, WebSocket, dashboard, command line."""
