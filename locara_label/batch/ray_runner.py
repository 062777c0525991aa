"""The runner for a Ray cluster: shards go to actors, those of a lost actor go to others, the driver keeps nothing else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from locara_label.batch.bucket_folder import open_folder
from locara_label.batch.buckets import Bucket
from locara_label.batch.plan import Shard
from locara_label.batch.ray_actor import Labeller
from locara_label.batch.ray_cluster import Cluster
from locara_label.batch.rows import Failed, Failure, Row, to_line
from locara_label.batch.runner import Facts
from locara_label.batch.worker import Control, ModelSource, Outcome, Task
from locara_label.errors import BadOption, BatchError, Cancelled, LocaraError

_DEATHS = 3
"""Of an actor that does not get as far as any work."""
_DEATHS_OF_A_PIECE = 2
_POLL_S = 0.2
_STALL_S = 30.0


@dataclass(eq=False)
class _Seat:
    """An actor, which Ray starts again when it dies, and the number of calls that it has.

    Attributes:
        is_open: it knows the task; not so after it died.
        deaths: since it was last open.
    """

    actor: Any
    is_open: bool = False
    deaths: int = 0
    calls: int = 0
    is_alone: bool = False


@dataclass(eq=False)
class _Piece:
    """What an actor is given: a shard, or one of its pictures alone, so that it is known which of them ends actors."""

    shard: Shard
    place: int | None = None
    deaths: int = 0


@dataclass(eq=False)
class RayRunner:
    """Has the roles of a `Map` and of a `Describe` on a cluster that the process has joined.

    Attributes:
        say: is told now and then that the cluster does not give what was asked for.
    """

    cluster: Cluster
    say: Callable[[str], None] = lambda _: None
    _seats: list[_Seat] = field(default_factory=list)

    def describe(self, source: ModelSource) -> Facts:
        """Facts of the model as an actor sees it; this process loads none.

        Raises:
            ModelError, RunError: the actor cannot load it.
            BadOption: more actors are asked for than ever fit.
        """
        self.cluster.actors(ray.cluster_resources())
        self._staff(source, 1)
        call = self._seats[0].actor.facts.options(max_task_retries=-1).remote()
        while not ray.wait([call], timeout=_STALL_S)[0]:
            self.say("the first worker waits for room on the cluster, or loads the model")
        found: Facts = _answer(call)
        return found

    def __call__(self, task: Task, shards: Sequence[Shard], control: Control) -> Iterator[Outcome]:
        """See `Map`.

        Raises:
            BadOption: the job's folders are not seen by other processes; code option.place.
            BatchError: no actor stays alive (batch.no_workers), or as `Labeller.open` and `Worker.finish`.
        """
        if not shards:
            return
        for place in (task.root, task.folder):
            if isinstance(place, Bucket) and not place.is_shared:
                raise BadOption(f"{place} is seen by one process only", code="option.place")
        self._staff(task.source, min(self.cluster.actors(ray.cluster_resources()), len(shards)))
        work = _Work(replace(task, plan=replace(task.plan, items=())), control, self._seats, self.cluster.decoders, self.say)
        try:
            yield from work.outcomes(shards)
        finally:
            for seat in self._seats:
                ray.kill(seat.actor)
            self._seats.clear()

    def _staff(self, source: ModelSource, count: int) -> None:
        options = {
            "num_cpus": self.cluster.actor_cpus,
            "num_gpus": self.cluster.gpus_per_actor,
            "max_restarts": -1,
            "scheduling_strategy": "SPREAD",
            "max_concurrency": self.cluster.decoders,
        }
        made = ray.remote(Labeller).options(**options)
        self._seats += [_Seat(made.remote(source, self.cluster)) for _ in range(count - len(self._seats))]


class _Work:
    """Shards on their way: in the queue, or with an actor. Only finished files count; all else can be lost."""

    def __init__(self, task: Task, control: Control, seats: Sequence[_Seat], at_a_time: int, say: Callable[[str], None]) -> None:
        self._control, self._at_a_time, self._say = control, at_a_time, say
        self._folder, self._task = open_folder(task.folder), ray.put(task)
        self._seats = list(seats)
        self._queue: deque[_Piece] = deque()
        self._calls: dict[Any, tuple[_Seat, _Piece | None]] = {}
        self._alone: dict[int, dict[int, Row]] = {}
        self._heard = time.monotonic()

    def outcomes(self, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Each shard once its file is written.

        Raises:
            Cancelled: `Control.stop` was set.
        """
        self._queue.extend(_Piece(shard) for shard in shards)
        for seat in self._seats:
            self._open(seat)
        while self._goes_on():
            self._hand_out()
            done, _ = ray.wait(list(self._calls), timeout=_POLL_S)
            for outcome in filter(None, [self._settled(call) for call in done]):
                for _ in range(outcome.pictures):
                    self._control.tick()
                yield outcome
            self._complain()

    def _goes_on(self) -> bool:
        if self._control.stop.is_set:
            raise Cancelled("the job was stopped")
        is_working = any(piece is not None for _, piece in self._calls.values())
        return is_working or (bool(self._queue) and not self._control.is_ending)

    def _open(self, seat: _Seat) -> None:
        """Waits in the cluster until the actor lives, wherever Ray starts it again."""
        self._calls[seat.actor.open.options(max_task_retries=-1).remote(self._task)] = seat, None

    def _hand_out(self) -> None:
        while self._queue and not self._control.is_ending:
            piece = self._queue[0]
            free = [seat for seat in self._seats if seat.is_open and self._has_room(seat, piece)]
            if not free:
                return
            seat = min(free, key=lambda one: one.calls)
            self._queue.popleft()
            self._give(seat, piece)

    def _has_room(self, seat: _Seat, piece: _Piece) -> bool:
        return seat.calls < self._at_a_time and not seat.is_alone and (piece.place is None or not seat.calls)

    def _give(self, seat: _Seat, piece: _Piece) -> None:
        seat.calls += 1
        seat.is_alone = piece.place is not None
        actor, shard = seat.actor, piece.shard
        call = actor.work.remote(shard) if piece.place is None else actor.row.remote(shard.items[piece.place])
        self._calls[call] = seat, piece

    def _settled(self, call: Any) -> Outcome | None:
        """What came of a call; an outcome if a shard is finished with it."""
        seat, piece = self._calls.pop(call)
        try:
            answer = _answer(call)
        except RayError:
            self._lost(seat, piece)
            return self._judged(piece) if piece else None
        self._heard = time.monotonic()
        if piece is None:
            seat.is_open, seat.deaths = True, 0
            return None
        self._left(seat)
        if piece.place is None:
            finished: Outcome = answer
            return finished
        return self._collected(piece.shard, piece.place, answer)

    def _left(self, seat: _Seat) -> None:
        seat.calls -= 1
        seat.is_alone = seat.is_alone and seat.calls > 0

    def _lost(self, seat: _Seat, piece: _Piece | None) -> None:
        """An actor died, or its machine. The first call that tells opens it anew."""
        if piece is not None:
            self._left(seat)
        if piece is not None and not seat.is_open:
            return
        seat.is_open, seat.deaths = False, seat.deaths + 1
        if seat.deaths < _DEATHS:
            self._open(seat)
            return
        self._seats.remove(seat)
        if not self._seats:
            raise BatchError("no worker stays alive; `ray logs` of the cluster may say why", code="batch.no_workers")

    def _judged(self, piece: _Piece) -> Outcome | None:
        """A shard goes back into the queue; after several deaths its pictures go alone, and one of those is a failure at last."""
        piece.deaths += 1
        if piece.deaths < _DEATHS_OF_A_PIECE:
            self._queue.append(piece)
        elif piece.place is None:
            self._queue.extend(_Piece(piece.shard, place) for place in range(len(piece.shard.items)))
        else:
            name = piece.shard.items[piece.place].file_name
            failure = Failure("run.worker_died", f"the picture ended {_DEATHS_OF_A_PIECE} workers when it was alone with them")
            return self._collected(piece.shard, piece.place, Failed(name, failure))
        return None

    def _collected(self, shard: Shard, place: int, row: Row) -> Outcome | None:
        """Writes a shard whose pictures went alone, once all are there."""
        rows = self._alone.setdefault(shard.number, {})
        rows[place] = row
        if len(rows) < len(shard.items):
            return None
        ordered = [rows[place] for place in sorted(self._alone.pop(shard.number))]
        self._folder.write_shard(shard, [to_line(row) for row in ordered])
        return Outcome(shard.number, len(ordered), tuple(row for row in ordered if isinstance(row, Failed)))

    def _complain(self) -> None:
        if time.monotonic() - self._heard > _STALL_S:
            self._heard = time.monotonic()
            here = sum(seat.is_open for seat in self._seats)
            self._say(f"{here} of {len(self._seats)} workers have started; the others wait for room on the cluster")


def _answer(call: Any) -> Any:
    """What a call gave.

    Raises:
        LocaraError: as the actor did.
        RayError: the actor or its machine was lost, or something that it needs.
    """
    try:
        return ray.get(call)
    except RayTaskError as error:
        if isinstance(error.cause, LocaraError):
            raise error.cause from None
        if isinstance(error.cause, RayError):
            raise error.cause from None
        raise BatchError(f"a worker failed: {error.cause!r:.300}", code="internal") from error
