"""Exact and near duplicates: one row of each, and groups that must not be split.

Near-duplicates are found by MinHash with locality-sensitive hashing (Broder 1997)
over the character 5-grams of the folded text.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from datasketch import MinHash, MinHashLSH

from router_ml.examples import Example
from router_ml.request import ModelText

_PERMUTATIONS, _SHINGLE = 64, 5
_STRICTEST = 0.95
"""The hashing divides a sketch into two bands at least; what it finds is compared exactly."""
_FOLD = re.compile(r"[\W\d_]+")


class Cleaned(NamedTuple):
    """Examples without duplicates.

    Attributes:
        examples: what is left, in order.
        groups: a group number for each; near relatives share one.
        dropped: rows left out because another says the same with the same labels.
        conflicts: rows left out because the same words carry different labels.
        leaked: rows left out because a row that is only measured on says the same.

    """

    examples: list[Example]
    groups: list[int]
    dropped: int
    conflicts: int
    leaked: int = 0


def fold(said: ModelText) -> str:
    """Return a text without case, digits, punctuation and white space."""
    data = said.turn + b"\x1e" + said.context
    text = data.decode("utf-8", "ignore").lower()
    return _FOLD.sub("", text) or text


def drop_duplicates(
    examples: Sequence[Example],
    near: float,
    same_group: float,
    done: Callable[[int], object] = lambda rows: None,
    avoid: Sequence[Example] = (),
) -> Cleaned:
    """Keep one of each set of duplicates, and number the groups of near relatives.

    Args:
        examples: in the order of preference; the first of a set is kept.
        near: Jaccard similarity from which rows with the same labels are one.
        same_group: similarity from which rows share a group.
        done: told how many rows are finished, for a progress bar.
        avoid: examples of which no duplicate may be kept, whatever its labels.

    """
    by_text: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_text[fold(example.text)].append(example)
    unique = {text: rows for text, rows in by_text.items() if len({r.labels for r in rows}) == 1}
    conflicts = sum(len(rows) for text, rows in by_text.items() if text not in unique)
    known = _Index(near, [_sketch(fold(example.text)) for example in avoid])
    grouping = _Grouping(near, same_group, known)
    for text, rows in unique.items():
        grouping.add(text, rows)
        done(len(rows))
    dropped = len(examples) - conflicts - grouping.leaked - len(grouping.kept)
    return Cleaned(grouping.kept, grouping.groups, dropped, conflicts, grouping.leaked)


def number_duplicates(
    texts: Sequence[ModelText], near: float, done: Callable[[int], object] = lambda rows: None
) -> list[int]:
    """Number texts by what they say: near-duplicates have the number of the first of them.

    Args:
        texts: n of them.
        near: Jaccard similarity from which two say the same.
        done: told how many texts are finished, for a progress bar.

    """
    index, numbers, found = _Index(near, []), dict[str, int](), list[int]()
    firsts: list[int] = []
    for at, text in enumerate(texts):
        folded = fold(text)
        if folded not in numbers:
            sketch = _sketch(folded)
            first = index.find(sketch)
            if first is None:
                index.add(sketch)
                firsts.append(at)
            numbers[folded] = at if first is None else firsts[first]
        found.append(numbers[folded])
        done(1)
    return found


def _empty_index(threshold: float) -> MinHashLSH:
    return MinHashLSH(threshold=min(threshold, _STRICTEST), num_perm=_PERMUTATIONS)


class _Index:
    """Sketches by which to tell whether one is near."""

    def __init__(self, near: float, sketches: Sequence[MinHash]) -> None:
        self.near = near
        self.sketches: list[MinHash] = []
        self.index = _empty_index(near)
        for sketch in sketches:
            self.add(sketch)

    def add(self, sketch: MinHash) -> None:
        self.index.insert(len(self.sketches), sketch)
        self.sketches.append(sketch)

    def find(self, sketch: MinHash) -> int | None:
        """Return the number of the first sketch that is near; None if none is."""
        near = (at for at in self.index.query(sketch) if self._is_near(at, sketch))
        return min(near, default=None)

    def _is_near(self, at: int, sketch: MinHash) -> bool:
        return bool(sketch.jaccard(self.sketches[at]) >= self.near)


class _Grouping:
    """Rows kept so far, with the groups of near relatives they form."""

    def __init__(self, near: float, same_group: float, avoid: _Index) -> None:
        self.near, self.same_group, self.avoid = near, same_group, avoid
        self.index = _empty_index(same_group)
        self.sketches: list[MinHash] = []
        self.kept: list[Example] = []
        self.groups: list[int] = []
        self.leaked = 0

    def add(self, text: str, rows: Sequence[Example]) -> None:
        """Keep the first of rows that say the same, unless a near one is kept already."""
        sketch, example = _sketch(text), rows[0]
        if self.avoid.find(sketch) is not None:
            self.leaked += len(rows)
            return
        relatives = self._relatives(sketch)
        if any(s >= self.near and self.kept[at].labels == example.labels for at, s in relatives):
            return
        self.index.insert(len(self.kept), sketch)
        self.groups.append(_merge(self.groups, [at for at, _ in relatives]))
        self.kept.append(example)
        self.sketches.append(sketch)

    def _relatives(self, sketch: MinHash) -> list[tuple[int, float]]:
        found = [(at, sketch.jaccard(self.sketches[at])) for at in self.index.query(sketch)]
        return [(at, similarity) for at, similarity in found if similarity >= self.same_group]


def _merge(groups: list[int], relatives: Sequence[int]) -> int:
    """Return the group of a new row that joins these rows' groups into one."""
    joined = {groups[at] for at in relatives}
    if not joined:
        return len(groups)
    target = min(joined)
    if len(joined) > 1:
        groups[:] = [target if group in joined else group for group in groups]
    return target


def _sketch(text: str) -> MinHash:
    shingles = {text[at : at + _SHINGLE] for at in range(max(1, len(text) - _SHINGLE + 1))}
    sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
    sketch.update_batch([shingle.encode("utf-8", "replace") for shingle in shingles])
    return sketch
