"""Parts for tests of the scanners: frames of headers as they stand there, well formed or not."""

from __future__ import annotations


def framed(header: bytes, body: bytes = b"") -> bytes:
    """A frame with a JSON header, lengths included."""
    data = len(header).to_bytes(4, "big") + header + body
    return len(data).to_bytes(4, "big") + data
