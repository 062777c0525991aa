"""A Label Studio and a foreign host on this machine, and a resolver that gives them names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fetch.web import Web


@pytest.fixture
def studio() -> Iterator[Web]:
    with Web() as web:
        yield web


@pytest.fixture
def foreign() -> Iterator[Web]:
    with Web() as web:
        yield web
