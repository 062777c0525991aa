"""Label Studio's program: where it is, which release, how it is started; and an environment of its own, on request."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from locara_label.errors import BadOption, RunError, StoreFailed
from locara_label.quickstart.folder import Folder, Kept

RELEASE = "1.23.2"
"""What this was written and tested for."""
OLDEST = (1, 20)
_NAME = "label-studio"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "PYTHONUSERBASE", "SSL_CERT_FILE", "LD_LIBRARY_PATH")


def find_program(folder: Folder, named: Path | None = None) -> Path:
    """Where Label Studio is: as named, in this environment, in the folder's own one, on the PATH.

    Raises:
        BadOption: code option.label_studio; what was named is no program.
        RunError: code quickstart.not_installed.
    """
    if named is not None:
        if named.is_file() and os.access(named, os.X_OK):
            return named.absolute()
        raise BadOption(f"{named} is no program; name that of Label Studio", code="option.label_studio")
    for place in (Path(sys.executable).parent, folder.environment / "bin"):
        if os.access(place / _NAME, os.X_OK):
            return place / _NAME
    if found := shutil.which(_NAME):
        return Path(found)
    raise RunError(
        f"Label Studio is not installed: `pip install label-studio=={RELEASE}` puts it into this environment, "
        f"`locara-label quickstart --install` into one of its own, {folder.environment}",
        code="quickstart.not_installed",
    )


def install(folder: Folder, say: Callable[[str], None]) -> Path:
    """Makes an environment for Label Studio alone with pip, as pip is configured here; gives the program.

    Raises:
        RunError: code quickstart.install; what failed is said.
    """
    say(f"installing label-studio {RELEASE} and what it needs into {folder.environment}; about 400 MB are fetched")
    python = folder.environment / "bin" / "python"
    _run([sys.executable, "-m", "venv", "--clear", str(folder.environment)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"label-studio=={RELEASE}"])
    return folder.environment / "bin" / _NAME


def _run(line: list[str]) -> None:
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise RunError(f"{line[0]} cannot be run: {error}", code="quickstart.install") from error
    if done.returncode:
        said = " | ".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:])[:600]
        raise RunError(f"Label Studio cannot be installed: `{' '.join(line)}` says {said}", code="quickstart.install")


def release_of(program: Path) -> str:
    """The release that a program belongs to, empty where the files beside it do not tell."""
    try:
        home = program.resolve().parent.parent
    except OSError:
        return ""
    found = [path.name for path in home.glob("lib/python3.*/site-packages/label_studio-*.dist-info")]
    return found[0].removeprefix("label_studio-").removesuffix(".dist-info") if len(found) == 1 else ""


def check_release(release: str, last: str, folder: Folder) -> None:
    """Whether a release can use what another one left.

    Raises:
        StoreFailed: code quickstart.newer; a newer one used the folder, whose database an older one does not know.
        RunError: code quickstart.release; it is too old.
    """
    now, before = _numbers(release), _numbers(last)
    if now and now[:2] < OLDEST:
        text = f"Label Studio {release} is too old: `pip install label-studio=={RELEASE}`, or --install"
        raise RunError(text, code="quickstart.release")
    if now and before and now < before:
        text = f"{folder.path} was used by Label Studio {last}, and this one is {release}"
        raise StoreFailed(f"{text}; upgrade Label Studio, or name another --folder", code="quickstart.newer")


def _numbers(release: str) -> tuple[int, ...]:
    found = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", release)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def command(program: Path, port: int) -> list[str]:
    """The login is in the environment: everybody on the machine may see a command line."""
    return [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]


def environment(folder: Folder, kept: Kept, url: str) -> dict[str, str]:
    """All that Label Studio sees: none of the settings of another one, nothing that reports, this machine's addresses allowed."""
    own = {
        "BASE_DATA_DIR": str(folder.studio),
        "HOST": url,
        "USERNAME": kept.email,
        "PASSWORD": kept.password,
        "USER_TOKEN": kept.token,
        "ENABLE_LEGACY_API_TOKEN": "true",
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        # a busy machine answers late; what is late by default is dropped in silence
        "ML_CONNECTION_TIMEOUT": "2",
        "ML_TIMEOUT_HEALTH": "4",
        "ML_TIMEOUT_SETUP": "10",
        "WEBHOOK_TIMEOUT": "3",
    }
    silent = {"DJANGO_DB": "sqlite", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "PYTHONUNBUFFERED": "1"}
    silent["XDG_CONFIG_HOME"] = str(folder.studio / "config")  # it writes there whatever its data folder is
    inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**inherited, **silent, **{f"LABEL_STUDIO_{name}": value for name, value in own.items()}}
