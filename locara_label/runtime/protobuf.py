"""Serialised protobuf messages, taken apart and put together without a schema. Source: the encoding guide of Protocol Buffers."""

from __future__ import annotations

from collections.abc import Iterator

Field = tuple[int, int, bytes]
"""Number, wire type, and the payload (a varint as it is written)."""


def varint(number: int) -> bytes:
    """A whole number from 0, seven bits a byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(field: int, payload: bytes) -> bytes:
    """A field with a message, a text or bytes."""
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def written(field: Field) -> bytes:
    """A field as `fields` gave it."""
    number, wire, payload = field
    return message(number, payload) if wire == 2 else varint(number << 3 | wire) + payload


def fields(serialised: bytes) -> Iterator[Field]:
    """The fields of a message of our own, which is known to be whole."""
    at = 0
    while at < len(serialised):
        key, at = _read_varint(serialised, at)
        wire, start = key & 7, at
        if wire == 0:
            _, at = _read_varint(serialised, at)
        elif wire == 2:
            length, start = _read_varint(serialised, at)
            at = start + length
        else:
            at += {1: 8, 5: 4}[wire]
        yield key >> 3, wire, serialised[start:at]


def _read_varint(serialised: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = serialised[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
