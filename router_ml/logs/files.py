"""What kind of file a log is: its first bytes say so, or else its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from router_ml.errors import DataError
from router_ml.logs.databases import read_duckdb, read_parquet, read_sqlite
from router_ml.logs.lines import open_bytes, read_csv, read_json, read_jsonl
from router_ml.logs.row import Row
from router_ml.logs.sources import split_table

_FOREIGN = {
    b"PK\x03\x04": "a workbook or a zip: save it as CSV, or unpack it",
    b"BZh": "compressed by bzip2: unpack it, or compress it by gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it, or compress it by gzip",
}
_CSV = re.compile(r"\.(csv|tsv)(\.\d+)?(\.(gz|zst))?$", re.I)
_JSON = re.compile(r"\.json(\.(gz|zst))?$", re.I)


def read_file(path: Path | str) -> Iterator[Row]:
    """Yield every row of one file as it was written, or with the problem it has.

    Raises:
        DataError: the file cannot be read, or a database's table cannot be told.
        MissingExtra: reading this kind of file needs the extra `logs`.

    """
    name, table = (str(path), None) if Path(path).exists() else split_table(str(path))
    start = _start(name)
    foreign = next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), None)
    if foreign is not None:
        raise DataError(path, None, f"is {foreign}.")
    if start.startswith(b"PAR1"):
        return read_parquet(path)
    if start.startswith(b"SQLite format 3\0"):
        return read_sqlite(name, table)
    if start[8:12] == b"DUCK":
        return read_duckdb(name, table)
    if _CSV.search(name):
        return read_csv(path)
    return read_json(path) if _JSON.search(name) else read_jsonl(path)


def _start(name: str) -> bytes:
    """Return a file's first bytes; none of what is no regular file, for it is read only once."""
    if not Path(name).is_file():
        return b""
    with open_bytes(name) as file:
        return file.read(16)
