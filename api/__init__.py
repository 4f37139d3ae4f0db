"""The network interface of the service: HTTP, WHIP, WebSocket, dashboard and command line."""
