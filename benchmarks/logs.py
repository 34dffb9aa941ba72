"""How fast a log is read, and that memory stays bounded however large it is.

    python benchmarks/logs.py                       # 2 GiB, one kind of file after the other
    python benchmarks/logs.py --gib 0.1 --kinds jsonl csv

Each file is written to a temporary directory (`--directory` names another), read by a fresh
process, and deleted. Needs the extra `logs`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import duckdb
import pyarrow
from pyarrow import parquet

from router_ml.evaluation.latency import RESIDENT_MB

Rows = Iterator[dict[str, str]]

READ = f"""
import json, sys, time
from router_ml.logs import read_log
{RESIDENT_MB}
before, started = resident_mb(), time.perf_counter()
rows = sum(1 for row in read_log([sys.argv[1]]))
took = time.perf_counter() - started
print(json.dumps({{"rows": rows, "seconds": took, "before": before, "after": resident_mb()}}))
"""
_TEXT = "Where is my refund? I sent the parcel back a week ago and nobody answers. "


def rows_of(size: float) -> Rows:
    """Yield rows of about 300 to 3,000 bytes until they are `size` bytes together."""
    for number in count():
        text = f"{number} " + _TEXT * (4 + number % 37)
        size -= len(text)
        yield {"prompt": text, "label": "billing" if number % 2 else "refunds"}
        if size <= 0:
            return


def write_jsonl(path: Path, rows: Rows) -> None:
    """One object a line."""
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_gzip(path: Path, rows: Rows) -> None:
    """The same, compressed."""
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_zstd(path: Path, rows: Rows) -> None:
    """The same, by zstd."""
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")


def write_csv(path: Path, rows: Rows) -> None:
    """With a header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "label"])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Rows) -> None:
    """Row groups as writers make them, 100,000 rows each."""
    schema = pyarrow.schema({"prompt": pyarrow.string(), "label": pyarrow.string()})
    with parquet.ParquetWriter(path, schema) as writer:
        for some in _in_parts(rows, 100_000):
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


def write_sqlite(path: Path, rows: Rows) -> None:
    """One table."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE log (prompt TEXT, label TEXT)")
        database.executemany("INSERT INTO log VALUES (:prompt, :label)", rows)
    database.close()


def write_duckdb(path: Path, rows: Rows) -> None:
    """One table."""
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE log (prompt TEXT, label TEXT)")
        for some in _in_parts(rows, 100_000):
            part = pyarrow.Table.from_pylist(some)
            database.register("part", part)
            database.execute("INSERT INTO log SELECT prompt, label FROM part")


def _in_parts(rows: Rows, size: int) -> Iterator[list[dict[str, str]]]:
    while some := list(islice(rows, size)):
        yield some


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    "jsonl": write_jsonl,
    "jsonl.gz": write_gzip,
    "jsonl.zst": write_zstd,
    "csv": write_csv,
    "parquet": write_parquet,
    "sqlite": write_sqlite,
    "duckdb": write_duckdb,
}


def measure(kind: str, size: float, directory: Path) -> None:
    """Write a file, read it, say what that took, and delete it."""
    path = directory / f"log.{kind}"
    try:
        WRITERS[kind](path, rows_of(size))
        command = [sys.executable, "-c", READ, str(path)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"{kind:10} {path.stat().st_size / 2**30:6.2f} GiB  {found['rows']:9,d} rows  "
            f"{found['rows'] / found['seconds']:9,.0f} rows/s  "
            f"{found['before']:4.0f} -> {found['after']:4.0f} MiB at most"
        )
    finally:
        path.unlink(missing_ok=True)


def main() -> None:
    """Measure the kinds that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gib", type=float, default=2.0, help="of text in each file")
    parser.add_argument("--kinds", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--directory", type=Path, help="where the files are for a while")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for kind in options.kinds:
            measure(kind, options.gib * 2**30, Path(directory))


if __name__ == "__main__":
    main()
