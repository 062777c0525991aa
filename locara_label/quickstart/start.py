"""Starts both programs and fills the projects."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from locara_label.errors import FetchFailed, RunError, StoreFailed
from locara_label.hosts.label_studio.client import LabelStudio
from locara_label.hosts.label_studio.connection import Patience
from locara_label.quickstart import ports, program
from locara_label.quickstart.children import Child
from locara_label.quickstart.folder import Folder, Kept
from locara_label.quickstart.material import Material
from locara_label.quickstart.projects import Ready, add_tasks, connect, find_project, prelabel_pictures, prelabel_video
from locara_label.settings import Settings

START_S, PATIENCE_S, CHECK_S = 600.0, 100.0, 600.0
STUDIO_PORT, ASSIST_PORT = 8080, 9090
_CLAIM_S = 45.0
"""What programs of a run that was killed may need to end."""
_LISTENS = "running on http"
"""What the assist server says when the port is its own: that of another one, which took it in the meantime, would answer too."""
_ASK_S = 5.0
_ANSWER_S = 300.0
_HANDED_ON = ("cache_dir", "endpoint", "offline", "device", "threads", "max_image_bytes", "max_pixels")
"""Settings that the assist server gets too."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to start.

    Attributes:
        materials: a project each.
        program: of Label Studio; None has it looked for.
        port, assist_port: None takes a free one.
        models: by flag of `locara-label serve`: "--model" and so on.
        install: makes an environment for Label Studio where there is none.
        patience_s: that the pre-labels of a project may take; what is not there then comes later, unless the end is earlier.
    """

    materials: Sequence[Material]
    program: Path | None = None
    port: int | None = None
    assist_port: int | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    install: bool = False
    patience_s: float = PATIENCE_S


@dataclass(frozen=True)
class Running:
    """Both programs, and where everything is; `missing` counts tasks without a prediction."""

    url: str
    assist_url: str
    kept: Kept
    projects: tuple[Ready, ...]
    children: tuple[Child, ...]
    client: LabelStudio
    missing: int

    def check(self) -> None:
        """Raises RunError: code quickstart.ended; one of the programs has ended by itself."""
        for child in self.children:
            child.check()


@contextmanager
def running(folder: Folder, wanted: Wanted, settings: Settings, say: Say) -> Iterator[Running]:
    """Label Studio and the assist server with filled projects until the block ends.

    Args:
        folder: where everything is kept; the next start finds it again.
        wanted: what to start.
        settings: what applies to the models.
        say: takes lines about what is going on.

    Raises:
        RunError, StoreFailed: codes quickstart.*; something is missing, taken, damaged, or has ended.
        BadOption, FetchFailed: see `find_program` and `LabelStudio`.
    """
    with folder.claimed(_CLAIM_S) as lock:
        start = _begun(folder, wanted, settings, say, lock)
        with start.studio() as studio, start.assist() as assist, _reached(start.url, start.kept, studio) as client:
            start = replace(start, kept=replace(start.kept, release=client.version()))
            kept, projects = start.filled(client)
            missing = _prelabelled(client, projects, wanted.patience_s, say)
            yield Running(start.url, start.assist_url, kept, projects, (studio, assist), client, missing)


@dataclass(frozen=True)
class _Start:
    """What one start goes by."""

    folder: Folder
    wanted: Wanted
    settings: Settings
    say: Say
    kept: Kept
    program: Path
    lock: int

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self.kept.ports['label-studio']}"

    @property
    def assist_url(self) -> str:
        return f"http://{ports.HOST}:{self.kept.ports['assist']}"

    @contextmanager
    def studio(self) -> Iterator[Child]:
        first = "" if self.kept.release else "; the first time takes about a minute"
        self.say(f"starting Label Studio, {self.program}{first}")
        environment = program.environment(self.folder, self.kept, self.url)
        command = program.command(self.program, self.kept.ports["label-studio"])
        with self._child("Label Studio", command, environment, "label-studio.log") as child:
            child.wait_until(lambda: _answers(f"{self.url}/health"), START_S)
            yield child

    @contextmanager
    def assist(self) -> Iterator[Child]:
        flags = [part for flag, value in self.wanted.models.items() for part in (flag, value)]
        self.say(" ".join(("starting the assist server", *flags)))
        address = ["--host", ports.HOST, "--port", str(self.kept.ports["assist"])]
        command = [sys.executable, "-m", "locara_label", "serve", *address, *flags]
        with self._child("the assist server", command, self._environment(), "assist.log") as child:
            child.wait_until(lambda: child.said(_LISTENS) and _answers(f"{self.assist_url}/health"), START_S)
            yield child

    def filled(self, client: LabelStudio) -> tuple[Kept, tuple[Ready, ...]]:
        """The projects; what is kept knows each as soon as it is there."""
        kept, made = self.kept, []
        for material in self.wanted.materials:
            project = find_project(client, material, kept.projects.get(material.key))
            kept = kept.with_project(material.key, project)
            self.folder.write(kept)
            if material.left_out:
                self.say(f"note: {material.left_out} files of the folder are no pictures that browsers show, and are left out")
            tasks = add_tasks(client, project, material)
            made.append(Ready(material, project, tasks, connect(client, project, self.assist_url)))
            self.say(f"project {project}, {material.title!r}: {len(tasks)} tasks")
        return kept, tuple(made)

    @contextmanager
    def _child(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: str) -> Iterator[Child]:
        child = Child.start(name, command, environment, self.folder.path / log, self.lock)
        try:
            yield child
        finally:
            child.stop()

    def _environment(self) -> dict[str, str]:
        """What concerns models and machine as here, and nothing that another server is set up for."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCARA_")}
        told = {f"LOCARA_{name.upper()}": str(getattr(self.settings, name)) for name in _HANDED_ON}
        paths = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")
        return {
            **inherited,
            **told,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "LOCARA_DATA_DIR": str(self.folder.assist),
            "LOCARA_LABEL_STUDIO_URL": self.url,
            "LOCARA_LABEL_STUDIO_API_KEY": self.kept.token,
        }


def _begun(folder: Folder, wanted: Wanted, settings: Settings, say: Say, lock: int) -> _Start:
    """Everything that can be found wrong before anything is started."""
    kept = folder.read()
    found = _program(folder, wanted, say)
    program.check_release(program.release_of(found), kept.release, folder)
    usual = kept.ports.get("label-studio", STUDIO_PORT), kept.ports.get("assist", ASSIST_PORT)
    kept = kept.with_port("label-studio", ports.choose(wanted.port, usual[0], "--port"))
    kept = kept.with_port("assist", ports.choose(wanted.assist_port, usual[1], "--assist-port"))
    folder.write(kept)
    return _Start(folder, wanted, settings, say, kept, found, lock)


def _program(folder: Folder, wanted: Wanted, say: Say) -> Path:
    try:
        return program.find_program(folder, wanted.program)
    except RunError:
        if not wanted.install:
            raise
        return program.install(folder, say)


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_ASK_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def _reached(url: str, kept: Kept, studio: Child) -> Iterator[LabelStudio]:
    """The API as the folder's own user.

    Raises:
        StoreFailed: code quickstart.login; this Label Studio does not know the user.
    """
    with LabelStudio(url, kept.token, Patience(read_s=_ANSWER_S)) as client:
        studio.check()
        try:
            email = client.whoami()
        except FetchFailed as error:
            if error.code != "fetch.unauthorised":
                raise
            email = ""
        if email != kept.email:
            text = f"the Label Studio at {url} does not accept the login of {studio.log.parent}"
            raise StoreFailed(f"{text}; name another --folder, or remove this one to begin anew", code="quickstart.login")
        yield client


def _prelabelled(client: LabelStudio, projects: Sequence[Ready], patience_s: float, say: Say) -> int:
    """How many tasks are without a prediction after all patience."""
    missing = 0
    for ready in projects:
        if ready.material.kind == "video" and not ready.material.sought:
            say(f"{ready.material.title!r} is not pre-labelled, as nobody says what it shows; draw a box, or give --label")
            continue
        say(f"pre-labelling {ready.material.title!r} with {ready.version}")
        fill = prelabel_pictures if ready.material.kind == "image" else prelabel_video
        left = fill(client, ready, patience_s)
        if left:
            say(f"note: {left} tasks of {ready.material.title!r} have no prediction yet")
        missing += left
    return missing
