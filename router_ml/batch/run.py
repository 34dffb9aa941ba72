"""A run: every fragment of an input classified, once, whatever happens in between."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from router_ml.artifact import Artifact
from router_ml.batch.classifying import Classifying, Job
from router_ml.batch.engines import Engine, LocalEngine, RayEngine
from router_ml.batch.fragments import Found, Fragment, cut_files, find, total_bytes
from router_ml.batch.manifest import Finished, Identity, Output, digest, outdated
from router_ml.batch.reading import find_columns
from router_ml.batch.rows import Source
from router_ml.errors import BatchError
from router_ml.logs import Mapping, Skipped
from router_ml.plurals import counted
from router_ml.policy import Policy
from router_ml.router import Router

MOST_BAD = 0.01
"""The share of bad rows above which a run stops."""
_FEW = 1000
"""Rows before whose number a share says little."""


class Progress(msgspec.Struct):
    """How far a run is, or how it ended.

    Attributes:
        fragments: all of the input, and of them `finished`; `kept` those an earlier run did.
        size: bytes of the input, and of them `done`.
        rows, bad: decided on, and unreadable; those of earlier runs included.
        routes: route -> rows.
        cost, baseline_cost: of the decided models, and of the catalog's baseline, in US
            dollars: tokens counted in the log or estimated, at the catalog's prices.
        seconds: since the run began.
        new_rows, new_bytes: of this run alone.

    """

    fragments: int
    size: int
    finished: int = 0
    kept: int = 0
    done: int = 0
    rows: int = 0
    bad: int = 0
    routes: dict[str, int] = {}
    cost: float = 0.0
    baseline_cost: float = 0.0
    seconds: float = 0.0
    new_rows: int = 0
    new_bytes: int = 0

    @property
    def rows_per_s(self) -> float:
        """How many rows this run decides on in a second."""
        return self.new_rows / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it takes still if it goes on like this; None where nothing says so yet."""
        if not self.new_bytes:
            return None
        return (self.size - self.done) * self.seconds / self.new_bytes

    @property
    def bad_share(self) -> float:
        """Return the share of rows that cannot be read."""
        return self.bad / max(1, self.rows + self.bad)

    def add(self, finished: Finished) -> None:
        """Count a finished fragment."""
        self.finished += 1
        self.done += finished.size
        self.rows += finished.rows
        self.bad += finished.bad
        self.cost += finished.cost
        self.baseline_cost += finished.baseline_cost
        self.routes = dict(Counter(self.routes) + Counter(finished.routes))

    def add_new(self, finished: Finished, seconds: float) -> None:
        """Count a fragment that this run finished, so many seconds after it began."""
        self.add(finished)
        self.new_rows += finished.rows + finished.bad
        self.new_bytes += finished.size
        self.seconds = seconds


def make_engine(engine: str | Engine, workers: int | None = None) -> Engine:
    """Return the engine `local` or `ray`, or one that is made already.

    Raises:
        BatchError: there is no such engine.
        MissingExtra: Ray is not installed.

    """
    if not isinstance(engine, str):
        return engine
    if engine == "local":
        return LocalEngine(workers)
    if engine == "ray":
        return RayEngine(workers)
    raise BatchError(f"There is no engine {engine!r}: there are local and ray.")


def classify(
    sources: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    router: Router | None = None,
    engine: str | Engine = "local",
    workers: int | None = None,
    by: str = "",
    mapping: Mapping | None = None,
    most_bad: float = MOST_BAD,
    overwrite: bool = False,
    done: Callable[[Progress], object] = lambda progress: None,
) -> Progress:
    """Decide on every row of logs of any size, into a directory of Parquet.

    Whatever is finished stays: the same call again goes on. With several workers, a script
    must guard it with `if __name__ == "__main__"`, as Python's multiprocessing asks.

    Args:
        sources: files, directories and globs, local or URIs; see `router_ml.batch.cut`.
        output: a directory, local or a URI.
        router: artifact, policy and catalog; the shipped ones by default.
        engine: "local", "ray", or one of your own.
        workers: processes or actors; by default one for each core.
        by: partition by "route" or "day:COLUMN"; "": do not.
        mapping: where rows keep what they say, if their layout is not known.
        most_bad: the share of bad rows above which the run stops, in [0, 1].
        overwrite: delete the output of a run with another artifact, policy or options.
        done: told of every finished fragment.

    Raises:
        DataError: input that is missing, truncated or broken.
        BatchError: the output is another run's or cannot be written, another run writes it,
            too many rows are bad, or workers die.
        MissingExtra: the engine is not installed.

    """
    _check_by(by)
    router = router or Router.load()
    place, began = Output(str(output), secrets.token_hex(4)), time.monotonic()
    files = _inputs([sources] if isinstance(sources, str | Path) else sources, place)
    fragments = cut_files(files)
    runs_on = make_engine(engine, workers)
    wanted = _identity(router, by, mapping or {}, find_columns(fragments))
    with place.held():
        with place.written():
            identity = place.begin(wanted, overwrite=overwrite)
            progress, left = _go_on(place, files, fragments)
        done(progress)
        source = Source.of(router, mapping, Skipped())
        job = Job(source, identity.columns, place, by)
        for finished in runs_on.map(partial(Classifying, job), left):
            progress.add_new(finished, time.monotonic() - began)
            done(progress)
            if progress.rows + progress.bad >= _FEW:
                _check_bad(progress, most_bad, place)
        _check_bad(progress, most_bad, place)
    return progress


def _check_by(by: str) -> None:
    if by not in {"", "route"} and by.removeprefix("day:") in {"", by}:
        raise BatchError(f"Output is partitioned by `route` or `day:COLUMN`, not by {by!r}.")


def _inputs(sources: Iterable[str | Path], output: Output) -> list[Found]:
    """Find the input; what an output has that lies in a directory of it is none of it."""
    found = find(*sources)
    files = [file for file in found if not output.has(file)]
    if found and not files:
        raise BatchError(
            f"{output.uri}: all of the input is output of its own: name another directory."
        )
    return files


def _go_on(
    output: Output, files: Sequence[Found], fragments: Sequence[Fragment]
) -> tuple[Progress, list[Fragment]]:
    """Count what is finished, delete what is outdated; return how far it is and what is left."""
    finished = output.finished()
    old = outdated(finished, files, fragments)
    output.remove(old)
    kept = {each.fingerprint: each for each in finished if each not in old}
    progress = Progress(len(fragments), total_bytes(fragments))
    for fragment in fragments:
        if fragment.fingerprint in kept:
            progress.add(kept[fragment.fingerprint])
    progress.kept = progress.finished
    return progress, [each for each in fragments if each.fingerprint not in kept]


def _identity(router: Router, by: str, mapping: Mapping, columns: dict[str, str]) -> Identity:
    return Identity(
        artifact=_digest_of(router.artifact),
        second=_digest_of(router.second) if router.second else "",
        policy=digest(_wherever(router.policy)),
        catalog=digest(router.catalog),
        by=by,
        mapping=mapping,
        columns=columns,
    )


def _digest_of(artifact: Artifact) -> str:
    return digest(msgspec.to_builtins(artifact.config))


def _wherever(policy: Policy) -> Policy:
    """Return a policy that does not say where its second artifact is."""
    if policy.second is None:
        return policy
    return replace(policy, second=replace(policy.second, artifact=""))


def _check_bad(progress: Progress, most_bad: float, output: Output) -> None:
    if progress.bad_share > most_bad:
        raise BatchError(
            f"{progress.bad:,} of {counted(progress.rows + progress.bad, 'row')} cannot be read, "
            f"{progress.bad_share:.2%} where at most {most_bad:.2%} may be; {output.uri}/_bad says "
            "which and why. What is finished stays."
        )
