"""FFmpeg's own WHIP muxer as a publisher: a client that shares no WebRTC code with us.

    python -m tests.e2e.peers.ffmpeg_publisher URL FILE SECONDS [KEY]

Its own certificate would be of a curve that OpenSSL refuses here, so it gets one.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path

import av
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.remux import remux_in_real_time


def write_certificate(folder: Path) -> dict[str, str]:
    """A self-signed P-256 certificate; the muxer's options that name it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "publisher")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    certificate = builder.sign(key, hashes.SHA256())
    files = {"cert_file": folder / "cert.pem", "key_file": folder / "key.pem"}
    files["cert_file"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files["key_file"].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    return {option: str(path) for option, path in files.items()}


def publish(url: str, source: str, seconds: float, key: str = "") -> int:
    """Remuxes in real time; the packets sent."""
    with tempfile.TemporaryDirectory() as folder:
        options = write_certificate(Path(folder)) | ({"authorization": key} if key else {})
        with av.open(url, "w", format="whip", options=options) as out:
            return remux_in_real_time(source, out, seconds)


if __name__ == "__main__":
    sys.stdout.write(f"{publish(sys.argv[1], sys.argv[2], float(sys.argv[3]), *sys.argv[4:5])}\n")
