from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from echo_model import EchoModel

from locara_label import images
from locara_label.engine.embeddings import Budget, Embeddings
from locara_label.engine.engine import Bounds, Engine, Picture
from locara_label.engine.lanes import Priority
from locara_label.engine.tickets import Ticket
from locara_label.errors import BadImage, BadOption, Cancelled, DeadlineExceeded, FetchFailed, QueueFull
from locara_label.models.base import Limit
from locara_label.types import Mask, Point, Prompt


def picture_of(shade: int) -> tuple[np.ndarray, bytes]:
    image = np.zeros((8, 12, 3), np.uint8)
    image[shade // 12 % 8, shade % 12] = 200
    image[7, 11] = shade
    image[0, 0] = 0
    return image, images.encode_png(image)


def click(x: float, y: float) -> list[Prompt]:
    return [Prompt((Point(x, y),))]


@pytest.fixture
def model() -> EchoModel:
    return EchoModel()


@pytest.fixture
def engine(model: EchoModel):
    engine = Engine(model)
    yield engine
    model.go_on.set()
    engine.close()


def test_a_click_is_answered_with_a_mask_of_the_picture(engine: Engine) -> None:
    image, content = picture_of(5)
    answer = engine.prompt(Picture.of(content), click(3, 4), Ticket(5))
    expected = image[..., 0] > 0
    expected[4, 3] = True
    assert answer.size == (8, 12)
    assert np.array_equal(answer.candidates[0][0].mask.to_array(), expected)


def test_prompts_may_wait_for_the_size(engine: Engine) -> None:
    asked = []
    engine.prompt(Picture.of(picture_of(5)[1]), lambda size: asked.append(size) or click(1, 1), Ticket(5))
    assert asked == [(8, 12)]


def test_the_second_click_neither_reads_nor_encodes(engine: Engine, model: EchoModel) -> None:
    content, reads = picture_of(5)[1], []
    picture = Picture("task/1", lambda _: reads.append(1) or content)
    for x in range(3):
        engine.prompt(picture, click(x, 1), Ticket(5))
    assert (len(reads), len(model.encoded), engine.counts.encodes, engine.counts.embedding_hits) == (1, 1, 1, 2)


def test_ten_clicks_at_once_on_a_new_picture_encode_once(engine: Engine, model: EchoModel) -> None:
    model.go_on.clear()
    content = picture_of(9)[1]
    with ThreadPoolExecutor(10) as users:
        same_key = [users.submit(engine.prompt, Picture("task/1", lambda _: content), click(x, 1), Ticket(20)) for x in range(5)]
        other_key = [users.submit(engine.prompt, Picture("task/2", lambda _: content), click(x, 1), Ticket(20)) for x in range(5)]
        assert model.entered.wait(5)
        model.go_on.set()
        answers = [future.result() for future in same_key + other_key]
    assert len(model.encoded) == 1
    assert {answer.picture for answer in answers} == set(model.encoded)


def test_a_thousand_interleaved_clicks_get_their_own_pictures(engine: Engine) -> None:
    pictures = [picture_of(10 + i) for i in range(8)]

    def ask(number: int) -> bool:
        image, content = pictures[number % 8]
        x, y = number % 11, number % 7
        answer = engine.prompt(Picture(f"task/{number % 8}", lambda _: content), click(x, y), Ticket(60))
        expected = image[..., 0] > 0
        expected[y, x] = True
        return answer.candidates[0][0].mask == Mask.from_array(expected)

    with ThreadPoolExecutor(8) as users:
        assert all(users.map(ask, range(1000)))
    assert engine.counts.encodes == 8


def test_a_newer_click_on_the_same_object_replaces_the_older(engine: Engine, model: EchoModel) -> None:
    picture = Picture.of(picture_of(5)[1])
    engine.prompt(picture, click(0, 1), Ticket(5))
    model.go_on.clear()
    model.entered.clear()
    with ThreadPoolExecutor(2) as users:
        older = users.submit(engine.prompt, picture, click(1, 1), Ticket(20), ("anna", "region"))
        assert model.entered.wait(5)
        newer = users.submit(engine.prompt, picture, click(2, 1), Ticket(20), ("anna", "region"))
        with pytest.raises(Cancelled) as caught:
            older.result(10)
        model.go_on.set()
        assert newer.result(10).candidates
    assert caught.value.code == "run.replaced"


def test_another_users_click_replaces_nothing(engine: Engine) -> None:
    picture = Picture.of(picture_of(5)[1])
    with ThreadPoolExecutor(2) as users:
        both = [users.submit(engine.prompt, picture, click(1, 1), Ticket(20), (name, "region")) for name in ("anna", "ben")]
        assert all(future.result(10).candidates for future in both)


def test_a_replaced_click_leaves_the_encode_to_others(engine: Engine, model: EchoModel) -> None:
    model.go_on.clear()
    picture = Picture.of(picture_of(5)[1])
    with ThreadPoolExecutor(2) as users:
        older = users.submit(engine.prompt, picture, click(1, 1), Ticket(20), "same")
        assert model.entered.wait(5)
        newer = users.submit(engine.prompt, picture, click(2, 1), Ticket(20), "same")
        with pytest.raises(Cancelled):
            older.result(10)
        model.go_on.set()
        newer.result(10)
    assert len(model.encoded) == 1


def test_a_deadline_ends_the_wait_but_not_the_encode(engine: Engine, model: EchoModel) -> None:
    model.go_on.clear()
    picture = Picture.of(picture_of(5)[1])
    with pytest.raises(DeadlineExceeded):
        engine.prompt(picture, click(1, 1), Ticket(0.05))
    model.go_on.set()
    engine.prompt(picture, click(1, 1), Ticket(5))
    assert len(model.encoded) == 1


def test_too_many_new_pictures_are_refused(model: EchoModel) -> None:
    engine = Engine(model, bounds=Bounds(waiting=2))
    model.go_on.clear()
    with ThreadPoolExecutor(12) as users:
        futures = [
            users.submit(engine.prompt, Picture(str(i), lambda _, i=i: picture_of(i)[1]), click(1, 1), Ticket(20))
            for i in range(12)
        ]
        refused = [
            future for future in futures if isinstance(future.exception(timeout=None) if future.done() else None, QueueFull)
        ]
        deadline = threading.Event()
        while not refused and not deadline.wait(0.01):
            refused = [future for future in futures if future.done()]
        model.go_on.set()
        outcomes = [future.exception() for future in futures]
    engine.close()
    assert any(isinstance(outcome, QueueFull) and outcome.retry_after_s > 0 for outcome in outcomes)
    assert all(outcome is None or isinstance(outcome, QueueFull) for outcome in outcomes)


def test_a_picture_that_fails_is_told_to_each_and_tried_again(engine: Engine) -> None:
    outcomes = iter([FetchFailed("gone"), b"nonsense", picture_of(5)[1]])

    def read(_: Limit) -> bytes:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    picture = Picture("task/1", read)
    with pytest.raises(FetchFailed, match="gone"):
        engine.prompt(picture, click(1, 1), Ticket(5))
    with pytest.raises(BadImage):
        engine.prompt(picture, click(1, 1), Ticket(5))
    assert engine.prompt(picture, click(1, 1), Ticket(5)).candidates


def test_without_models_the_engine_says_so() -> None:
    engine = Engine()
    picture = Picture.of(picture_of(1)[1])
    with pytest.raises(BadOption):
        engine.prompt(picture, click(1, 1), Ticket(1))
    with pytest.raises(BadOption):
        engine.segment(picture, None, Ticket(1))
    engine.warm(picture)
    engine.close()


def test_warming_makes_the_first_click_a_hit(engine: Engine, model: EchoModel) -> None:
    picture = Picture.of(picture_of(5)[1])
    engine.warm(picture)
    engine.prompt(picture, click(1, 1), Ticket(5))
    engine.warm(picture)
    assert len(model.encoded) == 1


def test_a_click_overtakes_pictures_that_nobody_asked_for(engine: Engine, model: EchoModel) -> None:
    model.go_on.clear()
    warmed = [Picture.of(picture_of(20 + i)[1]) for i in range(6)]
    for picture in warmed:
        engine.warm(picture)
    assert model.entered.wait(5)
    with ThreadPoolExecutor(1) as user:
        future = user.submit(engine.prompt, warmed[5], click(1, 1), Ticket(20))
        while not engine.lanes.encoding.depth_at(Priority.CLICK):
            time.sleep(0.001)
        model.go_on.set()
        picture_hash = future.result(10).picture
    assert model.encoded.index(picture_hash) <= 1


def test_embeddings_of_another_server_are_used(tmp_path, model: EchoModel) -> None:
    content = picture_of(5)[1]
    first = Engine(model, embeddings=Embeddings(folder=tmp_path))
    first.prompt(Picture.of(content), click(1, 1), Ticket(5))
    second = Engine(model, embeddings=Embeddings(folder=tmp_path))
    answer = second.prompt(Picture.of(content), click(1, 1), Ticket(5))
    assert len(model.encoded) == 1
    assert answer.size == (8, 12)
    first.close()
    second.close()


def test_a_budget_too_small_for_one_embedding_still_answers(model: EchoModel) -> None:
    engine = Engine(model, embeddings=Embeddings(Budget(bytes=10)))
    for _ in range(2):
        assert engine.prompt(Picture.of(picture_of(5)[1]), click(1, 1), Ticket(5)).candidates
    engine.close()
    assert len(model.encoded) == 2


def test_a_closed_engine_refuses(engine: Engine) -> None:
    engine.close()
    with pytest.raises(QueueFull):
        engine.prompt(Picture.of(picture_of(5)[1]), click(1, 1), Ticket(5))


def test_pictures_encoded_ahead_keep_no_thread_from_a_click(engine: Engine, model: EchoModel) -> None:
    order: list[str] = []
    hold = threading.Event()
    engine.lanes.encoding.submit(lambda: hold.wait(20))
    pictures = [Picture.of(picture_of(20 + i)[1]) for i in range(6)]
    for picture in pictures[:5]:
        engine.warm(picture)
    while engine.lanes.encoding.depth < 5:
        threading.Event().wait(0.01)
    engine.lanes.encoding.submit(lambda: order.append(f"pre-label after {len(model.encoded)}"), Priority.PRELABEL)
    with ThreadPoolExecutor(1) as users:
        clicked = users.submit(engine.prompt, pictures[5], click(1, 1), Ticket(20))
        while engine.lanes.encoding.depth < 7 and not clicked.done():
            threading.Event().wait(0.01)
        hold.set()
        assert clicked.result(20).picture == model.encoded[0]
    until_idle(engine)
    assert order == ["pre-label after 1"]
    assert len(model.encoded) == 6


def test_a_click_on_a_picture_that_waits_to_be_encoded_ahead_goes_first(engine: Engine, model: EchoModel) -> None:
    hold = threading.Event()
    engine.lanes.encoding.submit(lambda: hold.wait(20))
    pictures = [Picture.of(picture_of(30 + i)[1]) for i in range(3)]
    for picture in pictures:
        engine.warm(picture)
    while engine.lanes.encoding.depth < 3:
        threading.Event().wait(0.01)
    with ThreadPoolExecutor(1) as users:
        clicked = users.submit(engine.prompt, pictures[2], click(1, 1), Ticket(20))
        while not clicked.done() and engine.lanes.encoding._jobs[0][0] != Priority.CLICK:
            threading.Event().wait(0.01)
        hold.set()
        assert clicked.result(20).picture == model.encoded[0]


def test_what_is_encoded_ahead_takes_no_place_from_clicks(model: EchoModel) -> None:
    engine = Engine(model, bounds=Bounds(waiting=2))
    hold = threading.Event()
    engine.lanes.encoding.submit(lambda: hold.wait(20))
    for i in range(2):
        engine.warm(Picture.of(picture_of(40 + i)[1]))
    while engine.lanes.encoding.depth < 2:
        threading.Event().wait(0.01)
    with ThreadPoolExecutor(1) as users:
        clicked = users.submit(engine.prompt, Picture.of(picture_of(50)[1]), click(1, 1), Ticket(20))
        while engine.lanes.encoding.depth < 3 and not clicked.done():
            threading.Event().wait(0.01)
        hold.set()
        assert clicked.result(20).candidates
    engine.close()


def until_idle(engine: Engine) -> None:
    engine.lanes.encoding.submit(lambda: None, Priority.WARM).result(20)
