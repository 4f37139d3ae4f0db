"""Encryption of evidence at rest: AES-256-GCM, bound to the incident and the name of the file. No I/O."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api.errors import EvidenceLocked

# No evidence file begins like this: they are JSON, JPEG and PNG.
_MAGIC = b"\0dg1"
_ID_BYTES, _NONCE_BYTES = 8, 12
_HEAD_BYTES = len(_MAGIC) + _ID_BYTES + _NONCE_BYTES


class EvidenceCipher:
    """Encrypts with the first of `keys` and decrypts with any of them. Without keys, contents are stored as they are.

    Evidence that was stored without encryption stays readable.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}

    def seal(self, incident: str, name: str, content: bytes) -> bytes:
        """Returns what is stored for the content of one file."""
        if not self._ciphers:
            return content
        key_id, cipher = next(iter(self._ciphers.items()))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _MAGIC + key_id + nonce + cipher.encrypt(nonce, content, _place(incident, name))

    def unseal(self, incident: str, name: str, stored: bytes) -> bytes:
        """Returns the content of one file. Raises EvidenceLocked without its key, or if it was changed."""
        if not stored.startswith(_MAGIC):
            return stored
        head = stored[len(_MAGIC) : _HEAD_BYTES]
        key_id, nonce = head[:_ID_BYTES], head[_ID_BYTES:]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise EvidenceLocked("its key is not in DEEPGUARD_EVIDENCE_KEYS")
        try:
            return cipher.decrypt(nonce, stored[_HEAD_BYTES:], _place(incident, name))
        except InvalidTag:
            raise EvidenceLocked("it was changed in the database") from None


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"deepguard evidence key\0" + key).digest()[:_ID_BYTES]


def _place(incident: str, name: str) -> bytes:
    return f"{incident}\0{name}".encode()
