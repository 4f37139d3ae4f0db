"""WHIP (RFC 9725): sessions of WebRTC publishers, their SDP offers, answers and trickled candidates."""
