"""Inputs of any size as fragments: parts of files that one worker reads in bounded memory.

Parquet is cut between row groups and JSON Lines between lines; CSV and what is compressed
cannot be entered in the middle, and such a file is one fragment, however large: it is read as
a stream.
"""

from __future__ import annotations

import hashlib
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow
from pyarrow import fs, parquet

from router_ml.errors import DataError, MissingExtra
from router_ml.logs import find_files
from router_ml.logs.sources import is_hidden

FRAGMENT_BYTES = 1 << 26
"""About how many bytes of a file a fragment has, as they lie there."""

Kind = Literal["parquet", "lines", "packed lines", "csv"]

_CSV = re.compile(r"\.(csv|tsv)(\.\d+)?(\.(gz|zst))?$", re.I)
_KNOWN = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|parquet)(\.\d+)?(\.(gz|zst))?$", re.I)
_TABLE, _DOCUMENT = (
    re.compile(rf"\.{name}(\.\d+)?(\.(gz|zst))?$", re.I) for name in ("parquet", "json")
)
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_DATABASES = (b"SQLite format 3\0", b"DUCK")
_MAGIC = re.compile(r"[*?\[]")
_READERS = 16
"""Files looked at at once: of object stores each answers late, and costs nothing to wait for."""


class Fragment(NamedTuple):
    """A part of one file.

    Attributes:
        source: what names the file system: a URI, or a local path.
        path: the file, within that file system.
        kind: how it is read.
        start, stop: row groups of Parquet, else bytes; `stop` is excluded.
        size: bytes of the file that it stands for, for progress.
        version: the file's size and time of change, so that an altered file is another one.

    """

    source: str
    path: str
    kind: Kind
    start: int
    stop: int
    size: int
    version: str

    @property
    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that name this part of this version of the file."""
        said = "\0".join((self.path, self.kind, str(self.start), str(self.stop), self.version))
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Found(NamedTuple):
    """A file, and what named it.

    Attributes:
        source: what names the file system: a URI, or a local path.
        info: the file, within that file system.

    """

    source: str
    info: fs.FileInfo


def cut(*sources: Path | str) -> list[Fragment]:
    """Return the fragments of all the files that sources name, in the order of the files.

    Args:
        sources: files, directories and globs, local or as URIs (s3://, gs://, hdfs://, and
            whatever fsspec opens): Parquet; JSON Lines and CSV, each plain, gzip or zstd.

    Raises:
        DataError: nothing matches, or a file is missing, truncated, or of another kind.

    """
    return cut_files(find(*sources))


def find(*sources: Path | str) -> list[Found]:
    """Return the files that sources name; see `cut`."""
    return [Found(str(source), info) for source in sources for info in _find(str(source))]


def cut_files(files: Iterable[Found]) -> list[Fragment]:
    """Return the fragments of files, each once, however often it is named; see `cut`."""
    with ThreadPoolExecutor(_READERS) as pool:
        parts = pool.map(lambda file: list(_cut_file(*file)), files)
        named = {fragment.fingerprint: fragment for part in parts for fragment in part}
    return list(named.values())


@lru_cache(maxsize=64)
def open_file_system(source: str) -> tuple[fs.FileSystem, str]:
    """Return the file system that a URI or a local path names, and the path within it.

    Raises:
        DataError: no file system opens it.

    """
    if "://" not in source:
        return fs.LocalFileSystem(), str(Path(source).absolute())
    try:
        system, path = fs.FileSystem.from_uri(_without_pattern(source))
    except pyarrow.ArrowInvalid:  # a scheme that pyarrow does not know itself
        return _open_with_fsspec(source)
    except OSError as error:
        raise DataError(source, None, f"cannot be opened: {said(error)}.") from error
    return system, path + source[len(_without_pattern(source)) :]


def _open_with_fsspec(source: str) -> tuple[fs.FileSystem, str]:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra("ray", f"Opening {source}") from error
    try:
        system, path = fsspec.core.url_to_fs(source)
    except (ValueError, ImportError, OSError) as error:
        raise DataError(source, None, f"cannot be opened: {said(error)}.") from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _without_pattern(source: str) -> str:
    """Return a URI up to the directory of its first wildcard, which would be none in a URI."""
    found = _MAGIC.search(source)
    return source if found is None else source[: found.start()].rpartition("/")[0]


def _find(source: str) -> list[fs.FileInfo]:
    system, path = open_file_system(source)
    if "://" not in source:
        paths = [str(path.absolute()) for path in find_files(source)]
        return list(system.get_file_info(paths))
    try:
        return _find_remote(system, source, path)
    except OSError as error:
        raise DataError(source, None, f"cannot be listed: {said(error)}.") from error


def _find_remote(system: fs.FileSystem, source: str, path: str) -> list[fs.FileInfo]:
    info = system.get_file_info(path)
    if info.type == fs.FileType.File or (info.type == fs.FileType.NotFound and path == source):
        return [info]
    is_directory = info.type == fs.FileType.Directory
    root = path if is_directory else _MAGIC.split(path)[0].rpartition("/")[0]
    every = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    wanted = partial(_is_log, root) if is_directory else re.compile(_expression(path)).fullmatch
    files = [info for info in every if info.type == fs.FileType.File and wanted(info.path)]
    if not files:
        raise DataError(source, None, "no file matches.")
    return sorted(files, key=lambda info: str(info.path))


def _is_log(root: str, path: str) -> bool:
    return bool(_KNOWN.search(path)) and not is_hidden(path[len(root) :].split("/"))


def _expression(pattern: str) -> str:
    """Return the regular expression of a glob: `**` is any depth."""
    signs = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*|\?|\[[^]]+\])", pattern)
    return "".join(
        signs.get(piece, piece if piece.startswith("[") else re.escape(piece)) for piece in pieces
    )


def _cut_file(source: str, info: fs.FileInfo) -> Iterator[Fragment]:
    system, _ = open_file_system(source)
    version = f"{info.size} {info.mtime_ns}"
    start = _first_bytes(system, info.path)
    if start.startswith(_DATABASES[0]) or start[8:12] == _DATABASES[1]:
        raise DataError(info.path, None, "a database; only Parquet, JSON Lines and CSV are cut.")
    if _TABLE.search(info.path) and not start.startswith(b"PAR1"):
        raise DataError(info.path, None, "cannot be read as Parquet: it does not begin with PAR1.")
    if _DOCUMENT.search(info.path) and start.removeprefix(BOM_UTF8).lstrip().startswith(b"["):
        raise DataError(info.path, None, "a JSON array; make it lines: jq -c '.[]'.")
    make = partial(Fragment, source, info.path, version=version)
    if start.startswith(b"PAR1"):
        for first, last, size in _row_groups(system, info.path):
            yield make("parquet", first, last, size)
    elif _CSV.search(info.path) or start.startswith(_PACKED):
        kind: Kind = "csv" if _CSV.search(info.path) else "packed lines"
        yield make(kind, 0, info.size, info.size)
    else:
        for at in range(0, info.size, FRAGMENT_BYTES):
            end = min(at + FRAGMENT_BYTES, info.size)
            yield make("lines", at, end, end - at)


def _first_bytes(system: fs.FileSystem, path: str) -> bytes:
    try:
        with system.open_input_stream(path, compression=None) as stream:
            return bytes(stream.read(16))
    except OSError as error:
        raise _unreadable(path, error) from error


def _row_groups(system: fs.FileSystem, path: str) -> Iterator[tuple[int, int, int]]:
    """Yield (first, behind the last, bytes) of row groups that make a fragment together."""
    try:
        with system.open_input_file(path) as file:
            metadata = parquet.read_metadata(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(path, None, f"cannot be read as Parquet: {said(error)}.") from error
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    yield from _runs([_stored_bytes(group) for group in groups])


def _stored_bytes(group: object) -> int:
    columns = range(group.num_columns)  # type: ignore[attr-defined]  # pyarrow has no types
    return sum(group.column(at).total_compressed_size for at in columns)  # type: ignore[attr-defined]


def _runs(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    first, total = 0, 0
    for at, size in enumerate(sizes):
        if total and total + size > FRAGMENT_BYTES:
            yield first, at, total
            first, total = at, 0
        total += size
    if first < len(sizes):
        yield first, len(sizes), total


def _unreadable(path: str, error: OSError) -> DataError:
    return DataError(path, None, f"cannot be read: {said(error)}.")


def said(error: Exception) -> str:
    """Return what an error says, in few words: pyarrow's own tell the whole story."""
    number = getattr(error, "errno", None)
    if number:
        return os.strerror(number)
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def total_bytes(fragments: Iterable[Fragment]) -> int:
    """Return how many bytes fragments stand for."""
    return sum(fragment.size for fragment in fragments)
