"""Clients of a running service: WHIP publisher, WebSocket event client, LiveKit bridge."""
