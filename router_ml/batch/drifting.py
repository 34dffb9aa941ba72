"""Drift on an engine: what is kept of fragments adds up to what is kept of the whole log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.batch.engines import Engine
from router_ml.batch.fragments import Fragment
from router_ml.batch.rows import Part, Rows, Source, run
from router_ml.batch.run import make_engine
from router_ml.errors import DataError
from router_ml.evaluation.drift import (
    Drift,
    Known,
    LabelDrift,
    Later,
    Profile,
    compare,
    drift_of,
    know,
    label_drift_of,
    profile,
)
from router_ml.evaluation.embeddings import Embedder
from router_ml.evaluation.judging import Judge
from router_ml.logs import Broken, Mapping, refuse
from router_ml.router import Router


class _Profiling:
    """A worker that keeps of a fragment what logs are compared by."""

    def __init__(self, source: Source) -> None:
        self._source, self._judge = source, Judge(source.router())

    def __call__(self, fragment: Fragment) -> Part[Profile]:
        rows = Rows(fragment, self._source)
        found = profile(self._judge, self._judge.judge_rows(rows.requests()))
        return Part(found, found.rows, rows.skipped)


class _Earlier(NamedTuple):
    """What workers are told of the earlier log; see `Known`."""

    units: NDArray[np.float64]
    far: float


class _Comparing:
    """A worker that also looks for rows unlike those of the earlier log."""

    def __init__(self, source: Source, earlier: _Earlier, most: int) -> None:
        self._source, self._judge, self._most = source, Judge(source.router()), most
        self._known = Known(Embedder(source.artifact), *earlier)

    def __call__(self, fragment: Fragment) -> Part[Later]:
        rows = Rows(fragment, self._source)
        judged = self._judge.judge_rows(rows.requests())
        found = compare(self._judge, judged, self._known, self._most)
        return Part(found, found.profile.rows, rows.skipped)


def measure_drift(
    sources: Iterable[Path | str],
    router: Router,
    against: Iterable[Path | str] = (),
    *,
    most: int = 200,
    engine: str | Engine = "local",
    workers: int | None = None,
    mapping: Mapping | None = None,
    broken: Broken = refuse,
    done: Callable[[int], object] = lambda rows: None,
) -> Drift | LabelDrift:
    """Compare a log of any size with an earlier one, or with the artifact's training data.

    Shifts are those of `evaluation.drift`. So is what rests on a sample of texts, where
    both logs have no more rows of text than a sample (4,096); of larger logs it is another
    sample where a row's place is another: its byte in JSON Lines, not its line.

    Args:
        sources: the later rows: files, directories and globs; see `router_ml.batch.cut`.
        router: decides on both.
        against: the earlier ones; none: the artifact's training data.
        most: how many new rows are kept, at least one.
        engine: "local", "ray", or one of your own.
        workers: processes or actors; by default one for each core.
        mapping, broken: as of `router_ml.logs.read_log`.
        done: told how many rows were used, for a progress bar.

    Raises:
        DataError: input that is missing, truncated or broken, or has no rows.
        BatchError: workers die.
        MissingExtra: the engine is not installed.

    """
    source, judge = Source.of(router, mapping, broken), Judge(router)
    runs_on = make_engine(engine, workers)
    profiling = partial(_Profiling, source)
    earlier = list(against)
    if not earlier:
        now = _sum_of_profiles(run(profiling, sources, runs_on, broken, done), "the log")
        return label_drift_of(judge, now)
    before = _sum_of_profiles(run(profiling, earlier, runs_on, broken, done), "the earlier log")
    known = know(Embedder(router.artifact), before)
    comparing = partial(_Comparing, source, _Earlier(known.units, known.far), most)
    later: Later | None = None
    for part in run(comparing, sources, runs_on, broken, done):
        if later is None:
            later = part
        else:
            later.merge(part)
    if later is None or not later.profile.rows:
        raise DataError("the log", None, "has no rows.")
    return drift_of(judge, before, later, known)


def _sum_of_profiles(parts: Iterable[Profile], name: str) -> Profile:
    found = Profile()
    for part in parts:
        found.merge(part)
    if not found.rows:
        raise DataError(name, None, "has no rows.")
    return found
