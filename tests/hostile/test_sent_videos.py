"""Broken videos as bodies of requests: each is opened or refused with a code, and nothing of them stays."""

from __future__ import annotations

import itertools

import pytest

from tests.hostile import videos
from tests.hostile.bodies import attacked

COUNT = 20
pytestmark = pytest.mark.slow


def test_no_broken_video_is_a_failure_of_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    mutated = (case for case in videos.cases(400, seed=5) if case.name[0].isdigit() and " of " in case.name)
    outcomes = set()
    with attacked() as (client, service):
        for case in itertools.islice(mutated, COUNT):
            path = case.write(tmp_path_factory.mktemp("case"))
            reply = client.send("POST", "/v1/video/sessions", path.read_bytes(), {"content-type": "video/mp4"})
            assert reply.status in {200, 422}, (case.name, reply.body)
            outcomes.add(reply.status)
            if reply.status == 200:
                assert client.send("DELETE", f"/v1/video/sessions/{reply.json()['session']}").status == 200
            else:
                assert reply.code in videos.CODES, (case.name, reply.body)
        assert len(service.video_sessions) == service.video_files.nbytes == 0
    assert outcomes == {200, 422}
