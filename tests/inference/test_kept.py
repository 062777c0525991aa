"""Arrays that cross once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from locara_label.engine.sources import Published
from locara_label.inference import kept, process
from locara_label.inference.isolated import Isolated
from locara_label.inference.kept import LEAST_BYTES, Kept, Tokens
from locara_label.inference.wire import Arena
from locara_label.runtime.session import Options, Session
from tests.runtime.small_graphs import doubling

LONG = LEAST_BYTES // 4


def fixed(value: float, length: int = LONG) -> np.ndarray:
    array = np.full(length, value, "f4")
    array.flags.writeable = False
    return array


def test_only_what_cannot_change_has_a_number() -> None:
    tokens, one, other = Tokens(), fixed(1), fixed(1)
    assert tokens.of(one) == tokens.of(one) != tokens.of(other)
    assert tokens.of(np.ones(LONG, "f4")) == tokens.of(fixed(1, 10)) == 0


def test_a_number_ends_with_its_array() -> None:
    tokens, seen = Tokens(), set()
    for value in range(50):
        array = fixed(value)
        seen.add(tokens.of(array))
        del array
    assert len(seen) == 50
    assert not tokens._known


def test_what_was_not_used_for_longest_goes() -> None:
    held = Kept(3 * LEAST_BYTES)
    for token in (1, 2, 3):
        held.put(token, fixed(token))
    held.get(1)
    held.put(3, fixed(3))
    held.put(4, fixed(4))
    assert [held.get(token) is None for token in (1, 2, 3, 4)] == [False, True, False, False]


def test_a_copy_is_kept() -> None:
    held, array = Kept(), np.ones(LONG, "f4")
    held.put(1, array)
    array[:] = 2
    found = held.get(1)
    assert found is not None
    assert found[0] == 1


@pytest.fixture
def doubled(tmp_path: Path) -> Iterator[tuple[Isolated, Session]]:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(doubling())
    isolated = Isolated()
    (session,), _ = isolated.open(Published((path,)), Options("cpu", 1))
    yield isolated, session
    isolated.close()


def run(session: Session, array: np.ndarray) -> None:
    assert np.array_equal(session.run({"x": array})["y"], array * 2)


def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each run's arrays, as they go over."""
    seen: list[int] = []
    put = Arena.put

    def counted(self: Arena, arrays):  # type: ignore[no-untyped-def]
        listed = list(arrays)
        seen.append(sum(array.nbytes for _, array in listed))
        return put(self, listed)

    monkeypatch.setattr(Arena, "put", counted)
    return seen


def test_it_crosses_once(doubled: tuple[Isolated, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    (_, session), seen, array = doubled, sent(monkeypatch), fixed(3)
    for _ in range(3):
        run(session, array)
    run(session, np.ones(LONG, "f4"))
    assert seen == [LEAST_BYTES, 0, 0, LEAST_BYTES]


def test_a_new_process_gets_it_again(doubled: tuple[Isolated, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    (isolated, session), seen, array = doubled, sent(monkeypatch), fixed(3)
    run(session, array)
    assert isolated._process
    isolated._process.kill("the test says so")
    run(session, array)
    assert seen == [LEAST_BYTES, LEAST_BYTES]


def test_what_has_gone_is_sent_again(doubled: tuple[Isolated, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    (_, session), seen = doubled, sent(monkeypatch)
    many = [fixed(value) for value in range(kept.MOST_BYTES // LEAST_BYTES + 5)]
    for array in many:
        run(session, array)
    run(session, many[-1])
    run(session, many[0])
    assert seen[-3:] == [0, 0, LEAST_BYTES]


def test_what_was_sent_is_not_remembered_for_ever(doubled: tuple[Isolated, Session], monkeypatch: pytest.MonkeyPatch) -> None:
    (_, session), seen, (one, other) = doubled, sent(monkeypatch), (fixed(3), fixed(4))
    monkeypatch.setattr(process, "_MOST_THERE", 1)
    for array in (one, other, one, other):
        run(session, array)
    assert seen == [LEAST_BYTES, LEAST_BYTES, 0, LEAST_BYTES]
