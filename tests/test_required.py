from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.required import missing, need, needed

CASES = pytest.mark.parametrize("ask", [lambda: missing("absent"), lambda: need("json", "absent"), lambda: needed("absent.part")])


@CASES
def test_what_is_absent_is_skipped(ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCARA_REQUIRE_HOSTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="absent"):
        ask()


@CASES
def test_what_is_absent_fails_where_it_must_be_there(ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCARA_REQUIRE_HOSTS", "1")
    with pytest.raises(pytest.fail.Exception, match="absent"):
        ask()


def test_what_is_there_is_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCARA_REQUIRE_HOSTS", "1")
    need("json", "pytest")
    assert needed("pytest") is pytest
