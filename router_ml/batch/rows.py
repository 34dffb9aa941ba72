"""The rows of fragments as the rest of the project reads them, with what is wrong with some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from router_ml.artifact import Artifact
from router_ml.batch.engines import Engine, Worker
from router_ml.batch.fragments import Fragment, cut
from router_ml.batch.reading import read_rows, unit
from router_ml.catalog import Catalog
from router_ml.errors import DataError
from router_ml.evaluation.judging import LogRow
from router_ml.examples import request_of
from router_ml.logs import Broken, Row, Skipped, refuse
from router_ml.logs import Mapping as Places
from router_ml.logs.layouts import recognise
from router_ml.policy import Policy
from router_ml.request import model_text
from router_ml.router import Router

T = TypeVar("T")
CHUNK = 8_192


class Source(NamedTuple):
    """How rows are read and decided on, in every worker.

    Attributes:
        artifact: read and verified once, for all of them.
        policy, catalog, second: as of a Router.
        mapping: where rows keep what they say.
        skip: whether rows that cannot be used are passed over; else the first ends the run.

    """

    artifact: Artifact
    policy: Policy
    catalog: Catalog
    second: Artifact | None
    mapping: Places
    skip: bool

    @classmethod
    def of(cls, router: Router, mapping: Places | None, broken: Broken) -> Source:
        """Take a router apart, so that it can travel."""
        parts = (router.artifact, router.policy, router.catalog, router.second)
        return cls(*parts, mapping or {}, broken is not refuse)

    def router(self) -> Router:
        """Put the router together again."""
        return Router(self.artifact, self.policy, self.catalog, self.second)


class Part(NamedTuple, Generic[T]):
    """What one fragment comes to.

    Attributes:
        found: what was made of its rows; None without any.
        rows: how many were used.
        skipped: those that were not.

    """

    found: T | None
    rows: int
    skipped: Skipped

    def counts(self) -> Mapping[str, float]:
        """Return what the engine's metrics count."""
        return {"rows": self.rows, "bad_rows": self.skipped.count}


class Rows:
    """The rows of one fragment, as far as they can be read."""

    def __init__(self, fragment: Fragment, source: Source) -> None:
        self._fragment, self._source = fragment, source
        self.skipped = Skipped()
        self.unit = unit(fragment)

    def read(self) -> Iterator[Row]:
        """Yield the rows, each as the project says it.

        Raises:
            DataError: the file cannot be read, or a row cannot and none may be skipped.

        """
        for read in read_rows(self._fragment):
            row = read if read.problem else recognise(read, self._source.mapping)
            if row.problem is None:
                yield row
            else:
                self.broken(row.error())

    def requests(self) -> Iterator[LogRow]:
        """Yield the rows that are requests."""
        for row in self.read():
            try:
                request = request_of(row.path, row.number, row.data)
            except DataError as error:
                self.broken(error)
            else:
                yield LogRow(row.path, row.number, row.data, request, model_text(request))

    def broken(self, error: DataError) -> None:
        """Pass over a row, or stop."""
        if self.unit == "byte" and error.line is not None:
            error = DataError(error.path, None, f"at byte {error.line}: {error.problem}")
        if not self._source.skip:
            raise error
        self.skipped(error)


def run(
    make: Callable[[], Worker[Part[T]]],
    sources: Iterable[Path | str],
    engine: Engine,
    broken: Broken,
    done: Callable[[int], object] = lambda rows: None,
) -> Iterator[T]:
    """Yield what workers make of every fragment of some logs, in the order they finish.

    Args:
        make: makes a worker.
        sources: as `router_ml.batch.cut` takes them.
        engine: runs the workers.
        broken: told of rows that were passed over; `refuse` if none may be.
        done: told how many rows were used, for a progress bar.

    """
    for part in engine.map(make, cut(*sources)):
        if isinstance(broken, Skipped):
            broken.add(part.skipped)
        done(part.rows)
        if part.found is not None:
            yield part.found
