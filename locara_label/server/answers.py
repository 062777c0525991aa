"""JSON answers: what was asked for, or one coded error."""

from __future__ import annotations

import json
import secrets
from typing import Any

from starlette.responses import Response

from locara_label.errors import (
    BadWeights,
    Cancelled,
    DeadlineExceeded,
    FetchError,
    InputError,
    LocaraError,
    ModelError,
    NotAllowed,
    QueueFull,
)
from locara_label.server.reasons import HEADER, reason

_BY_CODE = {
    "request.too_large": 413,
    "request.content_type": 415,
    "request.content_encoding": 415,
    "request.unauthorised": 401,
    "request.host": 421,
    "request.slow": 408,
    "run.worker_died": 503,
    "run.replaced": 409,
    "video.busy": 409,
    "video.elsewhere": 404,
    "video.name_taken": 409,
    "video.unknown_object": 404,
    "video.unknown_session": 404,
}
_BY_KIND: tuple[tuple[type[LocaraError], int], ...] = (
    (NotAllowed, 403),
    (InputError, 422),
    (FetchError, 422),
    (QueueFull, 429),
    (DeadlineExceeded, 504),
    (Cancelled, 503),
    (BadWeights, 500),
    (ModelError, 409),
)
_LONG = 256
_DIGITS = tuple(map(str, range(256)))
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON without NaN or infinity."""
    body = _written(content).encode("utf-8", "backslashreplace")
    return Response(body, status, {**_HEADERS, **(headers or {})}, "application/json")


def _written(content: Any) -> str:
    """JSON; long lists of bytes, as brush masks are, in a seventh of the time, during which `json` lets no other thread run."""
    lists: list[str] = []
    mark = secrets.token_hex(16)
    plain = json.dumps(_lifted(content, mark, lists), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    between = plain.split(f'"{mark}"')
    return "".join(part for pair in zip(between, [*lists, ""], strict=True) for part in pair)


def _lifted(value: Any, mark: str, lists: list[str]) -> Any:
    """The value with the mark in place of its long lists of bytes, whose JSON is added to `lists`."""
    if isinstance(value, dict):
        return {key: _lifted(part, mark, lists) for key, part in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > _LONG and (written := _bytes_written(value)) is not None:
        lists.append(written)
        return mark
    return [_lifted(part, mark, lists) for part in value]


def _bytes_written(value: list[Any]) -> str | None:
    if set(map(type, value)) != {int}:
        return None
    try:
        return f"[{','.join([_DIGITS[one] for one in bytes(value)])}]"
    except ValueError:
        return None


def status_of(error: LocaraError) -> int:
    """The HTTP status of an error: 4xx for what the asker can mend, 5xx for the rest."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for kind, status in _BY_KIND if isinstance(error, kind)), 500)


def failure(error: LocaraError) -> Response:
    """`{"error": {"code", "message"}}`."""
    headers = {}
    if isinstance(error, QueueFull):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if error.code in {"request.too_large", "request.slow"}:
        headers["connection"] = "close"  # or the rest of the body would be read to the end
    if error.code.startswith("config."):
        headers[HEADER] = reason(error.message)
    if error.code == "request.unauthorised":
        headers["www-authenticate"] = 'Basic realm="locara-label"'
    return answer({"error": error.to_json()}, status_of(error), headers)
