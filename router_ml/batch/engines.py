"""Who works on fragments: the processes of one machine, or Ray's.

Both run the same worker, so that the answers are the same, and the order in which fragments
are finished is nobody's promise. A worker process that dies is replaced and what it had begun
is begun again, a few times: a fragment that kills every worker ends the run.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from router_ml.batch.fragments import Fragment
from router_ml.errors import BatchError, MissingExtra

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LOSSES = 4
"""How often a fragment may lose the process that works on it."""


class Worker(Protocol[T_co]):
    """What is done with a fragment; it is made once in every worker process."""

    def __call__(self, fragment: Fragment, /) -> T_co:
        """Work on a fragment: what is returned travels between processes."""


@runtime_checkable
class Counted(Protocol):
    """A worker's result that says what it adds to the engine's metrics."""

    def counts(self) -> Mapping[str, float]:
        """Return metric -> by how much it grows."""


class Engine(Protocol):
    """Runs workers over fragments."""

    def map(self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]) -> Iterator[T]:
        """Yield the result of every fragment, each once, in the order they are finished.

        Args:
            make: makes the worker, once in every process; it travels there, so it is a
                function of a module, or a `functools.partial` of one.
            fragments: what is to be worked on.

        Raises:
            Exception: the first that a worker raises; nothing more is begun.
            BatchError: a fragment lost its worker more than `LOSSES` times.

        """


class _Failure(NamedTuple):
    """What a worker raised, on its way to whoever asked."""

    error: Exception


def _attempt(worker: Worker[T], fragment: Fragment) -> T | _Failure:
    """Work on a fragment; what it raises is returned, so that engines do not differ in it."""
    try:
        return worker(fragment)
    except Exception as error:
        return _Failure(error)


def _said(result: T | _Failure) -> T:
    if isinstance(result, _Failure):
        raise result.error
    return result


def _cores() -> int:
    """Count the cores that this process may use; where nobody says, those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalEngine:
    """The processes of one machine; one process alone works in this one."""

    def __init__(self, workers: int | None = None) -> None:
        """Use so many processes, by default one for each core that this one may use."""
        self.workers = workers or _cores()

    def map(self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]) -> Iterator[T]:
        """Yield the result of every fragment; see `Engine`."""
        if self.workers == 1 or len(fragments) <= 1:
            worker = make()
            return (_said(_attempt(worker, fragment)) for fragment in fragments)
        return self._map_in_processes(make, fragments)

    def _map_in_processes(
        self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]
    ) -> Iterator[T]:
        waiting = deque(fragments)
        losses: Counter[Fragment] = Counter()
        team = [_Process() for _ in range(min(self.workers, len(fragments)))]
        try:
            for process in team:
                process.prepare(make)
                process.begin(waiting.popleft())
            while busy := {each.pipe: each for each in team if each.fragment is not None}:
                for pipe in wait(list(busy)):
                    process = busy[pipe]  # type: ignore[index]  # it is one of those given
                    fragment, answer = process.end()
                    if isinstance(answer, _Lost):
                        losses[fragment] += 1
                        if losses[fragment] > LOSSES:
                            raise _lost(fragment)
                        waiting.appendleft(fragment)
                        team[team.index(process)] = process = _Process()
                        process.prepare(make)
                    if waiting:
                        process.begin(waiting.popleft())
                    if not isinstance(answer, _Lost):
                        yield _said(answer)
        finally:
            for process in team:
                process.stop()


class _Lost:
    """What comes of a fragment whose process died."""


class _Process:
    """A process with a worker, a pipe to it, and the fragment it works on.

    A pool of the standard library's shares queues between its processes, so that one killed
    at the wrong moment stops all of them, and it cannot say which fragment was lost.
    """

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.fragment: Fragment | None = None
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, make: Callable[[], Worker[Any]]) -> None:
        """Say what makes its worker.

        An argument of the process would be written to a pipe that this process can read too:
        where the other dies before it has read all of it, that never ends.
        """
        self._send(make)

    def begin(self, fragment: Fragment) -> None:
        """Give it a fragment."""
        self.fragment = fragment
        self._send(fragment)

    def _send(self, what: Any) -> None:
        with suppress(OSError):  # it is dead, as `end` will find
            self.pipe.send(what)

    def end(self) -> tuple[Fragment, Any]:
        """Return its fragment and what came of it, once its pipe is ready."""
        assert self.fragment is not None
        fragment, self.fragment = self.fragment, None
        try:
            return fragment, self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return fragment, _Lost()

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection) -> None:
    """Work on fragments until nobody is there to give any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this one is interrupted too
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        worker = _made(pipe.recv())
        while True:
            fragment = pipe.recv()
            pipe.send(worker if isinstance(worker, _Failure) else _attempt(worker, fragment))


def _end_with_parent() -> None:
    """End in the middle of a fragment too: the next run may begin the same."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _made(make: Callable[[], Worker[T]]) -> Worker[T] | _Failure:
    try:
        return make()
    except Exception as error:
        return _Failure(error)


def _lost(fragment: Fragment) -> BatchError:
    return BatchError(
        f"{fragment.path}: its worker died {LOSSES + 1} times; the process was killed, by want "
        "of memory perhaps. What is finished stays."
    )


class RayEngine:
    """Ray Data: an actor a worker, which Ray places, restarts and feeds."""

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        """Use so many actors, of a core each; by default as many as the cluster has cores.

        Args:
            workers: how many at most.
            address: the cluster's; by default the one `RAY_ADDRESS` names, or one that is
                started on this machine.

        Raises:
            MissingExtra: Ray is not installed.

        """
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MissingExtra("ray", "The engine `ray`") from error
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]) -> Iterator[T]:
        """Yield the result of every fragment; see `Engine`."""
        import ray.data

        if not fragments:
            return
        items = [
            {"number": number, "fragment": pickle.dumps(fragment)}
            for number, fragment in enumerate(fragments)
        ]
        begun = ray.remote(num_cpus=0)(_Begun).remote()
        size = min(self.workers, len(items))
        ray.data.DataContext.get_current().enable_progress_bars = False  # whoever asked has one
        pool = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2)
        data = ray.data.from_items(items, override_num_blocks=len(items))
        with warnings.catch_warnings():  # Ray means to end this option, and has no other yet
            warnings.simplefilter("ignore", DeprecationWarning)
            results = data.map(
                _RayWorker,
                fn_constructor_args=(make, begun),
                compute=pool,
                num_cpus=1,
                ray_remote_args_fn=_bounded_retries,
            )
        try:
            for row in results.iter_rows():
                yield _said(pickle.loads(row["result"]))
        except ray.exceptions.RayError as error:
            with suppress(ray.exceptions.RayError):  # it may be gone with the cluster
                for number, times in ray.get(begun.times.remote()).items():
                    if times > LOSSES:
                        raise _lost(fragments[number]) from error
            raise BatchError(
                f"Ray gave the run up: {_first_line(error)}. What is finished stays."
            ) from error


def _bounded_retries() -> dict[str, Any]:
    """Return what Ray is told of actors: by itself it would restart them for ever."""
    return {"max_restarts": -1, "max_task_retries": LOSSES}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


class _Begun:
    """The actor that knows how often fragments were begun: Ray does not say which one it lost."""

    def __init__(self) -> None:
        self._times: Counter[int] = Counter()

    def begin(self, number: int) -> None:
        """Count a beginning."""
        self._times[number] += 1

    def times(self) -> dict[int, int]:
        """Return the number of a fragment -> how often it was begun."""
        return dict(self._times)


class _RayWorker:
    """The actor around a worker: what goes in and comes out are Ray Data's rows."""

    def __init__(self, make: Callable[[], Worker[Any]], begun: Any) -> None:
        self._worker, self._begun = _made(make), begun
        self._counters: dict[str, Any] = {}

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        import ray

        ray.get(self._begun.begin.remote(row["number"]))
        worker = self._worker
        fragment = pickle.loads(row["fragment"])
        result = worker if isinstance(worker, _Failure) else _attempt(worker, fragment)
        if isinstance(result, Counted):
            self._count(result.counts())
        return {"result": pickle.dumps(result)}

    def _count(self, counts: Mapping[str, float]) -> None:
        """Add to Ray's metrics, which its dashboard shows."""
        from ray.util.metrics import Counter as RayCounter

        for name, grown in counts.items():
            counter = self._counters.get(name)
            if counter is None:
                counter = self._counters[name] = RayCounter(f"router_ml_{name}")
            if grown:
                counter.inc(grown)
