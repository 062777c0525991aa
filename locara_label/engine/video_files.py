"""Videos that sessions need again and again: fetched once, kept in private files until they are freed, within a budget."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from locara_label.errors import BadVideo, Cancelled, FetchFailed, LocaraError, QueueFull
from locara_label.fetch import Fetcher, Rules
from locara_label.runtime.session import Stop
from locara_label.video.limits import VideoLimits
from locara_label.video.opening import check_runtime, open_video_file
from locara_label.video.video import Video

_FULL_S = 60


class VideoFile:
    """A video in a private file.

    Attributes:
        path: of the file.
        nbytes: its size.
    """

    def __init__(self, path: Path, nbytes: int, files: VideoFiles) -> None:
        self.path, self.nbytes, self._files = path, nbytes, files

    def open(self) -> Video:
        """Raises BadVideo, MissingRuntime: see `open_video_file`."""
        return open_video_file(self.path, self._files.limits)

    def free(self) -> None:
        """Removes the file; a video that was opened from it goes on."""
        self._files.remove(self)


class VideoFiles:
    """The files of a process, in a folder that only its user may enter, gone when they are closed. Threads may share it."""

    def __init__(self, rules: Rules, limits: VideoLimits, most_bytes: int, fetch_s: float) -> None:
        """Args:
        rules: what may be read; its limits of size and time are those of pictures and do not count.
        limits: of each video.
        most_bytes: of all files together.
        fetch_s: seconds that fetching one may take.
        """
        self.limits, self._most = limits, most_bytes
        self._fetcher = Fetcher(replace(rules, max_bytes=limits.max_bytes, total_s=fetch_s))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: set[VideoFile] = set()
        self._used = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes on the disk, of files that are being fetched too."""
        return self._used

    def fetch(
        self, reference: str, stop: Stop | None = None, *, task_id: int | None = None, project_id: int | None = None
    ) -> VideoFile:
        """Fetches what a reference of a task or request stands for; `free` it.

        Args:
            reference: as `Fetcher.save` takes it.
            stop: ends the fetching from another thread.
            task_id: of Label Studio; see `Fetcher.save`.
            project_id: likewise.

        Raises:
            NotAllowed, FetchFailed, Cancelled: see `Fetcher.save`.
            BadVideo: code video.too_large.
            QueueFull: there is no room for it now.
            MissingRuntime: videos cannot be decoded here.
        """
        coming = self.begin()
        try:
            self._fetcher.save(reference, cast("BinaryIO", coming), stop=stop, task_id=task_id, project_id=project_id)
            return coming.end()
        except BaseException as error:
            coming.drop()
            raise _told(error) from error

    def begin(self) -> Coming:
        """A file for a video that comes piece by piece; `end` or `drop` it.

        Raises:
            FetchFailed: the disk does not take it.
            MissingRuntime: videos cannot be decoded here.
        """
        check_runtime()
        try:
            handle, name = tempfile.mkstemp(dir=self._home())
        except OSError as error:
            raise _told(error) from error
        return Coming(self, Path(name), os.fdopen(handle, "wb"))

    def add(self, path: Path, nbytes: int) -> VideoFile:
        """See `Coming.end`."""
        file = VideoFile(path, nbytes, self)
        with self._lock:
            self._files.add(file)
        return file

    def remove(self, file: VideoFile) -> None:
        """See `VideoFile.free`."""
        with self._lock:
            if file not in self._files:
                return
            self._files.remove(file)
        self.forget(file.path, file.nbytes)

    def close(self) -> None:
        """Removes all files."""
        with self._lock:
            folder, self._folder = self._folder, None
            self._files.clear()
            self._used = 0
        if folder is not None:
            folder.cleanup()

    def take(self, nbytes: int) -> None:
        """Counts bytes that are about to be written. Raises QueueFull."""
        with self._lock:
            if self._used + nbytes > self._most:
                text = f"videos on the disk have {self._used} bytes, the limit is {self._most}: close a session"
                raise QueueFull(text, retry_after_s=_FULL_S)
            self._used += nbytes

    def _home(self) -> str:
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="locara-videos-", ignore_cleanup_errors=True)
            return self._folder.name

    def forget(self, path: Path, nbytes: int) -> None:
        """Removes a file whose bytes were counted."""
        with suppress(OSError):
            path.unlink(missing_ok=True)
        with self._lock:
            self._used = max(self._used - nbytes, 0)


class Coming:
    """A video that is on its way into its file; its bytes count. Threads may share it.

    Attributes:
        nbytes: what has come so far.
    """

    def __init__(self, files: VideoFiles, path: Path, file: BinaryIO) -> None:
        self.nbytes, self._files, self._path, self._file = 0, files, path, file
        self._lock = threading.Lock()

    def write(self, data: bytes) -> int:
        """Takes the next bytes.

        Raises:
            BadVideo: code video.too_large.
            QueueFull: there is no room for them now.
            FetchFailed: the disk does not take them.
            Cancelled: it was dropped.
        """
        with self._lock:
            if self._file.closed:
                raise Cancelled("nobody wants the video any more")
            if self.nbytes + len(data) > self._files.limits.max_bytes:
                raise BadVideo(f"the video has more than {self._files.limits.max_bytes} bytes, the limit", code="video.too_large")
            self._files.take(len(data))
            self.nbytes += len(data)
            try:
                return self._file.write(data)
            except OSError as error:
                raise _told(error) from error

    def end(self) -> VideoFile:
        """The whole video. Raises FetchFailed: as `write`; then it is to be dropped."""
        with self._lock:
            try:
                self._file.close()
            except OSError as error:
                raise _told(error) from error
            return self._files.add(self._path, self.nbytes)

    def drop(self) -> None:
        """Removes what has come; nothing comes any more."""
        with self._lock, suppress(OSError):
            self._file.close()
        self._files.forget(self._path, self.nbytes)


def _told(error: BaseException) -> BaseException:
    if isinstance(error, FetchFailed) and error.code == "fetch.too_large":
        return BadVideo(error.message, code="video.too_large")
    if isinstance(error, OSError) and not isinstance(error, LocaraError):
        reason = error.strerror or os.strerror(error.errno or 0)
        return FetchFailed(f"the video cannot be kept in {tempfile.gettempdir()}: {reason}", code="fetch.failed")
    return error
