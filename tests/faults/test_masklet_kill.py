import os
import time

import pytest

from tests.faults.masklet_kill import kill_often

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def test_a_killed_writer_leaves_whole_calls(tmp_path):
    assert kill_often(tmp_path, kills=3, seed=1) > 3


@pytest.mark.slow
def test_a_writer_of_a_database_killed_often_leaves_whole_calls(tmp_path, postgres):
    address = postgres.database()
    busy = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{address.rpartition('/')[2]}'"

    def settle():
        ends = time.monotonic() + 30
        while postgres.run(busy) != [(0,)]:
            assert time.monotonic() < ends, "the writer's connection is still there"
            time.sleep(0.02)

    assert kill_often(tmp_path, 6, 3, address, settle) > 6


@pytest.mark.slow
def test_a_writer_killed_twenty_times_leaves_whole_calls(tmp_path):
    assert kill_often(tmp_path, kills=20, seed=2) > 20
