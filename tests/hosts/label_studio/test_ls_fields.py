"""Bodies of requests as JSON."""

import json

import pytest

from locara_label.errors import BadRequest
from locara_label.hosts.label_studio.fields import parse_json
from locara_label.server.answers import answer


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"\xff",
        b"[1]",
        b"",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_json_that_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json(text)
    assert caught.value.code == "request.json"


def test_a_hundred_levels_are_not_too_deep() -> None:
    """Nor too many for an answer that has them all in it, plain and as Python's own writer takes them."""
    nested = parse_json(b'{"a":' * 100 + b"1" + b"}" * 100)
    assert json.loads(answer({"given": [nested]}).body) == {"given": [nested]}
