"""Labelled requests: rows of logs whose request and labels are known.

    {"prompt": "…", "labels": ["math"]}
    {"messages": [{"role": "user", "content": "…"}], "labels": []}
    {"prompt": "…", "label": "billing"}

Other layouts come down to these: see `router_ml.logs`. Optional keys: `id`, `source`,
`license`, `lang`, `split`, `group`; others are ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from router_ml.chat import read_chat
from router_ml.errors import DataError
from router_ml.logs import Broken, Mapping, Row, read_log, refuse
from router_ml.logs.layouts import LABEL_COLUMNS
from router_ml.logs.lines import json_row, read_jsonl
from router_ml.logs.row import BLANK
from router_ml.request import ModelText, Request, model_text

_LABEL_MAX = 100
_UNLABELLED = (
    "a row needs `labels` (a list), `label` (a string), or just one of "
    f"{', '.join(LABEL_COLUMNS[1:])}; --map label=PLACE says where its label is."
)


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


def read_examples(
    sources: Iterable[Path | str],
    *,
    mapping: Mapping | None = None,
    broken: Broken = refuse,
    scrub: str = "",
) -> list[Example]:
    """Read labelled requests, in the order given.

    Args:
        sources: as `router_ml.logs.read_log` takes them.
        mapping: where rows keep what they say, if their layout is not known.
        broken: told of rows that cannot be read or have no labels; by default the first
            is raised.
        scrub: a country, as of `router_ml.logs.read_log`.

    Raises:
        DataError: a file is missing, empty, or no log; or what `broken` raises.

    """
    rows = read_log(sources, mapping=mapping, broken=broken, scrub=scrub)
    return list(stream_examples(rows, broken))


def stream_examples(rows: Iterable[Row], broken: Broken = refuse) -> Iterator[Example]:
    """Yield rows of a log as labelled requests; `broken` is told of those that are none."""
    for row in rows:
        try:
            example = example_of(row.path, row.number, row.data)
        except DataError as error:
            broken(error)
        else:
            yield example


def read_rows(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number, row) of one log, each row as the project says it.

    Raises:
        DataError: the file cannot be read or has no rows, or a row cannot be read.

    """
    return ((row.number, row.data) for row in read_log([path]))


def read_objects(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of JSON Lines that are no log: answers, results.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.

    """
    for row in read_jsonl(path):
        if row.problem is None:
            yield row.number, row.data
        elif row.problem != BLANK:
            raise row.error()


def parse_object(path: Path | str, number: int, line: bytes) -> dict[str, Any]:
    """Parse one line as a JSON object, or raise DataError naming it."""
    row = json_row(path, number, line)
    if row.problem is not None:
        raise row.error()
    return row.data


def request_of(path: Path | str, number: int, row: dict[str, Any]) -> Request:
    """Read a row's `prompt` or `messages`, or raise DataError naming the line."""
    prompt, messages = row.get("prompt"), row.get("messages")
    if (prompt is None) == (messages is None):
        raise DataError(path, number, "a row needs either `prompt` or `messages`.")
    if prompt is not None and not isinstance(prompt, str):
        raise DataError(path, number, "`prompt` must be a string.")
    request = read_chat(prompt if prompt is not None else messages)
    if not request.readable or not request.turns:
        raise DataError(path, number, "`messages` must be a list of messages, at least one.")
    return request


def is_label(name: str) -> bool:
    """Say whether a text can be a label: short, of one line, and not blank."""
    return bool(name.strip()) and len(name) <= _LABEL_MAX and name.isprintable()


def labels_of(path: Path | str, number: int, row: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Read a row's `labels` or `label`; the second value says whether it was `label`.

    White space around a name is no part of it, and a whole number is the name it is written as.
    """
    single = row.get("labels") is None
    labels = [row.get("label")] if single else row["labels"]
    if labels == [None]:
        raise DataError(path, number, _UNLABELLED)
    if not isinstance(labels, list) or not all(isinstance(name, str | int) for name in labels):
        raise DataError(path, number, "`label` must be a string, or `labels` a list of strings.")
    names = {str(name).strip() for name in labels}
    for name in names:
        if not is_label(name):
            raise DataError(path, number, f"{name[:_LABEL_MAX]!r} is no label.")
    return tuple(sorted(names)), single


def example_of(path: Path | str, number: int, row: dict[str, Any]) -> Example:
    """Read a row as a labelled request, or raise DataError naming its line."""
    request = request_of(path, number, row)
    labels, single = labels_of(path, number, row)
    text = {
        key: str(row[key])
        for key in ("source", "lang", "split", "group", "id")
        if row.get(key) is not None
    }
    return Example(request, model_text(request), labels, single, **text)


def labels_alike(labels: Iterable[str]) -> list[list[str]]:
    """Return labels that differ only in case or white space, those of one name together."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike["".join(label.split()).casefold()].append(label)
    return [names for names in alike.values() if len(names) > 1]


def label_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return every label of the examples, sorted."""
    return tuple(sorted({name for example in examples for name in example.labels}))
