"""Two servers of ours in processes of their own behind a real nginx, and clicks of many people on them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.scenes import EVALUATION_SEED, make_scene
from locara_label import images
from locara_label.hosts.label_studio.regions import read_regions
from locara_label.models.classic import Classic
from locara_label.types import Mask, Point, Prompt
from tests.cli.served import Served, serve

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "plugins/label_studio/nginx.conf.template"
CREDENTIALS = "labels:secret"
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="drawn" toName="image"><Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Object"/></KeyPointLabels></View>'
)
AROUND = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/locara.conf;
}}
"""
_START_S = 20

Ask = Callable[[str, str, bytes], tuple[int, bytes]]
"""Method, path and body to status and body."""


def program() -> Path | None:
    """Of nginx: the one that LOCARA_NGINX names, or Debian's."""
    if named := os.environ.get("LOCARA_NGINX"):
        return Path(named)
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return None if found is None else Path(found)


@dataclass(frozen=True)
class Replicas:
    """Servers behind one address.

    Attributes:
        port: of nginx.
        servers: behind it.
        access: nginx's log of requests.
    """

    port: int
    servers: list[Served]
    access: Path

    def kill(self, number: int) -> None:
        """Without a word, as the system's memory killer does it."""
        self.servers[number].process.send_signal(signal.SIGKILL)
        self.servers[number].process.wait()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """What nginx answers."""
        return asked(self.port, method, path, body)

    def post(self, path: str, content: Any) -> tuple[int, Any]:
        status, body = self.ask("POST", path, json.dumps(content).encode())
        return status, json.loads(body)

    def places(self) -> list[list[str]]:
        """The replicas that each request so far was sent to, in turn."""
        lines = self.access.read_text().splitlines()
        return [re.findall(r"127\.0\.0\.1:(\d+)", line.split(" ", 5)[5]) for line in lines]


def headers() -> dict[str, str]:
    """Of a request that says who asks."""
    return {"content-type": "application/json", "authorization": f"Basic {base64.b64encode(CREDENTIALS.encode()).decode()}"}


def asked(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of an answer on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=150)
    try:
        connection.request(method, path, body, headers())
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def running(nginx: Path, folder: Path, count: int = 2, **variables: str) -> Iterator[Replicas]:
    """Replicas that share a folder of embeddings, and what `variables` say."""
    shared = {
        "LOCARA_SERVER__EMBEDDING_DIR": str(folder / "embeddings"),
        "LOCARA_CAPABILITIES__FOLDERS": json.dumps([str(folder)]),
        "LOCARA_BASIC_AUTH": CREDENTIALS,
        "LOCARA_SERVER__TEXT_MODEL": "none",
    }
    with ExitStack() as stack:
        servers = []
        for number in range(count):
            own = folder / f"replica-{number}"
            own.mkdir()
            servers.append(stack.enter_context(serve(own, LOCARA_DATA_DIR=str(own / "data"), **shared, **variables)))
        port, access = stack.enter_context(proxying(nginx, folder / "nginx", [one.url for one in servers]))
        yield Replicas(port, servers, access)


@contextmanager
def proxying(nginx: Path, folder: Path, urls: list[str]) -> Iterator[tuple[int, Path]]:
    """The configuration as it is deployed, on a free port of this machine; its port and its log."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    values = {
        "LOCARA_LISTEN": f"127.0.0.1:{port}",
        "LOCARA_REPLICAS": " ".join(f"server {url.removeprefix('http://')} max_fails=2 fail_timeout=30s;" for url in urls),
        "LOCARA_ACCESS_LOG": str(folder / "access.log"),
    }
    rendered = TEMPLATE.read_text("utf-8")
    for name, value in values.items():
        rendered = rendered.replace(f"${{{name}}}", value)
    (folder / "locara.conf").write_text(rendered)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user="" if os.getuid() else "user root;"))
    words = [str(one) for one in (nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_listening(process, port, folder)
        yield port, folder / "access.log"
    finally:
        process.terminate()
        process.wait(20)


def _until_listening(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    ends = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < ends, (folder / "error.log").read_text()
            time.sleep(0.02)
        else:
            return


@dataclass(frozen=True)
class Outcome:
    """What became of clicks.

    Attributes:
        clicks: answered or not.
        wrong: that got another mask than they should, or none.
        again: that nginx had to ask a second replica for.
        sent_again: that the clients had to send a second time.
        served: by each replica.
        encodes: of pictures, by the replicas that are left.
    """

    clicks: int
    wrong: int
    again: int
    sent_again: int
    served: dict[str, int]
    encodes: int


class Clicking:
    """People who click on pictures of their own, and know what the answer is."""

    def __init__(self, folder: Path, users: int, size: tuple[int, int] = (120, 160)) -> None:
        model = Classic()
        self.paths, self._embeddings, self._model, self._size = [], [], model, size
        for user in range(users):
            image = make_scene(EVALUATION_SEED + user, size).image
            path = folder / f"{user}.png"
            path.write_bytes(images.encode_png(image))
            self.paths.append(path)
            self._embeddings.append(model.encode(image))

    def body(self, user: int, x: int, y: int) -> bytes:
        """Label Studio's for a click in the middle of a pixel."""
        height, width = self._size
        value = {"x": 100 * (x + 0.5) / width, "y": 100 * (y + 0.5) / height, "width": 0.3, "keypointlabels": ["Object"]}
        asked = {"original_width": width, "original_height": height, "image_rotation": 0, "value": value, "is_positive": True}
        region = {**asked, "id": f"u{user}x{x}y{y}", "from_name": "kp", "to_name": "image", "type": "keypointlabels"}
        content = {
            "tasks": [{"id": user + 1, "annotations": [], "data": {"image": str(self.paths[user])}}],
            "project": "1.1",
            "label_config": CONFIG,
            "params": {"login": None, "password": None, "context": {"result": [region]}},
        }
        return json.dumps(content).encode()

    def expected(self, user: int, x: int, y: int) -> Mask | None:
        """The mask; None where there is nothing to find."""
        found = self._model.decode(self._embeddings[user], Prompt((Point(x + 0.5, y + 0.5),)))[0].mask
        return found if found.area else None

    def go(self, ask: Ask, clicks: int, kill_at: int | None = None, kill: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """All users click at once, one click after the other each; `kill` is called in the middle.

        Gives how many masks were wrong, and how many clicks had to be sent again.
        """
        users = len(self.paths)
        wrong, sent_again, answered = [0] * users, [0] * users, [0] * users
        killing = [] if kill_at is None else [kill]

        def work(user: int) -> None:
            for number in range(user, clicks, users):
                x, y = (number * 37) % self._size[1], (number * 53) % self._size[0]
                status, content = ask("POST", "/predict", self.body(user, x, y))
                if status >= 500:
                    sent_again[user] += 1
                    status, content = ask("POST", "/predict", self.body(user, x, y))
                wrong[user] += not self._is_right(status, content, user, x, y)
                answered[user] += 1
                if user == 0 and killing and sum(answered) >= (kill_at or 0):
                    killing.pop()()

        with ThreadPoolExecutor(users) as pool:
            list(pool.map(work, range(users)))
        return sum(wrong), sum(sent_again)

    def _is_right(self, status: int, content: bytes, user: int, x: int, y: int) -> bool:
        expected = self.expected(user, x, y)
        if status != 200:
            return expected is None and json.loads(content)["error"]["code"] == "prompt.nothing"
        found = read_regions(json.loads(content)["results"][0]["result"]).masks
        return len(found) == 1 and found[0].mask == expected


def outcome(clicking: Clicking, replicas: Replicas, clicks: int, kill_at: int) -> Outcome:
    """Of clicks through nginx, while the first replica is killed."""
    before = len(replicas.places())
    wrong, sent_again = clicking.go(replicas.ask, clicks, kill_at, lambda: replicas.kill(0))
    places = replicas.places()[before:]
    last = [place[-1] for place in places if place]
    again = sum(len(place) > 1 for place in places)
    served = {port: last.count(port) for port in sorted(set(last))}
    return Outcome(clicks, wrong, again, sent_again, served, sum(_encodes(one) for one in replicas.servers[1:]))


def _encodes(server: Served) -> int:
    _, page = asked(int(server.url.rpartition(":")[2]), "GET", "/metrics")
    return int(float(re.findall(r"^locara_encodes(?:_total)? ([\d.e+]+)$", page.decode(), re.MULTILINE)[0]))
