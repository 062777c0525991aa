"""Pictures written into their own address: `data:image/png;base64,...` (RFC 2397)."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from locara_label.errors import FetchFailed, NotAllowed

_HEADER = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<rest>(?:;[\w.+-]+=[^;,]*)*)(?P<base64>;\s*base64)?,", re.IGNORECASE)
_SPACE = b" \t\r\n\f"


def decode(reference: str, max_bytes: int) -> bytes:
    """The bytes of a picture's data URL, in base64 (padding may lack) or percent-encoded.

    Raises:
        NotAllowed: it is no picture; code fetch.scheme.
        FetchFailed: more than `max_bytes` (fetch.too_large), or not a data URL (fetch.bad_data_url).
    """
    match = _HEADER.match(reference[:1024])
    if match is None:
        raise _bad(reference, "has no header")
    if not (match["type"] or "").lower().startswith("image/"):
        raise NotAllowed(f"a data URL of {match['type'] or 'text/plain'} is not a picture", code="fetch.scheme")
    text = reference[match.end() :].partition("#")[0]
    # one byte takes at least 4/3 characters in base64, and one otherwise; all three if it is percent-encoded
    if len(text) > 3 * (max_bytes * 4 // 3 + 4):
        raise _too_large(max_bytes)
    try:
        content = unquote_to_bytes(text.encode("ascii"))
    except UnicodeEncodeError:
        raise _bad(reference, "has characters outside ASCII") from None
    data = _from_base64(content, reference) if match["base64"] else content
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _from_base64(content: bytes, reference: str) -> bytes:
    packed = content.translate(None, _SPACE).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error:
        raise _bad(reference, "is not base64") from None


def _too_large(max_bytes: int) -> FetchFailed:
    return FetchFailed(f"a data URL has more than {max_bytes} bytes, the limit", code="fetch.too_large")


def _bad(reference: str, reason: str) -> FetchFailed:
    return FetchFailed(f"a data URL of {len(reference)} characters {reason}", code="fetch.bad_data_url")
