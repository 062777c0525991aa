import threading
import time
from contextlib import closing

import pytest

from locara_label.batch.prefetch import ahead


def test_order_is_kept():
    def load(key):
        time.sleep(0.002 * (key % 3))
        return key * 2

    assert list(ahead(range(20), load, threads=3, depth=4)) == [(key, key * 2) for key in range(20)]


def test_no_more_is_loaded_than_asked_for():
    loaded = []
    with closing(ahead(range(100), loaded.append, threads=1, depth=2)) as values:
        next(values)
        time.sleep(0.05)
        assert len(loaded) <= 3
    assert len(loaded) <= 3


def test_loading_happens_while_the_consumer_works():
    threads = set()
    list(ahead(range(5), lambda key: threads.add(threading.current_thread().name), threads=2))
    assert threading.current_thread().name not in threads


def test_an_error_reaches_the_consumer():
    def load(key):
        if key == 3:
            raise OSError("bad")
        return key

    values = ahead(range(10), load)
    assert [next(values)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="bad"):
        next(values)


def test_nothing():
    assert list(ahead([], str)) == []
