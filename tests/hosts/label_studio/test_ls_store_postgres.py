"""What holds for the store in a real PostgreSQL: its own schema, other releases, faults of the server, claims, passwords."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from locara_label.errors import BadOption, StoreFailed
from locara_label.hosts.label_studio.masklets import MaskletStore
from locara_label.hosts.label_studio.store_tables import VERSION
from tests.hosts.label_studio.storing import COUNT, PLACE, frame, record, refused, wish
from tests.postgres import PASSWORD, Postgres, running

CLAIM = """
import sys
from locara_label.hosts.label_studio.masklets import MaskletStore
with MaskletStore(sys.argv[1]) as store, store.claim("3/14/video") as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""
WRITE = """
import sys
from locara_label.hosts.label_studio.masklets import MaskletStore
from tests.hosts.label_studio.storing import PLACE, frame
with MaskletStore(sys.argv[1]) as store:
    for number in range(40):
        store.add(PLACE, [frame(number)])
        print(number, flush=True)
"""
ROOT = Path(__file__).parents[3]


def name_of(address: str) -> str:
    return address.rpartition("/")[2]


def child(script: str, address: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", script, address]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_other_tables_of_the_database_are_not_ours(postgres: Postgres) -> None:
    address = postgres.database()
    postgres.run("CREATE TABLE frames (theirs int)", name_of(address))
    with MaskletStore(address) as store:
        store.replace(record(), [frame(1)])
        assert store.frames(PLACE) == (frame(1),)
    assert postgres.run("SELECT count(*) FROM frames", name_of(address)) == [(0,)]
    assert postgres.run("SELECT version FROM locara_label.store", name_of(address)) == [(VERSION,)]


def test_a_store_of_a_later_release_is_refused_and_left_alone(postgres: Postgres) -> None:
    address = postgres.database()
    MaskletStore(address).close()
    postgres.run(f"UPDATE locara_label.store SET version = {VERSION + 1}", name_of(address))
    assert f"version {VERSION + 1}" in refused("store.newer", StoreFailed, MaskletStore, address)
    assert postgres.run("SELECT version FROM locara_label.store", name_of(address)) == [(VERSION + 1,)]


def test_a_store_of_an_earlier_version_gets_what_is_missing(postgres: Postgres) -> None:
    address = postgres.database()
    with MaskletStore(address) as store:
        store.replace(record(), [frame(1)])
    for statement in ("DROP TABLE locara_label.wishes, locara_label.sessions", "UPDATE locara_label.store SET version = 1"):
        postgres.run(statement, name_of(address))
    for _ in range(2):
        with MaskletStore(address) as store:
            store.put_wish(3, 14, wish("car"))
            assert (len(store.wishes()), store.frames(PLACE)) == (1, (frame(1),))


@pytest.mark.parametrize(
    "address", ["postgresql://h", "mysql://u:canary-7f3a@h/d", "canary-7f3a", "postgresql://u:canary-7f3a@h:x/d"]
)
def test_what_is_no_address_is_refused_without_its_password(address: str) -> None:
    assert PASSWORD not in refused("option.store", BadOption, MaskletStore, address)


def test_failures_are_coded_and_never_show_the_password(postgres: Postgres) -> None:
    address = postgres.database()
    for bad, code in (
        (address.replace(PASSWORD, f"{PASSWORD}0"), "store.unreachable"),
        (address + "_missing", "store.unreachable"),
        (address.replace(f":{postgres.port}", ":1"), "store.unreachable"),
    ):
        said = refused(code, StoreFailed, MaskletStore, bad)
        assert PASSWORD not in said
        assert "127.0.0.1" in said
    name = name_of(address)
    with MaskletStore(address) as store:
        postgres.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        said = refused("store.refused", StoreFailed, store.put, record(label="canary-label"))
        assert PASSWORD not in said
        assert "canary-label" not in said


def test_a_row_that_another_holds_is_waited_for_and_told(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locara_label.hosts.label_studio.store_postgres._LOCK_S", 1)
    address = postgres.database()
    with MaskletStore(address) as one, MaskletStore(address) as two:
        one.put(record())
        with one.database.writing() as connection:
            connection.exec_driver_sql("SELECT * FROM locara_label.masklets FOR UPDATE")
            refused("store.busy", StoreFailed, two.add, PLACE, [frame(1)])
            assert two.read(PLACE) == record()
        two.add(PLACE, [frame(1)])


def test_what_one_process_claims_is_free_once_it_is_killed(postgres: Postgres) -> None:
    address = postgres.database()
    with MaskletStore(address) as store, child(CLAIM, address) as other:
        assert other.stdout.readline() == "True\n"
        with store.claim("3/14/video") as mine, store.claim("3/15/video") as another:
            assert (mine, another) == (False, True)
        other.kill()
        other.wait()
        for _ in range(200):
            with store.claim("3/14/video") as mine:
                if mine:
                    break
        assert mine


def test_a_writer_that_is_killed_leaves_what_it_was_told_is_stored(postgres: Postgres) -> None:
    address = postgres.database()
    with MaskletStore(address) as store:
        store.put(record())
        with child(WRITE, address) as other:
            said = [other.stdout.readline() for _ in range(5)]
            other.kill()
            said += other.stdout.readlines()
        told = [int(line) for line in said if line.endswith("\n")]
        assert [one.frame for one in store.frames(PLACE)][: len(told)] == told
        assert len(told) <= len(store.frames(PLACE)) <= min(COUNT, len(told) + 1)


@pytest.mark.slow
def test_a_database_server_that_dies_and_comes_back_loses_nothing_that_was_told(postgres_programs: Path) -> None:
    with running(postgres_programs) as postgres, MaskletStore(postgres.database()) as store:
        for number, how in enumerate((signal.SIGINT, signal.SIGQUIT)):
            store.replace(record(), [frame(number)])
            postgres.stop(how)
            refused("store.unreachable", StoreFailed, store.add, PLACE, [frame(2)])
            refused("store.unreachable", StoreFailed, store.frames, PLACE)
            postgres.start()
            assert store.frames(PLACE) == (frame(number),)
            store.add(PLACE, [frame(2)])
            assert store.frames(PLACE) == (frame(number), frame(2))
