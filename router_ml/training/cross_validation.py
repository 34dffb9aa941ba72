"""How good a recipe is on rows it has not learned from, and what it is better than.

Repeated stratified group cross-validation: the rows are divided into folds that have each label
set in proportion and never part near-duplicates, or rows that share a `group`; each fold is
judged by what learned from the others; and all of that is repeated with other folds. Rivals
learn from the same rows and judge the same rows. Intervals are of the cluster bootstrap over
groups (`router_ml.evaluation.intervals`); they say how far the figure would move with other
rows like these, not how far tomorrow's requests are from them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from router_ml.evaluation.contest import OURS, Contest, Said, Score
from router_ml.evaluation.intervals import Bootstrap
from router_ml.training.encoders import Embeddings, encode, make_encoder
from router_ml.training.fit import fit
from router_ml.training.heads import Array, Head, fit_head
from router_ml.training.prepare import Data, Rows, check_labels_remain
from router_ml.training.progress import Done, Progress, silent
from router_ml.training.recipe import Recipe
from router_ml.training.rivals import Rival, rivals_of
from router_ml.training.split import Split, group_codes, group_folds
from router_ml.training.unseen import Unseen, judged_unseen

_NONE = np.zeros(0, np.intp)
_ROWS, _MOST_REPEATS = 15_000, 5
"""The folds are made anew until about so many rows are judged."""
_WORTH_PROCESSES = 2000
"""Rows from which a fold takes longer than starting a process does."""

AS_IT_IS = "the encoder as it is"
"""What a classifier is called whose encoder is not trained further."""


class Known(NamedTuple):
    """What something that learns no more says of the rows.

    Attributes:
        name: of it.
        said: which labels it gives each row, [n, labels].
        fair: which rows it has not learned from, [n].

    """

    name: str
    said: Said
    fair: NDArray[np.bool_]


class CrossValidation(NamedTuple):
    """What came out.

    Attributes:
        folds, repeats: into how many parts the rows were divided, and how often.
        unseen: what the recipe said in the first repeat.
        scores: of the recipe, named `OURS`, and of its rivals.

    """

    folds: int
    repeats: int
    unseen: Unseen
    scores: dict[str, Score]


class _Round(NamedTuple):
    """One repeat: what the recipe and its rivals said of every row."""

    unseen: Unseen
    said: dict[str, Said]


def cross_validate(
    recipe: Recipe, data: Data, progress: Progress = silent, known: Known | None = None
) -> CrossValidation:
    """Judge a recipe, and its rivals, on rows they have not learned from.

    Args:
        recipe: what is trained; `data.folds` says how many folds there are.
        data: the rows, all of them for learning.
        progress: told of rows as they are done.
        known: one more rival, judged on the rows that are fair.

    Raises:
        TrainingError: a fold has all the rows of a label.

    """
    folds = min(recipe.data.folds, int(data.targets.sum(0).min()))
    repeats = max(1, min(_MOST_REPEATS, _ROWS // len(data.targets)))
    rivals = rivals_of(data)
    if recipe.encoder.fine_tune:  # a round takes as many trainings of it as there are folds
        repeats, rivals = 1, {AS_IT_IS: _as_it_is(recipe, data, progress), **rivals}
    rounds = _rounds(recipe, data, rivals, folds, repeats, progress)
    said = {name: [one.said[name] for one in rounds] for name in rounds[0].said}
    groups = group_codes(data.cleaned.examples, data.cleaned.groups)
    contest = Contest(data.targets > 0, said[OURS], Bootstrap(groups))
    scores = {name: contest.score(given, data.own) for name, given in said.items()}
    if known is not None and (fair := known.fair & data.own).any():
        scores[known.name] = contest.score([known.said], fair)
    return CrossValidation(folds, repeats, rounds[0].unseen, scores)


def judge_all(recipe: Recipe, data: Data, progress: Progress = silent) -> Unseen:
    """Judge every row once by what learned from other rows, without any rival.

    Raises:
        TrainingError: a fold has all the rows of a label.

    """
    folds = min(recipe.data.folds, int(data.targets.sum(0).min()))
    return _rounds(recipe, data, {}, folds, 1, progress)[0].unseen


def _rounds(
    recipe: Recipe,
    data: Data,
    rivals: dict[str, Rival],
    folds: int,
    repeats: int,
    progress: Progress,
) -> list[_Round]:
    embeddings = _embed(recipe, data, progress)
    with progress("Cross-validating", repeats * len(data.targets)) as done:
        seeds = range(recipe.seed, recipe.seed + repeats)
        return [_round(recipe, data, rivals, embeddings, folds, seed, done) for seed in seeds]


def _embed(recipe: Recipe, data: Data, progress: Progress) -> Embeddings | None:
    """Embed all rows once, where the encoder is the same whatever rows it is made from."""
    made_anew = recipe.encoder.from_rows or recipe.data.planted
    return None if made_anew else _embed_all(recipe, data, progress)


def _embed_all(recipe: Recipe, data: Data, progress: Progress) -> Embeddings:
    texts = data.texts(np.arange(len(data.targets)))
    made = data.targets, data.weights, data.single_label, recipe.seed
    encoder = make_encoder(recipe.encoder, texts, *made, lambda rows: None)
    with (
        tempfile.TemporaryDirectory() as scratch,
        progress("Encoding", len(texts)) as done,
    ):
        for name, content in encoder.files.items():
            (Path(scratch) / name).write_bytes(content)
        return encode(encoder, Path(scratch), texts, done)


def _as_it_is(recipe: Recipe, data: Data, progress: Progress) -> Rival:
    """Return the recipe but for the training of its encoder: was that worth it?"""
    encoder = msgspec.structs.replace(recipe.encoder, fine_tune=None)
    embeddings = _embed_all(msgspec.structs.replace(recipe, encoder=encoder), data, progress)

    def label(data: Data, seen: Rows, judged: Rows) -> Said:
        raw = _head_on(embeddings, recipe, data, seen).raw(embeddings[judged])
        if not data.single_label:
            return raw > 0
        return raw.argmax(1)[:, None] == np.arange(raw.shape[1])

    return label


def _head_on(embeddings: Embeddings, recipe: Recipe, data: Data, seen: Rows) -> Head:
    targets, weights = data.targets[seen], data.weights[seen]
    single, seed = data.single_label, recipe.seed
    return fit_head(recipe.head, embeddings[seen], targets, weights, single, seed)


def _round(
    recipe: Recipe,
    data: Data,
    rivals: dict[str, Rival],
    embeddings: Embeddings | None,
    folds: int,
    seed: int,
    done: Done,
) -> _Round:
    parts = list(group_folds(data.cleaned.examples, data.cleaned.groups, folds, seed))
    for seen, _ in parts:
        check_labels_remain(data, seen)
    raw, fold_of = np.zeros(data.targets.shape), np.zeros(len(data.targets), np.intp)
    said = {name: np.zeros(data.targets.shape, np.bool_) for name in rivals}
    # One thread each, in processes of their own: twice as fast as fold after fold on all cores.
    workers = Parallel(n_jobs=-1 if len(raw) > _WORTH_PROCESSES else 1, return_as="generator")
    judged = workers(delayed(_judge)(recipe, data, rivals, embeddings, *part) for part in parts)
    for fold, ((_, rows), (ours, others)) in enumerate(zip(parts, judged, strict=True)):
        raw[rows], fold_of[rows] = ours, fold
        for name, given in others.items():
            said[name][rows] = given
        done(len(rows))
    unseen = Unseen(data, raw, fold_of)
    given = judged_unseen(recipe, unseen).given
    ours = np.array([[label in row for label in data.labels] for row in given])
    return _Round(unseen, {OURS: ours, **said})


def _judge(
    recipe: Recipe,
    data: Data,
    rivals: dict[str, Rival],
    embeddings: Embeddings | None,
    seen: Rows,
    judged: Rows,
) -> tuple[Array, dict[str, Said]]:
    """Learn from some rows; return what the recipe and its rivals say of others."""
    said = {name: rival(data, seen, judged) for name, rival in rivals.items()}
    if embeddings is not None:
        head = _head_on(embeddings, recipe, data, seen)
        return head.raw(embeddings[judged]), said
    with tempfile.TemporaryDirectory() as scratch:
        learned_from = data._replace(split=Split(seen, _NONE, _NONE))
        fitted = fit(recipe, learned_from, Path(scratch), silent)
        return fitted.raw(data.texts(judged), silent), said
