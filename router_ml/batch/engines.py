"""Who works on fragments: the processes of one machine, or Ray's.

Both run the same worker, so that the answers are the same, and the order in which fragments
are finished is nobody's promise. A worker process that dies is replaced and what it had begun
is begun again, a few times: a fragment that kills every worker ends the run.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from router_ml.batch.fragments import Fragment
from router_ml.errors import BatchError, MissingExtra, RouterMLError

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
            RouterMLError, OSError: the first that a worker raises; nothing more is begun.
            BatchError: a fragment lost its worker more than `LOSSES` times.

        """


class _Failure(NamedTuple):
    """What a worker raised, on its way to whoever asked."""

    error: Exception


def _attempt(worker: Worker[T], fragment: Fragment) -> T | _Failure:
    """Work on a fragment; errors that are said to users are returned, whatever the engine."""
    try:
        return worker(fragment)
    except (RouterMLError, OSError, MemoryError) as error:
        return _Failure(error)


def _said(result: T | _Failure) -> T:
    if isinstance(result, _Failure):
        raise result.error
    return result


class LocalEngine:
    """The processes of one machine; one process alone works in this one."""

    def __init__(self, workers: int | None = None) -> None:
        """Use so many processes, by default one for each core that this one may use."""
        self.workers = workers or len(os.sched_getaffinity(0))

    def map(self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]) -> Iterator[T]:
        """Yield the result of every fragment; see `Engine`."""
        if self.workers == 1 or len(fragments) <= 1:
            worker = make() if fragments else None
            return (_said(_attempt(worker, fragment)) for fragment in fragments if worker)
        return self._map_in_processes(make, fragments)

    def _map_in_processes(
        self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]
    ) -> Iterator[T]:
        waiting = list(reversed(fragments))
        losses: Counter[Fragment] = Counter()
        while waiting:
            lost: list[Fragment] = []
            yield from self._until_broken(make, waiting, lost)
            losses.update(lost)
            for fragment in lost:
                if losses[fragment] > LOSSES:
                    raise _lost(fragment)
            waiting += lost

    def _until_broken(
        self, make: Callable[[], Worker[T]], waiting: list[Fragment], lost: list[Fragment]
    ) -> Iterator[T]:
        """Take fragments from `waiting` until none is left or a process dies: `lost` were begun."""
        size = min(self.workers, len(waiting))
        pool = ProcessPoolExecutor(size, get_context("spawn"), _start, (make,))
        running: dict[Future[Any], Fragment] = {}
        try:
            while (waiting and not lost) or running:
                while waiting and not lost and len(running) < 2 * size:
                    fragment = waiting.pop()
                    running[_submit(pool, fragment)] = fragment
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    fragment = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        lost.append(fragment)
                    else:
                        yield _said(future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, fragment: Fragment) -> Future[Any]:
    try:
        return pool.submit(_work, fragment)
    except BrokenProcessPool as error:  # it broke since the last result
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken


_worker: Worker[Any] | _Failure | None = None
"""This process's worker; a pool's processes have nowhere else to keep it."""


def _start(make: Callable[[], Worker[Any]]) -> None:
    global _worker  # noqa: PLW0603
    try:
        _worker = make()
    except (RouterMLError, OSError) as error:
        _worker = _Failure(error)


def _work(fragment: Fragment) -> Any:
    if isinstance(_worker, _Failure):
        return _worker
    assert _worker is not None
    return _attempt(_worker, fragment)


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
            ray.init(address=address, log_to_driver=False)
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, make: Callable[[], Worker[T]], fragments: Sequence[Fragment]) -> Iterator[T]:
        """Yield the result of every fragment; see `Engine`."""
        import ray.data

        if not fragments:
            return
        size = min(self.workers, len(fragments))
        items = [{"fragment": pickle.dumps(fragment)} for fragment in fragments]
        results = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _RayWorker,
            fn_constructor_args=(make,),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=LOSSES,
        )
        for row in results.iter_rows():
            yield _said(pickle.loads(row["result"]))


class _RayWorker:
    """The actor around a worker: what goes in and comes out are Ray Data's rows."""

    def __init__(self, make: Callable[[], Worker[Any]]) -> None:
        self._worker = make()
        self._counters: dict[str, Any] = {}

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        result = _attempt(self._worker, pickle.loads(row["fragment"]))
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
