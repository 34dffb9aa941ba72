"""Files of requests and labelled requests: JSON Lines, plain or gzip.

    {"prompt": "…", "labels": ["math"]}
    {"messages": [{"role": "user", "content": "…"}], "labels": []}
    {"prompt": "…", "label": "billing"}

Optional keys: `id`, `source`, `license`, `lang`, `split`, `group`; others are ignored.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from router_ml.errors import DataError
from router_ml.request import ModelText, Request, model_text, read_request

_LABEL_MAX = 100


class Example(NamedTuple):
    """One labelled request.

    Attributes:
        request: what it says.
        text: what the classifier reads of it.
        labels: sorted, without repetitions; empty: none of the labels.
        single: whether the row named one `label` rather than `labels`.
        source, lang, split, group, id: as in the file; "" where absent.

    """

    request: Request
    text: ModelText
    labels: tuple[str, ...]
    single: bool
    source: str = ""
    lang: str = ""
    split: str = ""
    group: str = ""
    id: str = ""

    @property
    def has_parts(self) -> bool:
        """Whether an image or audio part decides, so that its words alone need not."""
        return self.request.has_image or self.request.has_audio


def read_examples(paths: Iterable[Path | str]) -> list[Example]:
    """Read labelled files, in the order given.

    Raises:
        DataError: a file is missing, empty, or no JSON Lines; a row has no prompt or
            messages, or no labels. It names file and line.

    """
    examples: list[Example] = []
    for path in paths:
        before = len(examples)
        examples += (example_of(path, *numbered) for numbered in read_rows(path))
        if len(examples) == before:
            raise DataError(path, None, "the file has no rows.")
    return examples


def read_rows(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON Lines file; blank lines are passed over.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.

    """
    for number, line in read_lines(path):
        if line.strip():
            yield number, parse_row(path, number, line)


def read_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, bytes) of every line of a plain or gzip file."""
    opener = gzip.open if str(path).endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(path, number + 1, "the gzip stream is broken or cut short.") from error
    except OSError as error:
        raise DataError(path, None, f"cannot be read: {error.strerror or error}.") from error


def parse_row(path: Path | str, number: int, line: bytes) -> dict[str, Any]:
    """Parse one line as a JSON object, or raise DataError naming it."""
    if not line.strip():
        raise DataError(path, number, "the line is empty.")
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(path, number, f"no JSON: {error}.") from error
    except RecursionError as error:
        raise DataError(path, number, "nested too deeply.") from error
    if not isinstance(row, dict):
        raise DataError(path, number, "a line must be a JSON object.")
    return row


def request_of(path: Path | str, number: int, row: dict[str, Any]) -> Request:
    """Read a row's `prompt` or `messages`, or raise DataError naming the line."""
    prompt, messages = row.get("prompt"), row.get("messages")
    if (prompt is None) == (messages is None):
        raise DataError(path, number, "a row needs either `prompt` or `messages`.")
    if prompt is not None and not isinstance(prompt, str):
        raise DataError(path, number, "`prompt` must be a string.")
    request = read_request(prompt if prompt is not None else messages)
    if not request.readable or not request.turns:
        raise DataError(path, number, "`messages` must be a list of messages, at least one.")
    return request


def is_label(name: str) -> bool:
    """Say whether a text can be a label: short, of one line, and not blank."""
    return bool(name.strip()) and len(name) <= _LABEL_MAX and name.isprintable()


def labels_of(path: Path | str, number: int, row: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Read a row's `labels` or `label`; the second value says whether it was `label`."""
    single = "labels" not in row
    labels = row.get("label") if single else row["labels"]
    labels = [labels] if single and isinstance(labels, str) else labels
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise DataError(path, number, "a row needs `labels` (a list) or `label` (a string).")
    for name in labels:
        if not is_label(name):
            raise DataError(path, number, f"{name[:_LABEL_MAX]!r} is no label.")
    return tuple(sorted(set(labels))), single


def example_of(path: Path | str, number: int, row: dict[str, Any]) -> Example:
    """Read a row as a labelled request, or raise DataError naming the line."""
    request = request_of(path, number, row)
    labels, single = labels_of(path, number, row)
    text = {
        key: str(row[key])
        for key in ("source", "lang", "split", "group", "id")
        if row.get(key) is not None
    }
    return Example(request, model_text(request), labels, single, **text)


def label_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return every label of the examples, sorted."""
    return tuple(sorted({name for example in examples for name in example.labels}))
