"""One reference of a task, whatever its kind, to its bytes."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from locara_label.errors import NotAllowed
from locara_label.fetch import data_url, label_studio, paths, urls
from locara_label.fetch.addresses import Resolver, system_resolver
from locara_label.fetch.budget import Budget, Stoppable
from locara_label.fetch.client import Client
from locara_label.fetch.rules import Rules
from locara_label.fetch.urls import Url, shown

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


@dataclass(frozen=True, slots=True)
class _Text:
    """A data URL."""

    reference: str


class Fetcher:
    """Reads what tasks refer to, within the rules; safe to share between threads. Making one opens nothing.

    Kinds of reference: `data:` URLs of pictures, http and https addresses, paths that are relative to Label Studio
    (/data/upload/..., /data/local-files/?d=..., /storage-data/uploaded/...), cloud files (s3, gs, azure-blob) through Label
    Studio, and absolute paths or file URLs in granted folders. Proxies and other settings of the environment are not obeyed.
    """

    def __init__(self, rules: Rules, *, resolver: Resolver = system_resolver) -> None:
        """`resolver` gives all addresses of a host; see `addresses.Resolver`."""
        self.rules = rules
        self._client = Client(rules, resolver)

    def __repr__(self) -> str:
        return f"Fetcher({self.rules!r})"

    def read(
        self,
        reference: str,
        *,
        max_bytes: int | None = None,
        deadline_s: float | None = None,
        stop: Stoppable | None = None,
        task_id: int | None = None,
        project_id: int | None = None,
    ) -> bytes:
        """The bytes that a reference stands for.

        Raises and arguments are those of `save`.
        """
        file = BytesIO()
        self.save(reference, file, max_bytes=max_bytes, deadline_s=deadline_s, stop=stop, task_id=task_id, project_id=project_id)
        return file.getvalue()

    def save(
        self,
        reference: str,
        file: BinaryIO,
        *,
        max_bytes: int | None = None,
        deadline_s: float | None = None,
        stop: Stoppable | None = None,
        task_id: int | None = None,
        project_id: int | None = None,
    ) -> None:
        """Writes the bytes that a reference stands for to a file, piece by piece: what is too large for memory, such as videos.

        Where it raises, some of them may be written.

        Args:
            reference: as the task has it; hostile until checked.
            file: open for writing.
            max_bytes: may lower the limit of the rules, not raise it.
            deadline_s: seconds from now; may lower the limit of the rules, not raise it.
            stop: ends the read from another thread within `connect_s`, mostly within 0.1 s.
            task_id: the task of Label Studio that the reference is from; cloud files need it or
            project_id: its project.

        Raises:
            NotAllowed: no rule grants it; code fetch.not_allowed, fetch.scheme or fetch.private_address.
            FetchFailed: see `client.Client.save`, `paths.copy` and `data_url.decode` for its codes.
            Cancelled: `stop` was set.
        """
        limit = min(max_bytes or self.rules.max_bytes, self.rules.max_bytes)
        seconds = self.rules.total_s if deadline_s is None else min(deadline_s, self.rules.total_s)
        budget = Budget.of(shown(reference), seconds, stop)
        budget.left_s()
        match self._locate(reference, task_id, project_id):
            case _Text(text):
                file.write(data_url.decode(text, limit))
            case Url() as url:
                self._client.save(url, limit, budget, file)
            case paths.Granted() as granted:
                paths.copy(granted, limit, budget, file)

    def identity(self, reference: str, *, task_id: int | None = None, project_id: int | None = None) -> str:
        """A key under which the content may be kept for a while; hexadecimal, tells nothing about the reference.

        Equal for equal references (of a file: while it is not changed). A cloud file is keyed by its task or project too:
        another project may not be able to read it. Connects to nobody.

        Raises:
            NotAllowed: as `read`, as far as it can be told without connecting.
            FetchFailed: as `read`; of a file, that it is missing or not readable.
        """
        match self._locate(reference, task_id, project_id):
            case _Text(text):
                told = text
            case Url() as url:
                self._client.check(url)
                told = url.whole
            case paths.Granted() as granted:
                told = granted.identity()
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()

    def _locate(self, reference: str, task_id: int | None, project_id: int | None) -> _Text | Url | paths.Granted:
        home = self.rules.label_studio
        match = _SCHEME.match(reference)
        # a disk of Windows looks like a scheme
        scheme = match[1].lower() if match and not (os.name == "nt" and len(match[1]) == 1) else None
        if scheme == "data":
            return _Text(reference)
        if scheme in urls.DEFAULT_PORTS:
            return self._local_or(urls.parse(reference), reference)
        if scheme in label_studio.CLOUD_SCHEMES:
            if home is None:
                raise NotAllowed(f"{shown(reference)} is a cloud file, which only a configured Label Studio can give")
            return label_studio.presigned(reference, home, task_id, project_id)
        if scheme not in {None, "file"}:
            raise NotAllowed(f"{shown(reference)} has a scheme that is not read", code="fetch.scheme")
        served = label_studio.served(reference, home) if home is not None and scheme is None else None
        return paths.locate(reference, self.rules.roots) if served is None else self._local_or(served, reference)

    def _local_or(self, url: Url, reference: str) -> Url | paths.Granted:
        """The file on disk where Label Studio's document root is granted here; else the address, and Label Studio decides."""
        home, root = self.rules.label_studio, self.rules.local_files_root
        name = label_studio.local_file(url, home) if home is not None else None
        if name is None or root is None:
            return url
        try:
            located = paths.locate(str(Path(root, name)), self.rules.roots)
            inside = paths.locate(str(Path(root, name)), (root,))
        except NotAllowed:
            return url
        return paths.Granted(located.root, located.parts, reference) if inside.exists() and located.exists() else url
