"""How Label Studio's task data names its files, and where it serves them."""

from __future__ import annotations

import base64
import posixpath
import re
from urllib.parse import parse_qs

from locara_label.errors import FetchFailed, NotAllowed
from locara_label.fetch.urls import Url, has_dot_segments, parse, shown

TOKEN_PATH = "/api/token/refresh/"  # noqa: S105 - an address
CLOUD_SCHEMES = frozenset({"s3", "gs", "azure-blob"})
"""Those of the storages of Label Studio, which alone holds their credentials."""

_UPLOAD = re.compile(r"/?upload/[0-9]+/")
_SERVED = re.compile(r"/(?:data/upload/|data/local-files/|storage-data/uploaded/|(?:tasks|projects)/[0-9]+/(?:resolve|presign)/)")


def is_served(path: str, home: Url) -> bool:
    """Task data is there: these paths get the token, so that a task's author can have nothing else asked in its name."""
    return path.startswith(home.path + "/") and _SERVED.match(path, len(home.path)) is not None


def served(reference: str, home: Url) -> Url | None:
    """The address of a reference that is relative to Label Studio, such as /data/upload/1/a.jpg; None for any other."""
    if _UPLOAD.match(reference):
        reference = "/data/" + reference.removeprefix("/")
    path = re.split(r"[?#]", reference, maxsplit=1)[0]
    if not path.startswith("/"):
        return None
    if is_served(path, home):
        return _at(home, reference, reference)
    return _at(home, home.path + reference, reference) if is_served(home.path + path, home) else None


def presigned(uri: str, home: Url, task_id: int | None, project_id: int | None) -> Url:
    """Where Label Studio gives a cloud file, or redirects to an address that the cloud gives it at.

    Raises:
        NotAllowed: neither the task nor the project is known, by whose storages it would be read.
    """
    owner = f"tasks/{task_id:d}" if task_id is not None else f"projects/{project_id:d}" if project_id is not None else None
    if owner is None:
        raise NotAllowed(f"{shown(uri)} can only be read for a task or project of Label Studio")
    try:
        packed = base64.urlsafe_b64encode(uri.encode()).decode()
    except UnicodeEncodeError:
        raise FetchFailed(f"{shown(uri)} is not an address that can be read", code="fetch.bad_url") from None
    # newer servers call it resolve too; all know presign
    return _at(home, f"{home.path}/{owner}/presign/?fileuri={packed}", uri)


def local_file(url: Url, home: Url) -> str | None:
    """The path below the document root that an address of the local storage names, None for other addresses.

    Raises:
        FetchFailed: it leads out of the document root; code fetch.bad_url.
    """
    if url.origin != home.origin or url.path != f"{home.path}/data/local-files/":
        return None
    # as Label Studio reads it: decoded once, the last value counts
    values = parse_qs(url.query or "", keep_blank_values=True).get("d", [""])
    name = values[-1].lstrip("/")
    if not name or has_dot_segments(name):
        raise FetchFailed(f"{url} names no file of the document root", code="fetch.bad_url")
    return posixpath.normpath(name)


def _at(home: Url, target: str, reference: str) -> Url:
    try:
        return parse(Url(home.scheme, home.host, home.port, "").whole + target)
    except FetchFailed:
        raise FetchFailed(f"{shown(reference)} is not an address that can be read", code="fetch.bad_url") from None
