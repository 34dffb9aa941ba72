"""Rows of a log as the router sees them, streamed: what it says, its facts, its probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from router_ml.chunks import chunks
from router_ml.decider import NOTHING, Decider
from router_ml.examples import read_rows, request_of
from router_ml.policy import Fact
from router_ml.request import ModelText, Request, model_text
from router_ml.router import Router, parts_of
from router_ml.types import Decision

_CHUNK = 4096


class LogRow(NamedTuple):
    """One row of a log.

    Attributes:
        path, number: where it stands, the line counted from 1.
        data: the row as it was read.
        request: what it says.
        text: what the classifier reads of it.

    """

    path: Path | str
    number: int
    data: dict[str, Any]
    request: Request
    text: ModelText


class JudgedRow(NamedTuple):
    """A row and what decides on it.

    Attributes:
        log: the row.
        facts: its parts, and the policy's conditions that hold of it.
        probabilities: one a label, in the classifier's order; None where no text was judged.

    """

    log: LogRow
    facts: frozenset[Fact]
    probabilities: list[float] | None


class Judge:
    """A router taken apart, so that one row can be decided at many thresholds.

    Attributes:
        router: as it serves.
        labels: of its classifier.
        thresholds: in their order; the policy's, and the artifact's where it has none.

    """

    def __init__(self, router: Router) -> None:
        self.router = router
        self.labels = router.classifier.labels
        own = zip(self.labels, router.classifier.thresholds, strict=True)
        self.thresholds = tuple(router.policy.thresholds.get(name, p) for name, p in own)
        self._decide = Decider(router.policy, router.catalog)

    def judge(self, paths: Iterable[Path | str]) -> Iterator[JudgedRow]:
        """Judge every row of files, in chunks, in their order.

        Raises:
            DataError: a file cannot be read, or a line is no request.

        """
        return self.judge_rows(chain.from_iterable(map(read_log, paths)))

    def judge_rows(self, rows: Iterable[LogRow]) -> Iterator[JudgedRow]:
        """Judge rows, in chunks, in their order."""
        for chunk in chunks(rows, _CHUNK):
            yield from self._judge_chunk(chunk)

    def _judge_chunk(self, chunk: Sequence[LogRow]) -> Iterator[JudgedRow]:
        texts = [row.text for row in chunk]
        found = self.router.classifier.probabilities_many(texts).tolist()
        for row, probabilities in zip(chunk, found, strict=True):
            said = probabilities if row.text.says_something else None
            yield JudgedRow(row, self.facts(row.request), said)

    def facts(self, request: Request) -> frozenset[Fact]:
        """Return what the policy looks at beside labels; a row of a log has no tags of its own."""
        return parts_of(request) | self._decide.conditions.holding(request)

    def decide(self, row: JudgedRow, thresholds: Sequence[float] | None = None) -> Decision:
        """Decide as the router does, at these thresholds instead of its own."""
        at = self.thresholds if thresholds is None else thresholds
        said = row.probabilities
        prediction = self.router.classifier.predict(said, at) if said else NOTHING
        return self._decide(prediction, row.facts)


def read_log(path: Path | str) -> Iterator[LogRow]:
    """Yield a file's rows, labelled or not.

    Raises:
        DataError: the file cannot be read or has no rows, or a line is no request.

    """
    for number, data in read_rows(path):
        request = request_of(path, number, data)
        yield LogRow(path, number, data, request, model_text(request))
