"""The decoding process: it has no secrets, ends with its owner, and takes nobody down with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from locara_label.errors import BadVideo, Cancelled
from locara_label.video.decoded import DecodedSource
from locara_label.video.limits import VideoLimits
from locara_label.video.opening import open_video_file
from locara_label.video.video import Video
from tests.hostile.videos import children
from tests.video.numbered import number_in, numbers_in, write_clip

COUNT = 40
LONG_S = 60.0


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "h264.mp4", COUNT, options={"g": "12", "bf": "2"})


def pid_of(video: Video) -> int:
    assert isinstance(video.source, DecodedSource)
    return video.source.pid


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_for(what: str, true: object) -> None:
    deadline = time.monotonic() + LONG_S
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nothing_is_left_over(clip: Path) -> None:
    before, files = children(), open_files()
    for _ in range(3):
        with open_video_file(clip) as video:
            assert pid_of(video) in children()
        with pytest.raises(BadVideo):
            open_video_file(clip, VideoLimits(max_frames=3))
    open_video_file(clip)  # nobody closes this one
    assert children() == before
    assert open_files() == files


def test_its_environment_has_no_secrets(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCARA_TOKEN", "canary")
    with open_video_file(clip) as video:
        assert b"canary" not in Path(f"/proc/{pid_of(video)}/environ").read_bytes()


def test_it_is_confined(clip: Path) -> None:
    with open_video_file(clip, VideoLimits(memory_bytes=1 << 30)) as video:
        lines = Path(f"/proc/{pid_of(video)}/limits").read_text().splitlines()
        limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
        assert limits["Max address space"] == [str(1 << 30)] * 2
        assert limits["Max file size"] == ["0", "0"]
        assert limits["Max open files"] == ["16", "16"]
        assert limits["Max processes"] == ["0", "0"]
        assert limits["Max cpu time"][0] != "unlimited"
        assert str(clip) not in {os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()}


def test_modules_beside_the_caller_are_not_imported(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with open_video_file(clip) as video:
        assert number_in(video.frame(7)) == 7


def test_a_killed_decoder_is_one_coded_error(clip: Path) -> None:
    with open_video_file(clip) as video:
        os.kill(pid_of(video), signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(BadVideo, match="SIGKILL") as caught:
                video.frame(3)
            assert caught.value.code == "video.crashed"


def test_a_decoder_that_hangs_is_ended(clip: Path) -> None:
    with open_video_file(clip, VideoLimits(max_seconds=2)) as video:
        os.kill(pid_of(video), signal.SIGSTOP)
        with pytest.raises(BadVideo) as caught:
            video.frame(3)
        assert caught.value.code == "video.too_slow"
        assert not is_alive(pid_of(video))


def test_too_little_memory_is_one_coded_error(clip: Path) -> None:
    with pytest.raises(BadVideo) as caught:
        open_video_file(clip, VideoLimits(memory_bytes=32 << 20))
    assert caught.value.code in {"video.no_memory", "video.crashed", "video.corrupt"}


def test_closing_frees_whoever_waits(clip: Path) -> None:
    video, raised = open_video_file(clip), []
    os.kill(pid_of(video), signal.SIGSTOP)

    def wait() -> None:
        try:
            video.frame(3)
        except Cancelled as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.2)
    video.close()
    waiter.join(LONG_S)
    assert len(raised) == 1


OWNER = """
import sys, time
from locara_label.video.opening import open_video_file
video = open_video_file(sys.argv[1])
print(video.source.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_when_its_owner_is_killed(clip: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.kill()
    wait_for("the decoding process outlives its owner", lambda: not is_alive(pid))


def test_walks_and_single_frames_may_mix(clip: Path) -> None:
    with open_video_file(clip) as video:
        forwards, backwards = video.frames(), video.frames(step=-1)
        for number in range(COUNT):
            assert number_in(next(forwards)) == number
            assert number_in(next(backwards)) == COUNT - 1 - number
            assert number_in(video.frame(number * 7 % COUNT)) == number * 7 % COUNT


def test_walks_left_in_the_middle_cost_nothing(clip: Path) -> None:
    with open_video_file(clip) as video:
        for number in range(COUNT):
            assert number_in(next(video.frames(number))) == number
        walks = [video.frames(number) for number in range(12)]
        assert [number_in(next(walk)) for walk in walks] == list(range(12))
        assert number_in(video.frame(39)) == 39


def test_threads_share_a_video(clip: Path) -> None:
    found: dict[int, list[int]] = {}

    def look(worker: int, video: Video) -> None:
        found[worker] = numbers_in(video.frames(step=-1 if worker % 2 else 1))

    with open_video_file(clip) as video:
        workers = [threading.Thread(target=look, args=(worker, video)) for worker in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(LONG_S)
    assert found == {n: list(range(COUNT))[:: -1 if n % 2 else 1] for n in range(4)}


def test_pictures_are_the_callers_own(clip: Path) -> None:
    with open_video_file(clip) as video:
        kept = list(video.frames())
        kept[0][:] = 0
        assert numbers_in(kept[1:]) == list(range(1, COUNT))
        assert number_in(video.frame(1)) == 1
    assert numbers_in(kept[1:]) == list(range(1, COUNT))


WATCHED = """
import sys
from pathlib import Path
from locara_label.video.opening import open_video_file
from tests.peak_memory import peak_rss_bytes
def peak(pid):
    return peak_rss_bytes(pid) // 1_000_000
with open_video_file(sys.argv[1]) as video:
    total = sum(1 for picture in video.frames())
    total += sum(1 for picture in video.frames(step=-1))
    print(total, peak("self"), peak(video.source.pid))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = {}
    for count in (200, 2000):
        path = write_clip(tmp_path / f"{count}.mp4", count, size=(360, 640), options={"preset": "ultrafast", "g": "100"})
        command = [sys.executable, "-c", WATCHED, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        total, *peaks[count] = map(int, done.stdout.split())
        assert total == 2 * count
    assert peaks[2000][0] <= peaks[200][0] + 50
    assert peaks[2000][1] <= peaks[200][1] + 50
