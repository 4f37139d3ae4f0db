"""Clients of a running service: publish a file by WHIP, watch verdicts by WebSocket."""
