"""One loaded model: arrays in, arrays out, with a deadline, and stoppable from another thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from locara_label.errors import Cancelled, DeadlineExceeded, InferenceFailed, LocaraError
from locara_label.runtime import providers
from locara_label.runtime.optimised import Cache
from locara_label.runtime.skeleton import BoundGraph

log = logging.getLogger("locara_label.runtime")

Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Options:
    """How sessions are made.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: threads for the operators of one run; 0 lets ONNX Runtime take one for each core.
        spinning: worker threads wait busily; faster for one session alone, much slower where several alternate.
        cache: where optimised sessions are kept, or None.
    """

    device: str = "auto"
    threads: int = 0
    spinning: bool = True
    cache: Cache | None = None


class Stop:
    """Stops runs from another thread; may be shared by many runs, one after the other or at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[_Run] = set()
        self._set = False

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Ends the running runs within milliseconds (between two operators) and refuses later ones."""
        with self._lock:
            self._set = True
            for run in self._running:
                run.options.terminate = True

    @contextmanager
    def watch(self, run: _Run) -> Iterator[None]:
        with self._lock:
            if self._set:
                raise Cancelled("the run was cancelled before it started")
            self._running.add(run)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(run)


class _Run:
    def __init__(self, options: Any) -> None:
        self.options = options
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.options.terminate = True


class Session:
    """A model that is ready to run; safe to call from several threads.

    Attributes:
        inputs, outputs: names in the order of the graph.
        provider: the execution provider that runs it.
        symbols: values of the graph's symbolic dimensions ("labels", "queries"), empty for published ONNX files.
    """

    def __init__(
        self,
        raw: Any,
        symbols: Mapping[str, int] | None = None,
        keep: Any = None,
        new_options: Callable[[], Any] | None = None,
    ) -> None:
        """Args:
        raw: a session of ONNX Runtime, or what answers like one.
        symbols: see the class.
        keep: what has to live as long as the session.
        new_options: makes what `raw` takes in place of ONNX Runtime's options of a run: an object with `terminate`.
        """
        self._raw, self._keep = raw, keep
        self._new_options = new_options or providers.onnxruntime().RunOptions
        self.inputs = tuple(value.name for value in raw.get_inputs())
        self.outputs = tuple(value.name for value in raw.get_outputs())
        self.input_shapes = {value.name: tuple(value.shape) for value in raw.get_inputs()}
        self.input_types = {value.name: str(value.type) for value in raw.get_inputs()}
        self.provider = str(raw.get_providers()[0])
        self.symbols = dict(symbols or {})

    def run(self, feed: Feed, *, stop: Stop | None = None, deadline_s: float | None = None) -> dict[str, NDArray[Any]]:
        """Runs the model once.

        Args:
            feed: input name to array.
            stop: cancels the run from another thread.
            deadline_s: seconds from now until the run is given up.

        Raises:
            Cancelled: `stop` was set.
            DeadlineExceeded: the run took longer than `deadline_s`.
            InferenceFailed: the model failed, or gave numbers that are not finite.
        """
        run = _Run(self._new_options())
        with (stop or Stop()).watch(run), _expiring(run, deadline_s):
            started = time.monotonic()
            try:
                values = self._raw.run(None, dict(feed), run.options)
            except Exception as error:
                raise self._explain(error, run, stop, time.monotonic() - started) from error
        return dict(zip(self.outputs, values, strict=True))

    def _explain(self, error: Exception, run: _Run, stop: Stop | None, seconds: float) -> Exception:
        if run.expired:
            return DeadlineExceeded(f"the model was stopped after {seconds:.1f} s, its deadline")
        if stop is not None and stop.is_set:
            return Cancelled(f"the run was cancelled after {seconds:.1f} s")
        return error if isinstance(error, LocaraError) else InferenceFailed(f"the model failed: {_first_line(error)}")


@contextmanager
def _expiring(run: _Run, deadline_s: float | None) -> Iterator[None]:
    if deadline_s is None:
        yield
        return
    if deadline_s <= 0:
        raise DeadlineExceeded("the deadline had passed before the model started")
    timer = threading.Timer(min(deadline_s, threading.TIMEOUT_MAX), run.expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def open_session(graph: BoundGraph | bytes | Path, options: Options, identity: str = "") -> Session:
    """Makes a session from a bound graph, or from the bytes or the path of a published ONNX file.

    By its path a file may have its data in files beside it; ONNX Runtime refuses those of other folders.

    Args:
        graph: the model.
        options: device, threads, cache.
        identity: names graph and weights uniquely (a hash); the optimised session is cached under it. Empty: no cache.

    Raises:
        MissingRuntime, DeviceUnavailable, BadOption: see `providers`.
        InferenceFailed: ONNX Runtime refuses the model.
    """
    ort = providers.onnxruntime()
    asked = providers.choose(options.device)
    cached = options.cache.find(identity, asked) if options.cache and identity else None
    if cached is not None:
        try:
            settings = _session_options(options)
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimised already
            raw = _made(str(cached), settings, asked)
        except Exception:  # noqa: BLE001 - a damaged cache entry may fail in any way; it is only a cache
            options.cache.drop(identity, asked)  # type: ignore[union-attr]
        else:
            return _confirmed(raw, graph, options, asked)
    return _fresh(graph, options, asked, identity)


def _fresh(graph: BoundGraph | bytes | Path, options: Options, asked: tuple[str, ...], identity: str) -> Session:
    ort = providers.onnxruntime()
    settings = _session_options(options)
    if isinstance(graph, BoundGraph):
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in graph.arrays.values()]
        settings.add_external_initializers(list(graph.arrays), values)
    slot = options.cache.begin(identity, asked, settings) if options.cache and identity else None
    try:
        raw = _raw(graph, settings, asked)
    except Exception as error:
        if slot is not None:  # perhaps only the cache could not be written
            slot.discard()
            return _fresh(graph, replace(options, cache=None), asked, identity)
        refused = InferenceFailed(f"ONNX Runtime refuses the model: {_first_line(error)}", code="run.load")
        raw = None if isinstance(graph, BoundGraph) else _less_optimised(graph, options, asked, refused)
        if raw is None:
            raise refused from error
    if slot is not None:
        slot.finish()
    return _confirmed(raw, graph, options, asked)


def _raw(graph: BoundGraph | bytes | Path, settings: Any, asked: tuple[str, ...]) -> Any:
    model = graph.model if isinstance(graph, BoundGraph) else graph
    return _made(str(model) if isinstance(model, Path) else model, settings, asked)


def _made(model: str | bytes, settings: Any, asked: tuple[str, ...]) -> Any:
    # A second try with the same provider would only say so on standard output, where others expect JSON.
    another = int(len(asked) > 1)
    return providers.onnxruntime().InferenceSession(model, settings, providers=list(asked), enable_fallback=another)


def _less_optimised(graph: bytes | Path, options: Options, asked: tuple[str, ...], refused: InferenceFailed) -> Any | None:
    """A session without some or all of ONNX Runtime's rewriting, which fails for half precision files that are sound; or none."""
    levels = providers.onnxruntime().GraphOptimizationLevel
    for level in (levels.ORT_ENABLE_BASIC, levels.ORT_DISABLE_ALL):
        settings = _session_options(options)
        settings.graph_optimization_level = level
        with suppress(Exception):
            raw = _raw(graph, settings, asked)
            log.warning("%s; it runs more slowly, optimised only to %s", refused, level.name)
            return raw
    return None


def _confirmed(raw: Any, graph: BoundGraph | bytes | Path, options: Options, asked: tuple[str, ...]) -> Session:
    providers.confirm(options.device, asked, raw.get_providers())
    return Session(raw, graph.symbols if isinstance(graph, BoundGraph) else None, keep=graph)


def _session_options(options: Options) -> Any:
    settings = providers.onnxruntime().SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    if not options.spinning:
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]


def finite(array: NDArray[Any]) -> NDArray[np.float32]:
    """The array as it is, once its numbers are known to be numbers.

    Raises:
        InferenceFailed: NaN or infinity, which would turn into a wrong mask without a word.
    """
    with np.errstate(invalid="ignore"):  # infinities of both signs
        total = array.sum(dtype=np.float64)
    if not np.isfinite(total):
        raise InferenceFailed("the model gave numbers that are not finite", code="run.not_finite")
    return array.astype(np.float32, copy=False)
