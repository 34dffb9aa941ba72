"""What is wrong with labels, row by row, before anything learns from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from router_ml.errors import TrainingError
from router_ml.examples import Example, label_names, labels_alike, stream_examples
from router_ml.logs import Broken, Row, refuse
from router_ml.training.advice import doubted, probabilities_of
from router_ml.training.cross_validation import judge_all
from router_ml.training.duplicates import Cleaned, fold, number_duplicates
from router_ml.training.prepare import LeftOut, clean, divide, usable
from router_ml.training.progress import Progress, silent
from router_ml.training.recipe import Recipe

_QUOTED = 80


class Place(msgspec.Struct, frozen=True):
    """Where a row is, and its labels."""

    file: str
    line: int
    labels: tuple[str, ...]


class Same(msgspec.Struct, frozen=True):
    """Rows that say the same, or nearly, in the order they were read in."""

    text: str
    rows: list[Place]


class Suspect(msgspec.Struct, frozen=True):
    """A row whose labels are probably wrong.

    Attributes:
        row: where it is.
        text: what it says, cut short.
        said: the labels that classifiers gave it which had not learned from it, with their
            probabilities, in [0, 1].

    """

    row: Place
    text: str
    said: dict[str, float]


class Findings(msgspec.Struct, frozen=True):
    """What was found in a log.

    Attributes:
        rows: how many have labels.
        layouts: layout -> how many rows are laid out like that.
        labels: label -> how many rows carry it.
        small: labels with too few distinct rows to learn, and how many they have.
        small_rows: where their rows are.
        left_out: how many rows training would not learn from, and why.
        alike: labels that differ only in case or white space, those of one name together.
        conflicts: the same words under different labels; case, digits, punctuation and white
            space do not count.
        leaks: nearly the same words in more than one file: a test file's rows, and rows almost
            like them, must not be learned.
        suspects: labels that are probably wrong, the surest first.
        unjudged: why none were looked for; "" if they were.

    """

    rows: int
    layouts: dict[str, int]
    labels: dict[str, int]
    small: dict[str, int]
    small_rows: dict[str, list[Place]]
    left_out: LeftOut
    alike: list[list[str]]
    conflicts: list[Same]
    leaks: list[Same]
    suspects: list[Suspect]
    unjudged: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong; repetitions are left out by training itself."""
        return not (self.small or self.alike or self.conflicts or self.leaks or self.suspects)


_Placed = dict[int, Place]
"""Where examples come from, by their identity: cleaning keeps or drops them whole."""


def check(
    rows: Iterable[Row], recipe: Recipe, broken: Broken = refuse, progress: Progress = silent
) -> Findings:
    """Look for what is wrong with the labels of a log.

    Args:
        rows: of the log.
        recipe: whose classifiers say which labels are doubtful; its `data.min_examples` says
            which are too small.
        broken: told of rows without labels; by default the first is raised.
        progress: told of rows as they are done.

    """
    examples: list[Example] = []
    placed: _Placed = {}
    layouts: Counter[str] = Counter()
    for row in rows:
        for example in stream_examples([row], broken):
            examples.append(example)
            placed[id(example)] = Place(str(row.path), row.number, example.labels)
            layouts[row.layout] += 1
    spoken = usable(examples)
    same = _same(spoken, placed)
    cleaned = clean(recipe, examples, progress)
    counts = _counts(cleaned.examples)
    small = {name: n for name, n in counts.items() if n < recipe.data.min_examples}
    suspects, unjudged = _judged(recipe, cleaned, small, placed, progress)
    return Findings(
        rows=len(examples),
        layouts=dict(layouts),
        labels=_counts(examples),
        small=small,
        small_rows={name: _carrying(name, examples, placed) for name in small},
        left_out=LeftOut.of(examples, cleaned),
        alike=labels_alike(label_names(examples)),
        conflicts=[one for one in same if len({row.labels for row in one.rows}) > 1],
        leaks=_leaks(recipe.data.near_duplicate, spoken, placed, progress),
        suspects=suspects,
        unjudged=unjudged,
    )


def _counts(examples: Sequence[Example]) -> dict[str, int]:
    found = Counter(name for example in examples for name in example.labels)
    return {name: found[name] for name in label_names(examples)}


def _same(examples: Sequence[Example], placed: _Placed) -> list[Same]:
    by_text: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_text[fold(example.text)].append(example)
    return [_same_of(some, placed) for some in by_text.values() if len(some) > 1]


def _same_of(some: Sequence[Example], placed: _Placed) -> Same:
    return Same(_quote(some[0]), [placed[id(one)] for one in some])


def _leaks(
    near: float, examples: Sequence[Example], placed: _Placed, progress: Progress
) -> list[Same]:
    """Return rows that say nearly the same, where they are in more than one file."""
    if len({place.file for place in placed.values()}) < 2:
        return []
    with progress("Comparing files", len(examples)) as done:
        numbers = number_duplicates([example.text for example in examples], near, done)
    alike: dict[int, list[Example]] = defaultdict(list)
    for number, example in zip(numbers, examples, strict=True):
        alike[number].append(example)
    found = [_same_of(some, placed) for some in alike.values()]
    return [same for same in found if len({row.file for row in same.rows}) > 1]


def _carrying(label: str, examples: Sequence[Example], placed: _Placed) -> list[Place]:
    return [placed[id(example)] for example in examples if label in example.labels]


def _quote(example: Example) -> str:
    text = " ".join(example.text.turn.decode("utf-8", "ignore").split())
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def _without(cleaned: Cleaned, small: dict[str, int]) -> Cleaned:
    """Leave out the rows of labels that cannot be learned, so that the others can be judged."""
    kept = [at for at, e in enumerate(cleaned.examples) if not set(e.labels) & small.keys()]
    examples, groups = cleaned.examples, cleaned.groups
    return cleaned._replace(
        examples=[examples[at] for at in kept], groups=[groups[at] for at in kept]
    )


def _judged(
    recipe: Recipe, cleaned: Cleaned, small: dict[str, int], placed: _Placed, progress: Progress
) -> tuple[list[Suspect], str]:
    """Return the suspects, or why nothing could be learned that would tell."""
    rest = _without(cleaned, small)
    if small and len(label_names(rest.examples)) < 2:
        return [], "fewer than two labels have enough distinct rows."
    try:
        return list(_suspects(recipe, rest, placed, progress)), ""
    except TrainingError as error:
        return [], str(error)


def _suspects(
    recipe: Recipe, cleaned: Cleaned, placed: _Placed, progress: Progress
) -> Iterator[Suspect]:
    data = divide(recipe, cleaned, len(cleaned.examples))
    p = probabilities_of(recipe, judge_all(recipe, data, progress))
    for row, doubts in doubted(data, p):
        best = int(p[row].argmax())
        said = {data.labels[best]: float(p[row, best])} if data.single_label else doubts
        example = cleaned.examples[row]
        rounded = {label: round(value, 4) for label, value in said.items()}
        yield Suspect(placed[id(example)], _quote(example), rounded)
