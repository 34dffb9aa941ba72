"""An evaluation on an engine: each fragment is counted, and the counts add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from router_ml.batch.engines import Engine
from router_ml.batch.fragments import Fragment
from router_ml.batch.rows import CHUNK, Part, Rows, Source, run
from router_ml.batch.run import make_engine
from router_ml.chunks import chunks
from router_ml.errors import DataError, EvaluationError
from router_ml.evaluation.counting import count
from router_ml.evaluation.evidence import Panel
from router_ml.evaluation.facts import Report
from router_ml.evaluation.report import Asked, make_panel, report_of
from router_ml.evaluation.rows import Row
from router_ml.evaluation.systems import PredictionsFile, find_system
from router_ml.evaluation.tally import Tally, merged
from router_ml.logs import Broken, Mapping, refuse
from router_ml.router import Router


class _Job(NamedTuple):
    source: Source
    against: tuple[str, ...]
    asked: Asked

    def panel(self) -> Panel:
        """Seat the router and what it is compared with, found by name in every worker."""
        router = self.source.router()
        panel = make_panel(router, [find_system(n, router) for n in self.against], self.asked)
        for system in panel.systems:
            if isinstance(system, PredictionsFile) and not system.by_id:
                raise EvaluationError(
                    f"{system.name} has no `id`, so its lines go by the rows' order, which an "
                    "engine does not keep: write it with ids, or evaluate without --engine."
                )
        return panel


class _Counting:
    """A worker that counts a fragment's rows."""

    def __init__(self, job: _Job) -> None:
        self._source, self._panel = job.source, job.panel()

    def __call__(self, fragment: Fragment) -> Part[Tally]:
        rows, used = Rows(fragment, self._source), 0

        def tallies() -> Iterator[Tally]:
            nonlocal used
            for chunk in chunks(self._labelled(rows), CHUNK):
                used += len(chunk)
                evidence = self._panel.hear(chunk)
                catalog = self._panel.router.catalog
                yield count(evidence, chunk, [fragment.path], catalog, rows.unit)

        return Part(merged(tallies()), used, rows.skipped)

    def _labelled(self, rows: Rows) -> Iterator[Row]:
        for read in rows.read():
            try:
                row = self._panel.shape.row(read)
            except DataError as error:
                rows.broken(error)
            else:
                yield row


def evaluate(
    sources: Sequence[Path | str],
    router: Router,
    against: Sequence[str] = (),
    *,
    engine: str | Engine = "local",
    workers: int | None = None,
    mapping: Mapping | None = None,
    broken: Broken = refuse,
    done: Callable[[int], object] = lambda rows: None,
    **asked: Any,
) -> Report:
    """Evaluate a router on labelled logs of any size: the figures of `make_report`.

    Only labels that may be wrong are not looked for: that takes all rows at once.

    Args:
        sources: files, directories and globs, local or URIs; see `router_ml.batch.cut`.
        router: what is evaluated.
        against: names of what it is compared with, as of `evaluation.find_system`.
        engine: "local", "ray", or one of your own.
        workers: processes or actors; by default one for each core.
        mapping, broken: as of `router_ml.logs.read_log`, where `broken` is `refuse` or a
            `Skipped`.
        done: told how many rows were answered, for a progress bar.
        **asked: what else is to be said; see `evaluation.report.Asked`.

    Raises:
        DataError: input that is missing, truncated or broken.
        EvaluationError: a system or the traffic cannot be used.
        BatchError: workers die.
        MissingExtra: the engine is not installed.

    """
    job = _Job(Source.of(router, mapping, broken), tuple(against), Asked(**asked))
    panel = job.panel()
    runs_on = make_engine(engine, workers)
    tally = merged(run(partial(_Counting, job), sources, runs_on, broken, done))
    return report_of(tally, panel, job.asked)
