"""What a worker does with a fragment: read, decide, write, and say that it is finished.

The output has the columns of the input and, of each row that can be read,

    predicted_route          string
    predicted_model          string; null where the policy names none
    predicted_labels         list of strings
    predicted_reason         string, a `router_ml.types.Reason`
    predicted_confidence     float
    predicted_probabilities  struct: label -> float; null where there was no text to judge
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import dataset

from router_ml.batch.days import days, is_text_type
from router_ml.batch.decisions import Decisions, decide
from router_ml.batch.fragments import Fragment
from router_ml.batch.manifest import BAD, Finished, Output
from router_ml.batch.reading import REST, Bad, Batch, Columns, read_batches, rows_of, unit
from router_ml.batch.rows import Source
from router_ml.batch.texts import Texts, joined, texts_of_prompts, texts_of_requests
from router_ml.classifier import PackedTexts, Probabilities
from router_ml.errors import DataError
from router_ml.evaluation.costs import COUNT_KEYS, OUTPUT_TOKENS, Bill, tokens_of
from router_ml.examples import request_of
from router_ml.logs import Mapping, Row
from router_ml.logs.layouts import recognise
from router_ml.logs.mapping import decoded
from router_ml.policy import Fact
from router_ml.request import Request, Turn, approximate_tokens
from router_ml.router import Router

PREDICTED = "predicted_"
ROUTE = f"{PREDICTED}route"
DAY_OF = "day_of_"
_ADDED = ("route", "model", "labels", "reason", "confidence", "probabilities")
_GROUP_ROWS, _GROUP_BYTES = 1 << 14, 1 << 23
"""What the writer of each partition holds back until it is enough for a row group."""
_SHOWN = 1 << 16
"""Characters that are kept of a bad row."""


class Job(NamedTuple):
    """What every worker of a run needs.

    Attributes:
        source: how rows are read and decided on.
        columns: of JSON Lines.
        output: the directory.
        by: "route", "day:COLUMN", or "" for files beside each other.

    """

    source: Source
    columns: Columns
    output: Output
    by: str


class _Known(NamedTuple):
    """The rows of a batch that can be read, and what is read of them.

    Attributes:
        table: the columns as they were, [n].
        texts: [n].
        facts: of each; None where the policy asks for none and none has parts.
        bad: the rows that are none.

    """

    table: pa.Table
    texts: Texts
    facts: list[frozenset[Fact]] | None
    bad: Sequence[Bad]


class Classifying:
    """A worker with a classifier of its own."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._router = job.source.router()
        self._time = job.by.removeprefix("day:")
        self._day = f"{DAY_OF}{self._time}" if job.by.startswith("day:") else ""

    def __call__(self, fragment: Fragment) -> Finished:
        """Classify a fragment; it is finished when all its output is in place.

        Raises:
            DataError: the fragment cannot be read.
            BatchError: the output cannot be written.

        """
        name = f"{fragment.fingerprint}-{secrets.token_hex(4)}"
        output = self._job.output
        try:
            tally = _Tally(self._router)
            with output.written(), self._bad_rows(fragment, name) as write_bad:
                files = self._write(fragment, name, tally, write_bad)
            if tally.bad:
                files.insert(0, _bad_file(fragment))
            with output.written():
                output.publish(fragment.fingerprint, name, files)
                finished = tally.finished(fragment, files)
                output.record(finished)
                return finished
        finally:
            output.discard(name)

    def _write(self, fragment: Fragment, name: str, tally: _Tally, write_bad: Any) -> list[str]:
        """Write what is decided; return the files, within the partial directory."""
        tables = self._tables(fragment, tally, write_bad)
        first = next(tables, None)
        if first is None:
            return []
        batches = (batch for table in _chain(first, tables) for batch in table.to_batches())
        system, path = self._job.output.partial(name)
        written: list[str] = []
        dataset.write_dataset(
            batches,
            path,
            schema=first.schema,
            format="parquet",
            filesystem=system,
            partitioning=self._partitioning(first.schema),
            basename_template=f"{fragment.fingerprint}-{{i}}.parquet",
            use_threads=False,
            max_partitions=1 << 16,
            max_open_files=256,
            min_rows_per_group=_rows_of_group(first),
            max_rows_per_group=1 << 17,
            existing_data_behavior="overwrite_or_ignore",
            file_visitor=lambda file: written.append(file.path),
        )
        return sorted(file[len(path) + 1 :] for file in written)

    def _partitioning(self, schema: pa.Schema) -> Any:
        if not self._job.by:
            return None
        column = schema.field(self._day or ROUTE)
        return dataset.partitioning(pa.schema([column]), flavor="hive")

    def _tables(self, fragment: Fragment, tally: _Tally, write_bad: Any) -> Iterator[pa.Table]:
        """Yield what is to be written, batch by batch."""
        for batch in read_batches(fragment, self._job.columns):
            known = self._read(fragment, batch)
            write_bad(known.bad)
            tally.bad += len(known.bad)
            if known.table.num_rows:
                yield self._decided(fragment, known, tally)

    def _decided(self, fragment: Fragment, known: _Known, tally: _Tally) -> pa.Table:
        probabilities = _probabilities(self._router, known.texts)
        found = decide(self._router, probabilities, known.texts.speaks, known.facts)
        tally.add(fragment, known, found)
        table = known.table
        if self._day:
            table = table.append_column(self._day, days(fragment, table, self._time))
        return _with_predictions(table, self._router, found, probabilities, known.texts.speaks)

    def _read(self, fragment: Fragment, batch: Batch) -> _Known:
        """Find what the rows of a batch say: of plain prompts by column, else row by row."""
        _check_names(fragment, [*batch.table.column_names, *filter(None, [self._day])])
        plain = _plain(batch.table, self._job.source.mapping)
        requests, hard, bad = self._requests(fragment, batch, np.flatnonzero(~plain))
        good = np.sort(np.concatenate((np.flatnonzero(plain), hard)))
        table = batch.table if len(good) == len(plain) else batch.table.take(pa.array(good))
        parts = [(np.searchsorted(good, hard), _texts(requests))] if requests else []
        if plain.any() or not parts:
            rows = np.searchsorted(good, np.flatnonzero(plain))
            parts.insert(0, (rows, texts_of_prompts(_prompts(batch.table, plain))))
        texts = joined(parts, len(good))
        facts = self._facts(table, dict(zip(parts[-1][0].tolist(), requests, strict=False)))
        return _Known(table, texts, facts, [*batch.bad, *bad])

    def _requests(
        self, fragment: Fragment, batch: Batch, rows: NDArray[np.int64]
    ) -> tuple[list[Request], NDArray[np.int64], list[Bad]]:
        """Read rows one by one; return the requests, where they are, and what is none."""
        requests: list[Request] = []
        good: list[int] = []
        bad: list[Bad] = []
        places = [batch.places[row] for row in rows.tolist()]
        given = rows_of(fragment, batch.table.take(pa.array(rows)), places)
        for row, read in zip(rows.tolist(), given, strict=True):
            known = read if read.problem else recognise(read, self._job.source.mapping)
            try:
                if known.problem is not None:
                    raise known.error()
                requests.append(request_of(fragment.path, read.number, known.data))
                good.append(row)
            except DataError as error:
                bad.append(Bad(read.number, error.problem, _shown(read)))
        return requests, np.array(good, np.int64), bad

    def _facts(self, table: pa.Table, requests: dict[int, Request]) -> list[frozenset[Fact]] | None:
        if not self._router.decider.conditions:
            if not any(each.has_image or each.has_audio for each in requests.values()):
                return None
            nothing: frozenset[Fact] = frozenset()
            facts = [nothing] * table.num_rows
            for row, request in requests.items():
                facts[row] = self._router.facts_of(request)
            return facts
        prompts = table.column("prompt").to_pylist() if "prompt" in table.column_names else []
        said = (requests.get(row) or _prompt(prompts[row]) for row in range(table.num_rows))
        return [self._router.facts_of(request) for request in said]

    @contextmanager
    def _bad_rows(self, fragment: Fragment, name: str) -> Iterator[Any]:
        """Yield what writes bad rows; the file is made with the first of them."""
        system, path = self._job.output.partial(name, _bad_file(fragment))
        streams: list[Any] = []

        def write(bad: Sequence[Bad]) -> None:
            if bad and not streams:
                system.create_dir(path.rpartition("/")[0])
                streams.append(system.open_output_stream(path))
            for each in bad:
                streams[0].write(_origin(fragment, each))

        try:
            yield write
        finally:
            for stream in streams:
                stream.close()


def _bad_file(fragment: Fragment) -> str:
    return f"{BAD}/{fragment.fingerprint}.jsonl"


def _rows_of_group(like: pa.Table) -> int:
    """Return how many rows make a row group, if they are as large as those of a table."""
    return int(max(1, min(_GROUP_ROWS, _GROUP_BYTES * like.num_rows // like.nbytes)))


def _check_names(fragment: Fragment, names: Sequence[str]) -> None:
    """Check that no column of the input has the name of one that is added."""
    added = {f"{PREDICTED}{name}" for name in _ADDED}
    for name in (name for name, count in Counter(names).items() if count > 1 or name in added):
        raise DataError(fragment.path, None, f"has a column {name!r} already: take it out first.")


def _chain(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others


def _origin(fragment: Fragment, bad: Bad) -> bytes:
    found = {
        "file": fragment.path,
        unit(fragment): bad.place,
        "problem": bad.problem,
        "text": bad.text[:_SHOWN],
    }
    return msgspec.json.encode(found) + b"\n"


def _shown(row: Row) -> str:
    return "" if row.problem else msgspec.json.encode(row.data, enc_hook=str).decode()


def _plain(table: pa.Table, mapping: Mapping) -> NDArray[np.bool_]:
    """Say which rows are a plain `prompt` and nothing that would have to be looked at."""
    names = table.column_names
    is_text = "prompt" in names and is_text_type(table.schema.field("prompt").type)
    if mapping or not is_text:
        return np.zeros(table.num_rows, bool)
    plain = table.column("prompt").is_valid()
    if "messages" in names:
        plain = pc.and_(plain, table.column("messages").is_null())
    return np.asarray(plain.to_numpy(), bool)


def _prompts(table: pa.Table, plain: NDArray[np.bool_]) -> pa.Array:
    if not table.num_rows or not plain.any():
        return pa.array([], pa.string())
    column = table.column("prompt").combine_chunks()
    return column if plain.all() else column.filter(pa.array(plain))


def _texts(requests: Sequence[Request]) -> Texts:
    return texts_of_requests(requests, (approximate_tokens(request) for request in requests))


def _prompt(text: str) -> Request:
    return Request((Turn("user", text),))


def _probabilities(router: Router, texts: Texts) -> Probabilities:
    """Return float32 [n, labels]; zeros where nothing is said."""
    found = np.zeros((len(texts.speaks), len(router.classifier.labels)), np.float32)
    rows = np.flatnonzero(texts.speaks)
    asked = PackedTexts(texts.packed.data, texts.packed.starts[rows], texts.packed.lengths[rows])
    found[rows] = router.classifier.probabilities_packed(asked)
    return found


def _with_predictions(
    table: pa.Table,
    router: Router,
    found: Decisions,
    probabilities: Probabilities,
    speaks: NDArray[np.bool_],
) -> pa.Table:
    which = pa.array(found.which)
    text = pa.string()
    said = {
        "route": pa.array([each.route for each in found.outcomes], text).take(which),
        "model": pa.array([each.model for each in found.outcomes], text).take(which),
        "labels": pa.array([each.labels for each in found.outcomes], pa.list_(text)).take(which),
        "reason": pa.array([each.reason.value for each in found.outcomes], text).take(which),
        "confidence": pa.array(found.confidence.astype(np.float32)),
        "probabilities": pa.StructArray.from_arrays(
            [pa.array(np.ascontiguousarray(column)) for column in probabilities.T],
            [*router.classifier.labels],
            mask=pa.array(~speaks),
        ),
    }
    for name in _ADDED:
        table = table.append_column(f"{PREDICTED}{name}", said[name])
    return table


class _Tally:
    """What a fragment comes to."""

    def __init__(self, router: Router) -> None:
        self._catalog = router.catalog
        self.rows, self.bad = 0, 0
        self.routes: Counter[str] = Counter()
        self.cost, self.baseline_cost = 0.0, 0.0

    def add(self, fragment: Fragment, known: _Known, found: Decisions) -> None:
        """Count some rows."""
        self.rows += known.table.num_rows
        rows = np.bincount(found.which, minlength=len(found.outcomes)).tolist()
        for outcome, count in zip(found.outcomes, rows, strict=True):
            self.routes[outcome.route] += count
        bill = Bill(_tokens(fragment, known))
        models = [outcome.model for outcome in found.outcomes]
        self.cost += float(np.nansum(bill.on(models, found.which, self._catalog)))
        baseline = bill.on([self._catalog.baseline], 0, self._catalog)
        self.baseline_cost += float(np.nansum(baseline))

    def finished(self, fragment: Fragment, files: list[str]) -> Finished:
        """Return the record of a fragment that all of this is of."""
        return Finished(
            fragment.fingerprint,
            fragment.path,
            fragment.start,
            fragment.stop,
            fragment.size,
            self.rows,
            self.bad,
            dict(self.routes),
            self.cost,
            self.baseline_cost,
            files,
        )


def _tokens(fragment: Fragment, known: _Known) -> NDArray[np.float64]:
    """Return tokens read, written and cached, float64 [n, 3]: counted in the log, or estimated."""
    estimated = known.texts.tokens
    found = np.zeros((len(estimated), 3))
    found[:, 0], found[:, 1] = estimated, OUTPUT_TOKENS
    keys = [key for key in (*COUNT_KEYS, REST) if key in known.table.column_names]
    counts = known.table.select(keys)
    rows = rows_of(fragment, counts, range(len(found))) if _says_something(counts) else []
    for at, row in enumerate(rows):
        tokens = tokens_of({key: decoded(cell) for key, cell in row.data.items()}, _NOTHING)
        read = tokens.input_tokens if tokens.input_counted else estimated[at]
        found[at] = (read, tokens.output_tokens, tokens.cached_input_tokens)
    return found


def _says_something(table: pa.Table) -> bool:
    return any(column.null_count < len(column) for column in table.columns)


_NOTHING = Request(())
