"""The real process: it starts, stops in order, refuses what is unsafe, and keeps secrets to itself."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fixtures.scenes import EVALUATION_SEED, make_clip, make_scene
from locara_label import images
from locara_label.datasets.convert import open_source
from locara_label.settings import load
from locara_label.video.writing import write_video
from tests.cli.served import Served, environment, serve

SECRETS = ("very-secret-key-0123456789", "very-secret-password")


@pytest.fixture
def granted(tmp_path: Path) -> dict[str, str]:
    """A picture that requests may read, and the setting that says so."""
    images.write_png(tmp_path / "scene.png", make_scene(EVALUATION_SEED, (360, 480)).image)
    return {"LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(tmp_path)])}


def refused(folder: Path, *words: str, **variables: str) -> tuple[int, str]:
    """Exit code and standard error of a server that does not start."""
    line = [sys.executable, "-m", "locara_label", "serve", *words]
    done = subprocess.run(line, cwd=folder, env=environment(folder, **variables), capture_output=True, timeout=120, check=False)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def stopped_while_asked(server: Served, body: dict[str, Any], patience_s: float) -> tuple[int, Any]:
    """The answer to a request on a new picture; the server is told to stop once that is encoded, and does."""
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(server.post, "/v1/mask_from_prompt", body)
        while "locara_encodes 1.0" not in server.get("/metrics")[1]:
            time.sleep(0.005)
        server.process.terminate()
        assert server.process.wait(patience_s) == 0
        return answer.result(patience_s)


def test_it_starts_answers_and_stops(tmp_path: Path, granted: dict[str, str]) -> None:
    with serve(tmp_path, "--prelabel-model", "mini", **granted) as server:
        status, ready = server.get("/ready")
        assert (status, ready["ready"], ready["models"]["prelabels"]) == (200, True, "mask2former-mini")
        status, found = server.post("/v1/segment", {"image": str(tmp_path / "scene.png")})
        assert (status, found["size"]) == (200, [360, 480])
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
    assert "Traceback" not in server.said()


@pytest.mark.slow
def test_a_request_under_way_is_answered_before_it_stops(tmp_path: Path, granted: dict[str, str]) -> None:
    prompts = [{"box": [10 + n, 10, 300 + n, 300]} for n in range(4)]
    with serve(tmp_path, **granted) as server:
        status, found = stopped_while_asked(server, {"image": str(tmp_path / "scene.png"), "prompts": prompts}, 25)
    assert status == 200, (found, server.said())
    assert (status, len(found["masks"])) == (200, 4)


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_told_so(tmp_path: Path, granted: dict[str, str]) -> None:
    """`STOP_S` and `CLOSE_S` bound the stop, not the request."""
    prompts = [{"box": [10 + n % 40, 10 + n // 40, 300, 300]} for n in range(1000)]
    with serve(tmp_path, LOCARA_SERVER__CLICK_S="600", **granted) as server:
        status, found = stopped_while_asked(server, {"image": str(tmp_path / "scene.png"), "prompts": prompts}, 40)
    assert (status, found["error"]["code"]) == (503, "run.cancelled")
    assert "Traceback" not in server.said()


def test_a_taken_port_is_a_coded_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused(tmp_path, "--port", str(port))
    assert code == 1
    assert f"error [run.listen]: cannot listen on 127.0.0.1, port {port}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "option.basic_auth"),
        (["--host", "0.0.0.0", "--basic-auth", "nobody"], 2, "option.setting"),
        (["--host", "192.0.2.1", "--basic-auth", "me:pw"], 1, "run.listen"),
        (["--model", "nothing-of-that-name"], 1, "model.unknown"),
        (["--prelabel-model", "classic"], 2, "option.model"),
        (["--model", "sam2.1-hiera-tiny"], 1, "model.not_downloaded"),
        (["--port", "70000"], 2, "70000"),
    ],
)  # fmt: skip
def test_what_does_not_start_says_why(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    found, said = refused(tmp_path, *words)
    assert found == code
    assert told in said
    assert "Traceback" not in said


def everything(server: Served, folder: Path) -> None:
    """Requests of which most fail, some with credentials in their own addresses."""
    for image in (str(folder / "none.png"), "http://192.0.2.1/a.png?X-Amz-Signature=very-secret-signature&token=very-secret-one",
                  "/data/upload/1/a.png"):  # fmt: skip
        server.post("/v1/mask_from_prompt", {"image": image, "points": [[1, 1]]})
    server.post("/setup", {"project": "1.1", "schema": "<View/>", "access_token": "very-secret-token", "hostname": "x"})


def test_secrets_stay_out_of_the_log(tmp_path: Path, granted: dict[str, str]) -> None:
    key, password = SECRETS
    secret = {"LOCARA_LABEL_STUDIO_API_KEY": key, "LOCARA_BASIC_AUTH": f"me:{password}"}
    with serve(tmp_path, "--label-studio-url", "http://127.0.0.1:9", **secret, **granted) as server:
        assert server.get("/versions")[0] == 401
        everything(server, tmp_path)
    with serve(
        tmp_path, "--log-json", "--label-studio-url", "http://127.0.0.1:9", LOCARA_LABEL_STUDIO_API_KEY=key, **granted
    ) as open_:
        everything(open_, tmp_path)
    assert "very-secret" not in server.said() + open_.said()


def test_a_refused_config_is_told_in_the_status_line(tmp_path: Path) -> None:
    schema = '<View><Image name="Größe\n" value="$i"/></View>'
    with serve(tmp_path) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        connection.request("POST", "/setup", json.dumps({"schema": schema}), {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 422
        assert answer.reason.startswith("No tag can hold a mask of 'Gr&#246;&#223;e")
        assert "Gr" in json.loads(answer.read())["error"]["message"]
        connection.close()


def test_a_log_for_machines(tmp_path: Path, granted: dict[str, str]) -> None:
    with serve(tmp_path, "--log-json", **granted) as server:
        everything(server, tmp_path)
    lines = [json.loads(line) for line in server.said().splitlines() if line.startswith("{")]
    assert len(lines) >= len(server.said().splitlines()) - 1  # the first one is for people and comes before the log
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    assert "fetch.not_found" in {line.get("code") for line in lines}


GUIDE = (Path(__file__).parents[2] / "docs/label-studio.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.slow
def test_the_guides_requests_run(tmp_path: Path, granted: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    curl = shutil.which("curl")
    with serve(tmp_path, "--prelabel-model", "mini", **granted) as server:

        def here(block: str) -> str:
            return block.replace("http://localhost:9090", server.url).replace(
                "/data/pictures/photo.png", str(tmp_path / "scene.png")
            )

        for block in blocks("python"):
            exec(compile(here(block), "label-studio.md", "exec"), {})
        assert "(360, 480)" in capsys.readouterr().out
        requests = [here(block) for block in blocks("sh") if "curl" in block]
        assert requests
        for block in requests if curl else ():
            done = subprocess.run(["sh", "-ec", block], capture_output=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count(b'"masks":') == 3
            assert b'"instances":' in done.stdout


def test_the_guides_settings_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [text] = blocks("toml")
    (tmp_path / "locara.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    settings = load()
    assert (settings.server.despeckle, settings.capabilities.hosts[0]) == (16, "images.example.com")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, (frame.image for frame in make_clip(EVALUATION_SEED, 40, (144, 192)).frames), 20)
    return path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_requests_of_the_page_on_masklets_run(tmp_path: Path, granted: dict[str, str], clip: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/masklets.md").read_text("utf-8")
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "curl" in block]
    with serve(tmp_path, **granted) as server:
        here = block.replace("http://localhost:9090", server.url).replace("/data/videos/clip.mp4", str(clip))
        done = subprocess.run(["sh", "-ec", here], cwd=tmp_path, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"event: frame") == 20 + 15  # frames 1 to 20, then 10, 12 ... 38
    assert done.stdout.count(b'{"state":"done"') == 2
    assert b'"locked":[8]' in done.stdout
    assert b'"name":"sent"' in done.stdout
    assert b'"pointer":null' in done.stdout
    assert done.stdout.endswith(b'"closed":true}')
    with open_source(tmp_path / "masklets.json", "youtube-vis") as source:
        assert [masklet.category.name for video in source.videos() for masklet in video.masklets] == ["ring"]


def test_a_run_through_a_video_does_not_hold_up_the_end(tmp_path: Path, granted: dict[str, str], clip: Path) -> None:
    with serve(tmp_path, "--video-model", "classic", **granted) as server:
        session = server.post("/v1/video/sessions", {"video": str(clip)})[1]["session"]
        path = f"/v1/video/sessions/{session}"
        server.post(f"{path}/prompt", {"frame": 0, "box": [40, 30, 120, 110]})
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        connection.request("POST", f"{path}/propagate", b"{}", {"content-type": "application/json"})
        answer = connection.getresponse()
        while answer.readline() != b"event: frame\n":
            pass
        server.process.terminate()
        assert b'event: done\ndata: {"state":"cancelled"' in answer.read()
        connection.close()
        assert server.process.wait(60) == 0
    assert "Traceback" not in server.said()
