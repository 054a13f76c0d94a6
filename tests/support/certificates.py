"""Certificates for tests, made with openssl: an authority, and what it has signed for this machine."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
_FOR_LEAVES = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]


@dataclass(frozen=True)
class Authority:
    """Its own certificate, and one that it has signed, good for server and client alike."""

    public: Path
    certificate: Path
    key: Path

    def server_side(self, *, asks_clients: bool = False) -> ssl.SSLContext:
        """For who serves; with `asks_clients` to nobody without a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.public)
        context.load_cert_chain(self.certificate, self.key)
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def authority(folder: Path, name: str) -> Authority:
    """A new one, in files of its own."""
    public, public_key = folder / f"{name}.pem", folder / f"{name}.key"
    leaf, leaf_key = folder / f"{name}-signed.pem", folder / f"{name}-signed.key"
    _openssl("-subj", f"/CN={name}", "-keyout", str(public_key), "-out", str(public))
    signed_by = ("-CA", str(public), "-CAkey", str(public_key))
    _openssl(*signed_by, *_FOR_LEAVES, "-subj", "/CN=localhost", "-keyout", str(leaf_key), "-out", str(leaf))
    for file in (public, leaf, leaf_key):
        file.chmod(0o644)
    return Authority(public, leaf, leaf_key)


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", "req", "-x509", *_KEY, *words], check=True, capture_output=True)
