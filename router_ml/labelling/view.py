"""What a person sees of a session: the same in the page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from router_ml.evaluation.thresholds import Share
from router_ml.labelling.answers import Labels
from router_ml.labelling.questions import Question
from router_ml.request import Turn

_CHARACTERS, _TURNS = 20_000, 50
"""So much of a turn, and so many turns, are shown."""
_ALIKE, _ALIKE_CHARACTERS = 20, 300
"""So many of the rows that say nearly the same, and so much of each."""


class Shown(msgspec.Struct, frozen=True):
    """A question as a person sees it.

    Attributes:
        key: by which to answer it.
        turns: (role, text) of the first row.
        cut: whether anything of them is left out.
        rows: how many rows the answer will cover.
        alike: the beginnings of others among them.
        proposed: labels; None: nothing is proposed.
        by: who proposes them.
        drawn: whether the question was drawn at random.

    """

    key: str
    turns: list[tuple[str, str]]
    cut: bool
    rows: int
    alike: list[str]
    proposed: Labels | None
    by: str
    drawn: bool


class State(msgspec.Struct, frozen=True):
    """Where a session stands.

    Attributes:
        question: what to answer; None: nothing is left.
        labels: what to choose from, in the order to show them.
        single: whether exactly one holds.
        answers: how many there are.
        rows_labelled, rows: how many rows they cover, of how many.
        proposals: how often what was proposed was the answer, on rows drawn at random.
        learned: how often a classifier learned from all other answers gives the answer, on
            the same rows.
        can_undo: whether there is an answer to undo.

    """

    question: Shown | None
    labels: list[str]
    single: bool
    answers: int
    rows_labelled: int
    rows: int
    proposals: Share
    learned: Share
    can_undo: bool


def show(question: Question, proposed: Labels | None, by: str, *, drawn: bool) -> Shown:
    """Return a question as a person sees it."""
    turns = question.rows[0].request.turns
    shown = [(turn.role, turn.text[:_CHARACTERS]) for turn in turns[-_TURNS:]]
    cut = len(turns) > _TURNS or any(len(turn.text) > _CHARACTERS for turn in turns)
    others = (_beginning(row.request.turns) for row in question.rows[1:])
    alike = [text for text in dict.fromkeys(others) if text != _beginning(turns)][:_ALIKE]
    return Shown(question.key, shown, cut, len(question.rows), alike, proposed, by, drawn)


def _beginning(turns: Sequence[Turn]) -> str:
    return turns[-1].text[:_ALIKE_CHARACTERS]
