"""Labelled rows made ready to learn from: read, cleaned, checked, divided."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import RecipeError, TrainingError
from router_ml.examples import Example, label_names, labels_alike, read_examples
from router_ml.logs import Broken, refuse
from router_ml.plurals import counted
from router_ml.request import ModelText
from router_ml.training.duplicates import Cleaned, drop_duplicates
from router_ml.training.progress import Progress
from router_ml.training.recipe import DataRecipe, Recipe, expand
from router_ml.training.split import Split, split_rows

Rows = NDArray[np.intp]

GOLDEN = "golden rows"
"""The source of rows that teach what is none of a log's labels, and are not judged."""


class Data(NamedTuple):
    """Rows made ready to learn from.

    Attributes:
        cleaned: the rows, without duplicates.
        labels: in the order of the targets' columns.
        single_label: whether the labels exclude each other.
        targets: 0 or 1, float32 [n, labels].
        weights: of the rows in training, float32 [n].
        split: which rows are learned from, and which are held out.
        left_out: how many were not usable.

    """

    cleaned: Cleaned
    labels: tuple[str, ...]
    single_label: bool
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    split: Split
    left_out: int

    def texts(self, rows: Rows) -> list[ModelText]:
        """Return the texts of these rows."""
        return [self.cleaned.examples[row].text for row in rows]

    def examples(self, rows: Rows) -> list[Example]:
        """Return these rows."""
        return [self.cleaned.examples[row] for row in rows]

    @property
    def own(self) -> NDArray[np.bool_]:
        """Which rows are of the log, bool [n]; the others are golden rows."""
        return np.array([example.source != GOLDEN for example in self.cleaned.examples])

    def held_out(self) -> Rows:
        """Return the rows that nothing was learned from; all of them if there are none."""
        held = np.concatenate([self.split.calibration, self.split.test])
        return held if len(held) else self.split.train


def read_data(
    recipe: Recipe, base: Path, public_data: Path | None, broken: Broken = refuse
) -> list[Example]:
    """Read the rows a recipe learns from; `broken` is told of those that cannot be."""
    files = expand(recipe.data.files, base, public_data)
    if not files:
        raise RecipeError(
            "The recipe learns from public files alone: say where they lie with --public-data."
        )
    return read_examples(files, mapping=recipe.data.map, broken=broken, scrub=recipe.data.scrub)


def clean(
    recipe: Recipe,
    examples: Sequence[Example],
    progress: Progress,
    test: Sequence[Example] = (),
) -> Cleaned:
    """Keep one of each set of duplicates among the rows whose words say their labels.

    Args:
        recipe: says what is a duplicate.
        examples: the rows.
        progress: told of rows as they are done.
        test: rows that are only measured on; their duplicates are left out.

    """
    near, same_group = recipe.data.near_duplicate, recipe.data.same_group
    some = usable(examples)
    with progress("Finding duplicates", len(some)) as done:
        return drop_duplicates(some, near, same_group, done, test)


def usable(examples: Sequence[Example]) -> list[Example]:
    """Return the rows whose words say their labels: no image or audio part does."""
    return [e for e in examples if not e.has_parts and e.text.says_something]


def is_single(examples: Sequence[Example]) -> bool:
    """Say whether labels exclude each other: all rows have one, and most say it as `label`."""
    singles = sum(example.single for example in examples)
    return all(len(e.labels) == 1 for e in examples) and 2 * singles > len(examples)


class LeftOut(msgspec.Struct, frozen=True):
    """How many rows nothing is learned from, and why.

    Attributes:
        conflicting: the same words carry other labels elsewhere.
        repeated: another row says the same, or nearly, with the same labels.
        tested: a row that is only measured on says nearly the same.
        parts: an image or audio part decides, not the words.
        wordless: there are no words.

    """

    conflicting: int
    repeated: int
    tested: int
    parts: int
    wordless: int

    @classmethod
    def of(cls, examples: Sequence[Example], cleaned: Cleaned) -> LeftOut:
        """Count what cleaning left out of some rows."""
        parts = sum(example.has_parts for example in examples)
        wordless = len(examples) - parts - len(usable(examples))
        return cls(cleaned.conflicts, cleaned.dropped, cleaned.leaked, parts, wordless)

    @property
    def total(self) -> int:
        """How many rows that are, for whatever reason."""
        return sum(msgspec.structs.astuple(self))

    def __str__(self) -> str:
        """List what there is, for people, the most first."""
        said = (
            (self.conflicting, "with conflicting labels", ""),
            (self.repeated, "that repeats another", "that repeat another"),
            (self.tested, "that repeats a test row", "that repeat a test row"),
            (self.parts, "with an image or sound", ""),
            (self.wordless, "without words", ""),
        )
        found = sorted(said, key=lambda one: -one[0])
        return ", ".join(counted(n, one, several or one) for n, one, several in found if n)


def account(examples: Sequence[Example], data: Data, added: int = 0) -> list[str]:
    """Say what became of the rows that were read, and what kind of labels they have.

    Args:
        examples: the rows, before cleaning.
        data: what was made of them.
        added: how many of them, the last, are golden rows of the artifact that is extended.

    """
    own, learned = examples[: len(examples) - added], len(data.split.train)
    held = len(data.cleaned.examples) - learned
    golden = f" and {counted(added, 'golden row')} beside them" if added else ""
    read = f"{counted(len(own), 'row')} read{golden}, {learned:,} learned from"
    parts = f"{held:,} held out to calibrate and measure" if held else ""
    why = ", ".join(filter(None, (parts, str(LeftOut.of(examples, data.cleaned)))))
    return [f"{read}: {why}." if why else f"{read}.", *_kind(own, data.single_label)]


def _kind(examples: Sequence[Example], single_label: bool) -> Iterator[str]:
    """Say which kind of labels was taken where rows have both."""
    lists = sum(not example.single for example in examples)
    single = len(examples) - lists
    if lists and single:
        taken = "exactly one holds" if single_label else "several may hold at once"
        have = counted(single, "has", "have")
        yield f"Of the rows read {have} `label` and {lists:,} `labels`: of the labels {taken}."


def divide(recipe: Recipe, cleaned: Cleaned, read: int) -> Data:
    """Check the labels of clean rows, and divide them into parts to learn and to measure.

    Args:
        recipe: says how large the parts are.
        cleaned: the rows.
        read: how many rows there were before cleaning.

    Raises:
        TrainingError: no classifier can be learned from these labels.

    """
    examples = cleaned.examples
    labels = recipe.labels or label_names(examples)
    _check_labels(examples, labels, recipe.data.min_examples)
    shares = _shares(recipe.data)
    data = Data(
        cleaned=cleaned,
        labels=labels,
        single_label=is_single(examples),
        targets=_targets(examples, labels),
        weights=_weights(examples, recipe.data.weights),
        split=split_rows(examples, cleaned.groups, *shares, recipe.seed),
        left_out=read - len(examples) - cleaned.dropped - cleaned.conflicts - cleaned.leaked,
    )
    check_labels_remain(data, data.split.train)
    return data


def _shares(recipe: DataRecipe) -> tuple[float, float]:
    """Return which shares of the rows calibrate and measure, and are not learned from."""
    if recipe.folds:
        return 0.0, 0.0
    return 0.0 if recipe.unseen_folds else recipe.calibration_share, recipe.test_share


def check_labels_remain(data: Data, rows: Rows) -> None:
    """Raise TrainingError if a label has no row among those that are learned from."""
    for label, column in zip(data.labels, data.targets[rows].T, strict=True):
        if not column.any():
            raise TrainingError(
                f"Every row of the label {label!r} is held out, and nothing can be learned of "
                "it: its rows are too much alike, or all of one source. It needs more of them."
            )


def _check_labels(examples: Sequence[Example], labels: Sequence[str], least: int) -> None:
    if not examples:
        raise TrainingError(
            "No row is left to learn from: all have conflicting labels, images, or no words."
        )
    unknown = sorted(set(label_names(examples)) - set(labels))
    if unknown:
        raise TrainingError(
            f"The data has the label {unknown[0]!r}, which the recipe's `labels` do not name."
        )
    counts = {label: sum(label in e.labels for e in examples) for label in labels}
    few = {label: count for label, count in counts.items() if count < least}
    if few:
        listed = ", ".join(f"{label} ({count})" for label, count in few.items())
        alike = "".join(f" {sentence}" for sentence in say_alike(labels))
        raise TrainingError(
            f"Too few distinct examples to learn from, {least} needed a label: {listed}.{alike}"
        )
    if not labels or all(len(e.labels) == len(labels) for e in examples):
        only = f"the label {labels[0]!r}" if labels else "no label"
        raise TrainingError(f"Every row has {only}: there is nothing to tell apart.")


def say_alike(labels: Iterable[str]) -> list[str]:
    """Name labels that differ only in case or white space."""
    return [
        f"{' and '.join(map(repr, names))} differ only in case or white space: one label?"
        for names in labels_alike(labels)
    ]


def _targets(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[label in e.labels for label in labels] for e in examples], np.float32)


def _weights(examples: Sequence[Example], weights: dict[str, float]) -> NDArray[np.float32]:
    def weight(source: str) -> float:
        return next((w for glob, w in weights.items() if fnmatch(source, glob)), 1.0)

    return np.array([weight(example.source) for example in examples], np.float32)


def data_facts(data: Data) -> dict[str, Any]:
    """Return what the artifact says of its data: counts, and a hash of every row."""
    examples, split = data.cleaned.examples, data.split
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.text[:2], example.labels)).encode())
    return {
        "sha256": digest.hexdigest(),
        "rows": len(examples),
        "train": len(split.train),
        "calibration": len(split.calibration),
        "test": len(split.test),
        "duplicates_dropped": data.cleaned.dropped,
        "conflicts_dropped": data.cleaned.conflicts,
        "test_duplicates_dropped": data.cleaned.leaked,
        "without_judgeable_text": data.left_out,
        "labels": {
            label: int(count) for label, count in zip(data.labels, data.targets.sum(0), strict=True)
        },
        "without_label": int((data.targets.sum(1) == 0).sum()),
    }
