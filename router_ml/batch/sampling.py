"""Rows of a log of any size to be labelled: drawn in one pass, the same ones however it is cut.

Every row has a rank: the hash of what it says and of a seed, or how sure its decision is and
then the hash. Of each stratum the first rows by rank are taken, one of every stratum in turn,
until there are enough: strata count the same, and a small one is taken whole. What is said
twice in a stratum is one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from router_ml.batch.engines import Engine
from router_ml.batch.fragments import Fragment
from router_ml.batch.rows import CHUNK, Part, Rows, Source, run
from router_ml.batch.run import make_engine
from router_ml.chunks import chunks
from router_ml.errors import DataError
from router_ml.evaluation.judging import Judge, JudgedRow, LogRow
from router_ml.evaluation.rows import NONE
from router_ml.logs import Broken, Mapping, refuse
from router_ml.router import Router
from router_ml.types import Decision

ROUTE, LABEL = "route", "label"
"""Strata of what is decided, rather than of a field."""
_DIGITS = 4
"""Digits of a margin that count: batches of another make may differ in a float32's last bits."""

Rank = tuple[float, bytes]
Kept = tuple[str, dict[str, Any]]
"""A row behind its text, by which one of several that say the same is chosen."""


class Sample(NamedTuple):
    """The first rows of each stratum, at most `most` in all.

    A row that is not among the first of a part is not among those of the whole.

    Attributes:
        most: how many are kept.
        rows: (stratum, rank) -> row.

    """

    most: int
    rows: dict[tuple[str, Rank], Kept]

    @classmethod
    def of(cls, most: int, rows: Iterable[tuple[tuple[str, Rank], Kept]]) -> Sample:
        """Keep the first of some rows."""
        least: dict[tuple[str, Rank], Kept] = {}
        for key, row in rows:
            if key not in least or row[0] < least[key][0]:
                least[key] = row
        return cls(most, {key: least[key] for key in _first(most, least)})

    def plus(self, other: Sample) -> Sample:
        """Add the rows of another part."""
        return Sample.of(self.most, [*self.rows.items(), *other.rows.items()])


def _first(most: int, keys: Iterable[tuple[str, Rank]]) -> list[tuple[str, Rank]]:
    """Take the first of every stratum, then the second, and so on; the first by rank first."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, Rank, str]] = []
    for stratum, rank in sorted(keys):
        turns.append((seen[stratum], rank, stratum))
        seen[stratum] += 1
    return [(stratum, rank) for _, rank, stratum in sorted(turns)[:most]]


class Plan(NamedTuple):
    """How rows are drawn.

    Attributes:
        rows: how many.
        by: "route", "label" (the labels that hold together), or a field of the rows; "": all
            rows are one stratum.
        uncertain: whether those come first whose decision is least sure.
        seed: of the draw.

    """

    rows: int
    by: str = ""
    uncertain: bool = False
    seed: int = 0


class Drawn(NamedTuple):
    """A sample, and what it was drawn from.

    Attributes:
        rows: as they were read, with what was decided: `suggested_labels`, `route` and
            `confidence`.
        strata: stratum -> rows of the sample.
        usable: rows of the log that can be labelled.
        passed_over: rows with an image or audio part, or without words, which cannot.

    """

    rows: list[dict[str, Any]]
    strata: dict[str, int]
    usable: int
    passed_over: int

    def lines(self) -> Iterator[bytes]:
        """Return the rows as JSON Lines; what JSON has no word for is text."""
        return (msgspec.json.encode(row, enc_hook=str) + b"\n" for row in self.rows)


class _Found(NamedTuple):
    sample: Sample
    usable: int
    passed_over: int


class _Sampling:
    """A worker that draws from a fragment."""

    def __init__(self, source: Source, plan: Plan) -> None:
        self._source, self._plan = source, plan
        self._judge = Judge(source.router())
        self._single = self._judge.router.classifier.single_label
        self._key = str(plan.seed).encode()

    def __call__(self, fragment: Fragment) -> Part[_Found]:
        rows, seen, usable = Rows(fragment, self._source), 0, 0
        sample = Sample(self._plan.rows, {})
        for chunk in chunks(rows.requests(), max(CHUNK, self._plan.rows)):
            seen += len(chunk)
            told = [row for row in chunk if _is_for_labelling(row)]
            usable += len(told)
            judged = self._judge.judge_rows(told)
            sample = sample.plus(Sample.of(self._plan.rows, map(self._ranked, judged)))
        return Part(_Found(sample, usable, seen - usable), seen, rows.skipped)

    def _ranked(self, row: JudgedRow) -> tuple[tuple[str, Rank], Kept]:
        decision = self._judge.decide(row)
        margin = self._margin(row.probabilities or []) if self._plan.uncertain else 0.0
        text = row.log.text
        said = blake2b(text.turn + b"\x1e" + text.context, digest_size=16, key=self._key).digest()
        told = {
            "suggested_labels": list(decision.labels),
            "route": decision.route,
            "confidence": round(decision.confidence, 6),
        }
        kept = (repr(row.log.data), {**row.log.data, **told})
        return (self._stratum(row, decision), (margin, said)), kept

    def _stratum(self, row: JudgedRow, decision: Decision) -> str:
        if self._plan.by == ROUTE:
            return decision.route
        if self._plan.by == LABEL:
            return "+".join(decision.labels) or NONE
        value = row.log.data.get(self._plan.by) if self._plan.by else None
        return str(value) if isinstance(value, str | int | float) and value != "" else NONE

    def _margin(self, probabilities: Sequence[float]) -> float:
        """Return how far the least sure judgement is from an even chance, in [0, 1].

        Of one choice among labels it is how far the first is ahead of the second.
        """
        p = np.array(probabilities)
        if self._single and len(p) > 1:
            second, first = np.sort(p)[-2:]
            return round(float(first - second), _DIGITS)
        return round(float(np.abs(2 * p - 1).min(initial=1)), _DIGITS)


def _is_for_labelling(row: LogRow) -> bool:
    request = row.request
    return not (request.has_image or request.has_audio) and row.text.says_something


def draw(
    sources: Iterable[Path | str],
    router: Router,
    plan: Plan,
    *,
    engine: str | Engine = "local",
    workers: int | None = None,
    mapping: Mapping | None = None,
    broken: Broken = refuse,
    done: Callable[[int], object] = lambda rows: None,
) -> Drawn:
    """Draw rows of a log of any size, in one pass, for `router-ml label`.

    The same log and seed give the same rows, whatever its files are and however they are cut.

    Args:
        sources: files, directories and globs, local or URIs; see `router_ml.batch.cut`.
        router: says what is decided.
        plan: how rows are drawn.
        engine: "local", "ray", or one of your own.
        workers: processes or actors; by default one for each core.
        mapping, broken: as of `router_ml.logs.read_log`.
        done: told how many rows were seen, for a progress bar.

    Raises:
        DataError: input that is missing, truncated or broken; no row can be labelled, or none
            has the field.
        BatchError: workers die.
        MissingExtra: the engine is not installed.

    """
    runs_on = make_engine(engine, workers)
    make = partial(_Sampling, Source.of(router, mapping, broken), plan)
    sample, usable, passed_over = Sample(plan.rows, {}), 0, 0
    for found in run(make, sources, runs_on, broken, done):
        sample = sample.plus(found.sample)
        usable += found.usable
        passed_over += found.passed_over
    strata = dict(sorted(Counter(stratum for stratum, _ in sample.rows).items()))
    if not strata:
        raise DataError("the log", None, "has no row of words to label.")
    if plan.by and plan.by not in {ROUTE, LABEL} and set(strata) == {NONE}:
        raise DataError("the log", None, f"has no row with the field {plan.by!r} to draw by.")
    return Drawn([row for _, row in sample.rows.values()], strata, usable, passed_over)
