"""HTTP and WebSocket endpoints: each module holds a router; the schemas beside them describe the answers."""
