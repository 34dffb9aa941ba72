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

_PERMUTATIONS, _SHINGLE = 64, 5
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


def fold(example: Example) -> str:
    """Return a text without case, digits, punctuation and white space."""
    data = example.text.turn + b"\x1e" + example.text.context
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
    known = _Index(near)
    for example in avoid:
        known.add(_sketch(fold(example)))
    by_text: dict[str, list[Example]] = defaultdict(list)
    leaked = 0
    for example in examples:
        text = fold(example)
        if avoid and known.has(_sketch(text)):
            leaked += 1
        else:
            by_text[text].append(example)
    unique = {text: rows for text, rows in by_text.items() if len({r.labels for r in rows}) == 1}
    conflicts = sum(len(rows) for text, rows in by_text.items() if text not in unique)
    kept, groups = _group([(t, rows[0]) for t, rows in unique.items()], near, same_group, done)
    dropped = len(examples) - conflicts - leaked - len(kept)
    return Cleaned(kept, groups, dropped, conflicts, leaked)


class _Index:
    """Sketches by which to tell whether one is near."""

    def __init__(self, near: float) -> None:
        self.near = near
        self.index = MinHashLSH(threshold=near, num_perm=_PERMUTATIONS)
        self.sketches: list[MinHash] = []

    def add(self, sketch: MinHash) -> None:
        self.index.insert(len(self.sketches), sketch)
        self.sketches.append(sketch)

    def has(self, sketch: MinHash) -> bool:
        found = self.index.query(sketch)
        return any(sketch.jaccard(self.sketches[at]) >= self.near for at in found)


def _group(
    rows: Sequence[tuple[str, Example]],
    near: float,
    same_group: float,
    done: Callable[[int], object],
) -> tuple[list[Example], list[int]]:
    index = MinHashLSH(threshold=same_group, num_perm=_PERMUTATIONS)
    hashes: list[MinHash] = []
    kept: list[Example] = []
    groups: list[int] = []
    for text, example in rows:
        done(1)
        sketch = _sketch(text)
        relatives = [
            (at, similarity)
            for at in index.query(sketch)
            if (similarity := sketch.jaccard(hashes[at])) >= same_group
        ]
        if any(s >= near and kept[at].labels == example.labels for at, s in relatives):
            continue
        index.insert(len(kept), sketch)
        groups.append(_merge(groups, [at for at, _ in relatives]))
        kept.append(example)
        hashes.append(sketch)
    return kept, groups


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
