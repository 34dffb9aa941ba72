"""The policy at work: what the classifier says and what is known of a request -> Decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from router_ml.catalog import Catalog
from router_ml.conditions import Condition, Conditions
from router_ml.conversations import Stay
from router_ml.policy import FACTS, NO_FACTS, Below, Choice, Fact, Policy
from router_ml.types import Decision, Prediction, Reason

NOTHING = Prediction((), {})
"""The prediction of a request that has no text."""


class Settled(NamedTuple):
    """All of a decision but its confidence, which one set of labels and facts determines.

    Attributes:
        choice: the claiming rule's.
        labels: those that hold, and the parts that count as labels.
        reason: why, if there was text to judge.
        rests_on: the labels it rests on, and whether each holds; not those a part decided.

    """

    choice: Choice
    labels: tuple[str, ...]
    reason: Reason
    rests_on: tuple[tuple[str, bool], ...]

    def confidence(self, probabilities: Mapping[str, float]) -> float:
        """Return the probability of the least sure judgement it rests on.

        That is p of a label that holds and 1 - p of one that does not; 1 without any.
        """
        confidence = 1.0
        for label, holds in self.rests_on:
            p = probabilities.get(label)
            if p is not None:
                sure = p if holds else 1 - p
                if sure < confidence:  # noqa: PLR1730 - `min` takes twice as long
                    confidence = sure
        return confidence


class Decider:
    """A policy made ready for many requests: each set of labels and facts is looked up once.

    Attributes:
        policy: the policy, its models in the order that the catalog gives them.
        conditions: what must be known of a request besides its labels and parts.
        doubts: the labels that some rule asks to be more probable than where they hold.
        below: the confidence under which a request is uncertain; 0 if none is.
        settle: what labels that hold, in the artifact's order, and facts determine.

    """

    def __init__(self, policy: Policy, catalog: Catalog | None = None) -> None:
        """Make a policy ready; without a catalog nothing is known of its models."""
        self.policy = policy if catalog is None else policy.ranked(catalog)
        self._models = {} if catalog is None else catalog.models
        self.conditions = Conditions((*policy.conditions(), *self._contexts()))
        self.doubts = {doubt for rule in policy.rules for doubt in rule.doubts()}
        self.below = policy.uncertain.below if policy.uncertain else 0.0
        self.settle = lru_cache(maxsize=4096)(self._settled)

    def __call__(
        self,
        prediction: Prediction,
        facts: frozenset[Fact] = NO_FACTS,
        *,
        truncated: bool = False,
    ) -> Decision:
        """Decide what becomes of a request with these labels and facts."""
        if self.doubts:
            facts = facts | self._doubtful(prediction, facts)
        settled = self.settle(prediction.labels, facts)
        choice, reason = settled.choice, settled.reason
        confidence = settled.confidence(prediction.probabilities)
        if not prediction.probabilities:
            reason = Reason.EMPTY if reason is Reason.CLASSIFIED else reason
        elif confidence < self.below and reason is Reason.CLASSIFIED:
            choice, reason = self.in_doubt(settled, facts), Reason.LOW_CONFIDENCE
        return Decision(
            choice.route,
            choice.model,
            choice.fallbacks,
            settled.labels,
            prediction.probabilities or {},  # not NOTHING's, which every such decision would share
            reason,
            _own(choice.parameters),
            confidence,
            truncated,
        )

    def stay(self, decision: Decision, stay: Stay, facts: frozenset[Fact] = NO_FACTS) -> Decision:
        """Return a decision that keeps a request where its conversation stays."""
        holding = facts.union(decision.labels)
        choice = self.policy.choose_route(stay.route, holding, model=stay.model)
        choice = self._able(choice, facts)
        return msgspec.structs.replace(
            decision,
            route=choice.route,
            model=choice.model,
            fallbacks=choice.fallbacks,
            parameters=_own(choice.parameters),
            reason=Reason.STICKY,
            confidence=1.0,
        )

    def unreadable(self) -> Decision:
        """Decide what becomes of something that is no request."""
        decision = self(NOTHING)
        return msgspec.structs.replace(decision, reason=Reason.UNREADABLE)

    def _contexts(self) -> Iterator[Condition]:
        """Return what says that a request is too long for one of the policy's models."""
        named = [name for rule in self.policy.rules for name in rule.models]
        named += self.policy.uncertain.models if self.policy.uncertain else ()
        for model in (self._models.get(name) for name in named):
            if model is not None and model.context is not None:
                yield _too_long(model.context)

    def _doubtful(self, prediction: Prediction, facts: frozenset[Fact]) -> frozenset[Below]:
        """Return the labels that are less probable than some rule asks; a part is certain."""
        probabilities = prediction.probabilities
        return frozenset(
            doubt
            for doubt in self.doubts
            if doubt.label not in facts and probabilities.get(doubt.label, 0.0) < doubt.threshold
        )

    def _settled(self, labels: tuple[str, ...], facts: frozenset[Fact]) -> Settled:
        choice = self._able(self.policy.choose(facts.union(labels)), facts)
        parts = sorted(part for part in FACTS if part in facts and part not in labels)
        rests_on = tuple((name, name in labels) for name in choice.rests_on if name not in facts)
        return Settled(choice, (*labels, *parts), reason_of(choice, facts), rests_on)

    def in_doubt(self, settled: Settled, facts: frozenset[Fact]) -> Choice:
        """Return the choice for a request that is less sure than the policy asks."""
        choice = self.policy.choose_in_doubt(settled.choice, facts.union(settled.labels))
        return self._able(choice, facts)

    def _able(self, choice: Choice, facts: frozenset[Fact]) -> Choice:
        """Pass over models known to be unable to take the request, unless none would be left."""
        models = (choice.model, *choice.fallbacks)
        able = tuple(name for name in models if name is not None and self._takes(name, facts))
        return choice.among(able) if able else choice

    def _takes(self, name: str, facts: frozenset[Fact]) -> bool:
        model = self._models.get(name)
        if model is None:
            return True
        fits = model.context is None or _too_long(model.context) not in facts
        return fits and facts.intersection(FACTS).issubset(model.modalities)


def _too_long(context: int) -> Condition:
    return Condition("tokens", "at least", context + 1)


def _own(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a choice's parameters: the choice is kept, and a caller may write into theirs."""
    return {
        name: deepcopy(value) if isinstance(value, dict | list) else value
        for name, value in parameters.items()
    }


def reason_of(choice: Choice, facts: frozenset[Fact]) -> Reason:
    """Return why a choice came out: a part it needed, a tag, or else the classifier."""
    if "audio" in facts and "audio" in choice.needs:
        return Reason.AUDIO
    if "vision" in facts and "vision" in choice.needs:
        return Reason.IMAGE
    return Reason.TAG if facts and choice.by_tag else Reason.CLASSIFIED
