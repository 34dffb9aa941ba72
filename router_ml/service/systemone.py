"""System One: a gateway asks which of some names fits a text, and gets their probabilities.

    {"state": "…Classify this message:\\nsolve this integral", "model": "router_ml",
     "questions": {"tier": {"type": "choice", "criteria": {"math": "…", "general": "…"}}}}

The names of the `criteria` may be routes of the policy, its models, or LiteLLM's tiers of
complexity; others get no probability. Ours is text only: images do not come this way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec

from router_ml.chat import read_chat
from router_ml.errors import RequestError
from router_ml.integrations.litellm import COMPLEXITY
from router_ml.policy import Policy, Rule
from router_ml.request import Request, approximate_tokens
from router_ml.router import Router
from router_ml.types import Decision, Probability

_ASKED = "Classify this message:\n"
_QUOTED = re.compile(r"Recent conversation[^\n]*:\n(.*?)(?=\nConversation so far:|\Z)", re.DOTALL)


class Question(msgspec.Struct, frozen=True):
    """Which of the names of `criteria` is it? What they mean is not read."""

    type: Literal["choice"]
    criteria: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    instructions: str = ""


class Query(msgspec.Struct, frozen=True):
    """What is asked of a text, by question."""

    state: str
    questions: Annotated[dict[str, Question], msgspec.Meta(max_length=16)]
    model: str = "router_ml"


class Answer(msgspec.Struct, frozen=True):
    """The name chosen, the probability of each (they sum to 1), and the chosen one's."""

    choice: str
    probabilities: dict[str, Probability]
    confidence: Probability
    type: Literal["choice"] = "choice"


class Usage(msgspec.Struct, frozen=True):
    """How many tokens were read, by estimate, and none written."""

    input_tokens: int
    output_tokens: int = 0


class Reply(msgspec.Struct, frozen=True):
    """The answer to each question."""

    model: str
    answers: dict[str, Answer]
    usage: Usage


class Judged(NamedTuple):
    """A reply, and the decision it rests on."""

    reply: Reply
    decision: Decision


def judge(router: Router, query: Query) -> Judged:
    """Answer the questions about a text by one decision on it.

    Raises:
        RequestError: a question has no name that the policy knows.

    """
    request = read_state(query.state)
    decision = router.route(request)
    answers = {
        name: answer(router.policy, decision, question.criteria)
        for name, question in query.questions.items()
    }
    return Judged(Reply(query.model, answers, Usage(approximate_tokens(request))), decision)


def read_state(state: str) -> Request:
    """Read the message that is to be judged, with the turns quoted before it as its context."""
    before, _, message = state.rpartition(_ASKED)
    quoted = _QUOTED.findall(before)
    turns = [*quoted[-1:], message]
    return read_chat([{"role": "user", "content": turn} for turn in turns])


def answer(policy: Policy, decision: Decision, names: Collection[str]) -> Answer:
    """Choose the decision's own name, or if it is not offered, the most probable one.

    Raises:
        RequestError: none of the names is one that the policy knows.

    """
    probabilities = probabilities_of(policy, decision.probabilities, names)
    own = (name for name in _names(decision.route, decision.model) if name in probabilities)
    choice = next(own, max(probabilities, key=probabilities.__getitem__))
    return Answer(choice, probabilities, probabilities[choice])


def probabilities_of(
    policy: Policy, labels: Mapping[str, float], names: Collection[str]
) -> dict[str, float]:
    """Return how probable it is that the first rule to claim a text is one of each name.

    Labels count as independent of each other. Passed over are rules of names that were not
    asked for, and those that ask for more than labels, of which a text says nothing.

    Raises:
        RequestError: none of the names is one that the policy knows.

    """
    rules = (rule for rule in policy.rules if not rule.when.conditions())
    asked = [(rule, name) for rule in rules if (name := _asked(rule, names)) is not None]
    if not asked:
        raise RequestError(
            f"None of the criteria ({', '.join(list(names)[:8])}) is a route or a model of the "
            "policy, nor one of LiteLLM's tiers."
        )
    found = dict.fromkeys(names, 0.0)
    for name, chance in _claims(asked, labels, {}, 1.0):
        found[name] += chance
    return {name: min(p, 1.0) for name, p in found.items()}  # a sum of floats may exceed 1


def _claims(
    asked: Sequence[tuple[Rule, str]],
    labels: Mapping[str, float],
    known: dict[str, bool],
    chance: float,
) -> Iterator[tuple[str, float]]:
    """Yield who claims a text and how probably, label by label that a rule still has to know.

    Args:
        asked: rules in order, and their names; the last claims what no other does.
        labels: label -> probability.
        known: which labels are taken to hold or not to hold.
        chance: of just that.

    """
    for at, (rule, name) in enumerate(asked):
        if all(known.get(need, True) for need in rule.needs):
            open_need = next((need for need in rule.needs if need not in known), None)
            if open_need is None:
                yield name, chance
                return
            p = labels.get(open_need, 0.0)
            yield from _claims(asked[at:], labels, {**known, open_need: True}, chance * p)
            known, chance = {**known, open_need: False}, chance * (1 - p)
    yield asked[-1][1], chance


def _asked(rule: Rule, names: Collection[str]) -> str | None:
    model = rule.models[0] if rule.models else None
    return next((name for name in _names(rule.route, model) if name in names), None)


def _names(route: str, model: str | None) -> list[str]:
    """Return what a route and its model may be called by."""
    return [name for name in (route, model, COMPLEXITY.get(route)) if name is not None]
