"""Everything that can go wrong on purpose, as one tree.

Each error carries a stable `code` (for machines, logs and exit codes) and a message that names the offending value.

    LocaraError
    ├── InputError (ValueError)
    │   ├── BadImage             a picture that cannot or may not be decoded
    │   ├── BadVideo             a video that cannot or may not be decoded
    │   ├── BadMask              a mask or RLE that does not describe its picture
    │   ├── BadDataset           an annotation file that is not what it claims to be
    │   ├── BadOption            a setting or argument outside its range
    │   ├── BadPrompt            points, a box or a mask that cannot show an object of the picture
    │   └── BadRequest           a request of a host that does not say what it should
    ├── FetchError
    │   ├── NotAllowed           a path, host or address that no setting grants
    │   └── FetchFailed          not there, not readable, too large, too slow, refused by its server (see `code`)
    ├── ModelError
    │   ├── UnknownModel (LookupError)
    │   ├── LicenceNotAccepted
    │   ├── NotDownloaded (FileNotFoundError)
    │   ├── BadWeights           a file that is not weights, or weights that do not fit their graph
    │   └── DownloadFailed       offline, unreachable, gated, disk full, wrong hash ... (see `code`)
    ├── RunError
    │   ├── MissingRuntime (ImportError)
    │   ├── DeviceUnavailable
    │   ├── Cancelled
    │   ├── DeadlineExceeded (TimeoutError)
    │   ├── QueueFull            too much is waiting already; `retry_after_s` says when to come back
    │   ├── InferenceFailed
    │   └── StoreFailed          a store of ours on the disk that cannot be opened, read or written (see `code`)
    └── BatchError
        └── PlanChanged
"""

from __future__ import annotations

from collections.abc import Sequence


class LocaraError(Exception):
    """Root of the tree; `code` is stable across releases, `str(error)` is for people."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.message, dict(self.__dict__))

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


def _restore(kind: type[LocaraError], message: str, state: dict[str, object]) -> LocaraError:
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class InputError(LocaraError, ValueError):
    code = "input"


class BadImage(InputError):
    code = "image.bad"


class BadVideo(InputError):
    code = "video.bad"


class BadMask(InputError):
    code = "mask.bad"


class BadDataset(InputError):
    code = "dataset.bad"


class BadOption(InputError):
    code = "option.bad"


class BadPrompt(InputError):
    code = "prompt.bad"


class BadRequest(InputError):
    code = "request.bad"


class FetchError(LocaraError):
    code = "fetch"


class NotAllowed(FetchError, PermissionError):
    code = "fetch.not_allowed"


class FetchFailed(FetchError):
    code = "fetch.failed"


class ModelError(LocaraError):
    code = "model"


class UnknownModel(ModelError, LookupError):
    code = "model.unknown"


class LicenceNotAccepted(ModelError):
    code = "model.licence_not_accepted"


class NotDownloaded(ModelError, FileNotFoundError):
    code = "model.not_downloaded"


class BadWeights(ModelError):
    """Weights that cannot be used.

    Attributes:
        missing: tensor names that the graph needs and the file lacks.
        extra: tensor names that the file has and the graph does not know.
        misshaped: one sentence per tensor whose shape or dtype differs.
    """

    code = "weights.bad"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        missing: Sequence[str] = (),
        extra: Sequence[str] = (),
        misshaped: Sequence[str] = (),
    ) -> None:
        super().__init__(message, code=code)
        self.missing, self.extra, self.misshaped = tuple(missing), tuple(extra), tuple(misshaped)


class DownloadFailed(ModelError):
    code = "download.failed"


class RunError(LocaraError):
    code = "run"


class MissingRuntime(RunError, ImportError):
    code = "run.missing_runtime"


class DeviceUnavailable(RunError):
    code = "run.device_unavailable"


class Cancelled(RunError):
    code = "run.cancelled"


class DeadlineExceeded(RunError, TimeoutError):
    code = "run.deadline"


class QueueFull(RunError):
    """Too much is waiting.

    Attributes:
        retry_after_s: when it is sensible to ask again, in seconds.
    """

    code = "run.queue_full"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InferenceFailed(RunError):
    code = "run.failed"


class StoreFailed(RunError):
    code = "store.failed"


class BatchError(LocaraError):
    code = "batch"


class PlanChanged(BatchError):
    code = "batch.plan_changed"
