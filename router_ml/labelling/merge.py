"""The answers of several people in one file, their disagreements listed, their agreement measured.

Agreement is Cohen's kappa (1960): of what agreement chance leaves to be had, how much there is.
Where several labels may hold, two answers agree if they are the same set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from router_ml.errors import DataError
from router_ml.examples import labels_of, read_objects, request_of
from router_ml.labelling.answers import OWN, Labels
from router_ml.labelling.log import key_of


class Disagreement(msgspec.Struct, frozen=True):
    """A row that people labelled differently.

    Attributes:
        row: as the first of them has it, without labels.
        answers: annotator -> labels.
        settled: what was taken, by majority or trust; None: the row is left out.

    """

    row: dict[str, Any]
    answers: dict[str, Labels]
    settled: Labels | None


class Agreement(msgspec.Struct, frozen=True):
    """How far two people agree.

    Attributes:
        first, second: who.
        rows: how many both labelled.
        same: how many of them alike.
        kappa: Cohen's; NaN where chance alone leaves nothing to agree on.

    """

    first: str
    second: str
    rows: int
    same: int
    kappa: float


class Merged(msgspec.Struct, frozen=True):
    """Answers of several people.

    Attributes:
        rows: labelled rows, in the order in which they were first answered.
        disagreements: all of them, settled or not.
        agreements: of every two people who labelled the same rows.

    """

    rows: list[dict[str, Any]]
    disagreements: list[Disagreement]
    agreements: list[Agreement]


_Who = tuple[str, Path]
"""A name and the file it is in: people may share a name, such as `root`."""


class _Given(msgspec.Struct):
    row: dict[str, Any]
    answers: dict[_Who, Labels]


def merge_answers(paths: Sequence[Path], *, trust_first: bool = False) -> Merged:
    """Merge files of answers, or of labelled rows.

    What most people say of a row is taken. A row without a majority is left out, unless the
    first file that has it is trusted.

    Args:
        paths: the files; a row that names no annotator is by its file. Who answered twice
            in a file meant the later answer; a name in several files is told apart by them.
        trust_first: whether an earlier file's answer is taken where there is no majority.

    Raises:
        DataError: a file cannot be read, or a row has no labels.

    """
    given, single = _read(paths)
    names = _names(given.values())
    rows, disagreements, named = [], [], []
    for one in given.values():
        answers = {names[who]: labels for who, labels in one.answers.items()}
        settled = _settle(list(answers.values()), trust_first)
        if len(set(answers.values())) > 1:
            disagreements.append(Disagreement(one.row, answers, settled))
        if settled is not None:
            said = {"label": settled[0]} if single else {"labels": settled}
            rows.append({**one.row, **said, "annotators": list(answers)})
        named.append(answers)
    return Merged(rows, disagreements, list(_agreements(named)))


def _read(paths: Sequence[Path]) -> tuple[dict[str, _Given], bool]:
    """Read who said what of each row, and whether every row names one `label`."""
    given: dict[str, _Given] = {}
    all_single = True
    for path in paths:
        number = 0
        for number, row in read_objects(path):
            request_of(path, number, row)
            labels, single = labels_of(path, number, row)
            all_single = all_single and single
            plain = {name: value for name, value in row.items() if name not in OWN}
            one = given.setdefault(key_of(row), _Given(plain, {}))
            one.answers[str(row.get("annotator") or path), path] = labels
        if not number:
            raise DataError(path, None, "the file has no rows.")
    return given, all_single


def _names(given: Iterable[_Given]) -> dict[_Who, str]:
    """Name everyone, with the file where a name is in several."""
    everyone = dict.fromkeys(who for one in given for who in one.answers)
    files = Counter(name for name, _ in everyone)
    return {who: who[0] if files[who[0]] == 1 else f"{who[0]} ({who[1]})" for who in everyone}


def _settle(answers: Sequence[Labels], trust_first: bool) -> Labels | None:
    most, votes = Counter(answers).most_common(1)[0]
    if 2 * votes > len(answers):
        return most
    return answers[0] if trust_first else None


def _agreements(named: Iterable[dict[str, Labels]]) -> Iterable[Agreement]:
    pairs: dict[tuple[str, str], list[tuple[Labels, Labels]]] = {}
    for answers in named:
        for first, second in combinations(sorted(answers), 2):
            both = answers[first], answers[second]
            pairs.setdefault((first, second), []).append(both)
    for (first, second), both_said in sorted(pairs.items()):
        same = sum(a == b for a, b in both_said)
        yield Agreement(first, second, len(both_said), same, kappa(both_said))


def kappa(answers: Sequence[tuple[Labels, Labels]]) -> float:
    """Return Cohen's kappa of pairs of answers; NaN where both always say the same one thing."""
    n = len(answers)
    observed = sum(a == b for a, b in answers) / n
    first, second = Counter(a for a, _ in answers), Counter(b for _, b in answers)
    chance = sum(first[labels] * second[labels] for labels in first) / n**2
    return math.nan if chance == 1 else (observed - chance) / (1 - chance)
