"""A session: asks, proposes, saves each answer, learns from it, and says how good it is by now.

Everything but the skipped questions follows from the log and the file of answers, so a session
that was stopped goes on where it was, however it was stopped. Thread-safe.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from router_ml.errors import LabellingError
from router_ml.evaluation.thresholds import Share, share_of
from router_ml.examples import is_label
from router_ml.labelling.answers import Answer, AnswersFile, Labels
from router_ml.labelling.learner import Said, cluster, embed, holding, learn, margins
from router_ml.labelling.order import DRAW_EVERY, choose, permute, sample
from router_ml.labelling.questions import Question
from router_ml.labelling.view import Shown, State, show
from router_ml.labelling.voices import Voice

LEARNED = "your answers"
"""The name of the classifier that is learned from the answers as they come."""

_IN_PLACE = 9
"""So many labels keep their places, which fingers learn; of more the likely ones come first."""


class Session:
    """Questions, the answers so far, and what is learned from them.

    Attributes:
        file: of the answers.
        labels: what to choose from; new ones are added as they are given.
        single: whether exactly one holds.

    """

    def __init__(
        self,
        questions: Sequence[Question],
        file: AnswersFile,
        labels: Sequence[str],
        *,
        single: bool,
        annotator: str,
        voices: Sequence[Voice] = (),
        confirm: int = 0,
    ) -> None:
        """Begin a session, or go on with one.

        Args:
            questions: of `make_questions`.
            file: of the answers.
            labels: known ones, in the order to show them; those of the answers are added.
            single: whether exactly one holds.
            annotator: who answers.
            voices: who can propose; the first of those equally good does.
            confirm: how many questions to draw at random before any is chosen.

        Raises:
            DataError: the file has answers of the other kind.

        """
        self.file, self.single = file, single
        given = (name for answer in file.answers for name in answer.labels)
        self.labels = list(dict.fromkeys((*labels, *given)))
        self._questions, self._annotator, self._confirm = questions, annotator, confirm
        self._voices, self._skipped = list(voices), set[int]()
        self._again: int | None = None
        self._lock = threading.RLock()
        self._number = {
            key: at for at, question in enumerate(questions) for key in question.row_keys()
        }
        self._embeddings = embed([question.text for question in questions])
        self._clusters, self._distance = cluster(self._embeddings)
        self._permuted = permute(questions)
        self._answers: dict[int, Answer] = {}
        file.check_kind(single=single)
        for answer in file.answers:
            self._note(answer)
        self._refresh()

    def _note(self, answer: Answer) -> None:
        for key in answer.keys:
            if key in self._number:
                self._answers[self._number[key]] = answer

    def answer(self, key: str, labels: Sequence[str]) -> None:
        """Save the answer to the present question: it is on disk when this returns.

        Args:
            key: of the question.
            labels: what holds; new ones are learned. Case does not tell two labels apart.

        Raises:
            LabellingError: it is not the present question, or these are no labels for it.
            OSError: it could not be saved.

        """
        with self._lock:
            number = self._present(key)
            found = self._check(labels)
            question = self._questions[number]
            answer = self.file.append(
                [row.data for row in question.rows],
                found,
                single=self.single,
                annotator=self._annotator,
                proposed=self._proposal(number)[0],
                drawn=self._is_drawn,
            )
            self._note(answer)
            self._skipped.discard(number)
            self.labels = list(dict.fromkeys((*self.labels, *found)))
            self._again = None
            self._refresh()

    def _present(self, key: str) -> int:
        if self._asked is None or self._questions[self._asked].key != key:
            raise LabellingError("That question is not the present one any more.")
        return self._asked

    def _check(self, labels: Sequence[str]) -> list[str]:
        known = {label.casefold(): label for label in reversed(self.labels)}
        found = []
        for label in map(str.strip, labels):
            if not is_label(label):
                raise LabellingError(f"{label[:100]!r} is no label.")
            found.append(known.get(label.casefold(), label))
        if self.single and len(set(found)) != 1:
            raise LabellingError("Exactly one label must be chosen.")
        return sorted(set(found))

    def skip(self, key: str) -> None:
        """Pass the present question over; it comes again when no other is left.

        Raises:
            LabellingError: it is not the present question.

        """
        with self._lock:
            self._skipped.add(self._present(key))
            self._again = None
            self._ask()

    def undo(self) -> None:
        """Take the last answer back, and ask its question again.

        Raises:
            LabellingError: there is none.

        """
        with self._lock:
            answer = self.file.undo()
            if answer is None:
                raise LabellingError("There is no answer of a session to undo.")
            for key in answer.keys:
                number = self._number.get(key)
                if number is not None and self._answers.get(number) is answer:
                    del self._answers[number]
                    self._again, self._was_drawn = number, answer.drawn
            self._refresh()

    def _refresh(self) -> None:
        """Learn from the answers, and choose the next question."""
        self._said: Said | None = None
        self._columns = sorted({name for a in self._answers.values() for name in a.labels})
        self._best = list(self._voices)
        if len({answer.labels for answer in self._answers.values()}) > 1:
            self._learn()
        self._best.sort(key=self._times_right, reverse=True)
        self._ask()

    def _learn(self) -> None:
        numbers = list(self._answers)
        targets = [[name in a.labels for name in self._columns] for a in self._answers.values()]
        self._said = learn(self._embeddings, numbers, np.array(targets, np.float64))
        labels: list[Labels | None] = [*holding(self._said.scores, self._columns, self.single)]
        held_out = holding(self._said.held_out, self._columns, self.single)
        for number, found in zip(numbers, held_out, strict=True):
            labels[number] = found
        self._best.append(Voice(LEARNED, labels, margins(self._said.scores, self.single)))

    def _times_right(self, voice: Voice) -> int:
        return sum(voice.labels[at] == answer.labels for at, answer in self._answers.items())

    def _ask(self) -> None:
        """Choose the question to ask, and note whether it is drawn at random."""
        is_open = np.ones(len(self._questions), bool)
        answered = np.array(list(self._answers), np.intp)
        is_open[answered] = False
        if not is_open.any():
            self._asked = None
            return
        if is_open.sum() == len(self._skipped):  # only they are left: a skipped one is open
            self._skipped.clear()
        is_open[list(self._skipped)] = False
        self._asked, self._is_drawn = self._chosen(is_open, answered)

    def _chosen(self, is_open: NDArray[np.bool_], answered: NDArray[np.intp]) -> tuple[int, bool]:
        if self._again is not None:
            return self._again, self._was_drawn
        if self._is_turn_to_draw():
            return int(self._permuted[is_open[self._permuted].argmax()]), True
        unsure = np.ones(len(is_open))
        if self._best and self._best[0].margins is not None:
            unsure = 1 - self._best[0].margins
        return choose(is_open, self._clusters, answered, unsure, self._distance), False

    def _is_turn_to_draw(self) -> bool:
        count = len(self._distinct())
        return count < self._confirm or count % DRAW_EVERY == DRAW_EVERY - 1

    def _distinct(self) -> list[Answer]:
        return list({answer.start: answer for answer in self._answers.values()}.values())

    def _proposal(self, number: int) -> tuple[Labels | None, str]:
        """Return what is proposed and by whom: the one most often right that says something."""
        for voice in self._best:
            labels = voice.labels[number]
            if labels is not None and self._can_hold(labels):
                return labels, voice.name
        return None, ""

    def _can_hold(self, labels: Labels) -> bool:
        return set(labels) <= set(self.labels) and (len(labels) == 1 or not self.single)

    def state(self) -> State:
        """Return where the session stands."""
        with self._lock:
            proposals, learned = self._shares()
            last = self.file.answers[-1:]
            labelled = sum(len(self._questions[at].rows) for at in self._answers)
            return State(
                question=None if self._asked is None else self._shown(self._asked),
                labels=self._ranked(),
                single=self.single,
                answers=len(self._distinct()),
                rows_labelled=labelled,
                rows=len(self._permuted),
                proposals=proposals,
                learned=learned,
                can_undo=bool(last and last[0].annotator),
            )

    def _shares(self) -> tuple[Share, Share]:
        """Count what was right among the rows of the random sample."""
        drawn = {at for at, answer in self._answers.items() if answer.drawn}
        rows = [at for at in sample(self._permuted, drawn).tolist() if at in self._answers]
        answers = [self._answers[at] for at in rows]
        proposed = [a.proposed == a.labels for a in answers if a.proposed is not None]
        voice = next((voice for voice in self._best if voice.name == LEARNED), None)
        learned = [voice.labels[at] == self._answers[at].labels for at in rows] if voice else []
        return share_of(sum(proposed), len(proposed)), share_of(sum(learned), len(learned))

    def _shown(self, number: int) -> Shown:
        return show(self._questions[number], *self._proposal(number), drawn=self._is_drawn)

    def _ranked(self) -> list[str]:
        if self._asked is None or len(self.labels) <= _IN_PLACE:
            return list(self.labels)
        scores: dict[str, float] = {}
        if self._said is not None:
            row = self._said.scores[self._asked].tolist()
            scores = dict(zip(self._columns, row, strict=True))
        proposed = self._proposal(self._asked)[0] or ()
        return sorted(
            self.labels, key=lambda name: (name not in proposed, -scores.get(name, -math.inf))
        )
