"""A real Label Studio in an environment of its own, on a free port, with a data folder of its own and no telemetry."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
EXECUTABLE = ROOT / ".venv-label-studio" / "bin" / "label-studio"
EMAIL, PASSWORD = "annotator@example.com", "not-a-secret-1"
START_S = 180.0
OPEN_TO_LOCAL = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"}


def executable() -> Path | None:
    """The program, or None where it is not installed."""
    named = os.environ.get("LOCARA_LABEL_STUDIO")
    path = Path(named) if named else EXECUTABLE
    return path if path.is_file() else None


@dataclass
class RealLabelStudio:
    """A running Label Studio.

    Attributes:
        url: without a slash at the end.
        legacy_token: of the only user; Label Studio accepts it as long as its legacy tokens are switched on.
        files: folder that local-files storages may serve.
    """

    url: str
    legacy_token: str
    folder: Path
    program: Path
    email: str = EMAIL
    password: str = PASSWORD
    _personal: str = field(default="", repr=False)

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def personal_token(self) -> str:
        """The user's personal access token; a user has one, so it is made once."""
        if not self._personal:
            self._personal = self.api("/api/token/", {})["token"]
        return self._personal

    def api(self, path: str, body: Any = None, *, method: str | None = None) -> Any:
        """Plain JSON over HTTP, apart from the client under test."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self.legacy_token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{request.get_method()} {path}: {error.code} {error.read()[:500]!r}") from None
        return json.loads(content) if content else None

    def project(self, config: str, **options: Any) -> int:
        """A new project; gives its id."""
        return int(self.api("/api/projects/", {"title": f"test {secrets.token_hex(4)}", "label_config": config, **options})["id"])

    def upload(self, project: int, pictures: Mapping[str, bytes]) -> list[int]:
        """Uploads pictures as tasks, in order; gives the ids of the tasks."""
        ids = []
        for name, content in pictures.items():
            before = {task["id"] for task in self.tasks(project)}
            self._upload(project, name, content)
            ids += [task["id"] for task in self.tasks(project) if task["id"] not in before]
        return ids

    def tasks(self, project: int) -> list[dict[str, Any]]:
        return list(self.api(f"/api/tasks?project={project}&page_size=1000&fields=all")["tasks"])

    def _upload(self, project: int, name: str, content: bytes) -> None:
        mark = secrets.token_hex(16)
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
        data = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        headers = {"Authorization": f"Token {self.legacy_token}", "Content-Type": f"multipart/form-data; boundary={mark}"}
        request = urllib.request.Request(f"{self.url}/api/projects/{project}/import", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 201

    def serve_files(self, project: int, folder: Path) -> int:
        """A local-files storage for a folder below `files`."""
        body = {"project": project, "path": str(folder), "title": "test", "use_blob_urls": True}
        return int(self.api("/api/storages/localfiles/", body)["id"])

    def connect(self, project: int, url: str, *, interactive: bool = True, title: str = "under test") -> int:
        """Connects an ML backend; gives its id."""
        body = {"url": url, "project": project, "is_interactive": interactive, "title": title}
        return int(self.api("/api/ml", body)["id"])


@contextmanager
def running(program: Path, folder: Path, variables: Mapping[str, str]) -> Iterator[RealLabelStudio]:
    """Label Studio until the block ends; its data lie in `folder`."""
    data = folder / "data"
    token = _copy_migrated(program, data) if os.access(program.parents[1], os.W_OK) else secrets.token_hex(20)
    with _started(program, folder, data, token, variables) as found:
        yield found


@contextmanager
def _started(program: Path, folder: Path, data: Path, token: str, variables: Mapping[str, str]) -> Iterator[RealLabelStudio]:
    (folder / "files").mkdir(parents=True, exist_ok=True)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / "label-studio.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(program, port, token),
            env=_environment(folder, data, url, variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
        try:
            _wait(url, process, log)
            yield RealLabelStudio(url, token, folder, program)
        finally:
            _stop(process)


def _command(program: Path, port: int, token: str) -> list[str]:
    account = ["--username", EMAIL, "--password", PASSWORD, "--user-token", token]
    return [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), *account]


def _environment(folder: Path, data: Path, url: str, variables: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    return {
        **kept,
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_HOST": url,
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / "files"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        **variables,
    }


def _copy_migrated(program: Path, data: Path) -> str:
    """Copies a data folder whose migrations are done, made once for a Label Studio environment; gives the user's token."""
    ready = program.parents[1] / "locara-empty-data"
    if not (ready / "token").is_file():
        _migrate(program, ready)
    shutil.copytree(ready, data)
    return (data / "token").read_text("ascii")


def _migrate(program: Path, ready: Path) -> None:
    token = secrets.token_hex(20)
    with tempfile.TemporaryDirectory(dir=ready.parent, prefix="locara-migrating-") as made:
        folder = Path(made)
        with _started(program, folder, folder / "data", token, {}):
            pass
        (folder / "data" / "token").write_text(token, "ascii")
        with suppress(OSError):  # another run was quicker
            (folder / "data").replace(ready)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"Label Studio did not start: {log.read_text('utf-8', 'replace')[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process group that `start_new_session` made."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(20)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
        break
    process.wait(20)
