"""From labels and facts to a route: TOML rules, the first whose needs all hold wins.

Pure: no numpy, no ONNX, no network. Whatever a user wants to test without a
classifier is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from router_ml.catalog import Catalog, read_toml
from router_ml.errors import PolicyError
from router_ml.types import Decision, Prediction, Reason

SHIPPED_POLICY = Path(__file__).with_name("policy.toml")

FACTS = ("vision", "audio")
"""Needs that a request's parts can fill whatever the classifier says."""

NO_FACTS: frozenset[str] = frozenset()

NOTHING = Prediction((), {})
"""The prediction of a request that has no text."""

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: `route` and its `models` for a request in which all `needs` hold."""

    route: str
    models: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}


class Adjustment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request parameters to change, on any route, where all `needs` hold."""

    needs: tuple[str, ...]
    parameters: dict[str, Any]


class Uncertain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a request gets whose decision rests on a judgement less sure than `below`.

    Attributes:
        below: the confidence under which this applies.
        route: the route it takes instead, not together with `models`; None: its own.
        models: the models it gets on its own route, where that needs only text: a model
            for doubt can most things, but cannot see. Empty: the rule's.

    """

    below: Probability
    route: str | None = None
    models: tuple[str, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """A rule's answer for one set of labels: all of a decision that the set determines.

    Attributes:
        needs: what the winning rule asked for.
        rests_on: what it and the rules before it asked for, in order.

    """

    route: str
    model: str | None
    fallbacks: tuple[str, ...]
    parameters: Mapping[str, Any]
    needs: tuple[str, ...]
    rests_on: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules in order, and what a request gets that none of them claims.

    Attributes:
        rules: the first whose needs all hold wins.
        default: the route of a request that no rule claims, or that cannot be read.
        parameters: request parameters for every request.
        adjustments: changes to the parameters by label, applied after the rule's.
        uncertain: what a request gets that the classifier is unsure of; None: ignore doubt.
        thresholds: label -> probability from which it holds, over the artifact's own.

    """

    schema_version: Literal[1]
    rules: tuple[Rule, ...]
    default: str
    parameters: dict[str, Any] = {}
    adjustments: tuple[Adjustment, ...] = ()
    uncertain: Uncertain | None = None
    thresholds: dict[str, Probability] = {}

    @classmethod
    def load(cls, path: Path | str | None = None) -> Policy:
        """Read a policy, the shipped one by default.

        Raises:
            PolicyError: the file is missing, is no TOML, has an unknown key, a wrong
                value, no rules, a route that no rule defines, or both a route and
                models for uncertain requests.

        """
        file = Path(path) if path is not None else SHIPPED_POLICY
        try:
            policy = msgspec.convert(read_toml(file, PolicyError), cls)
        except msgspec.ValidationError as error:
            raise PolicyError(f"{file}: {error}.") from error
        policy.check_routes(str(file))
        return policy

    @classmethod
    def of_labels(cls, labels: Iterable[str]) -> Policy:
        """Make the policy of an artifact without one: each label is a route of its name."""
        rules = tuple(Rule(route=label, needs=(label,)) for label in labels)
        return cls(schema_version=1, rules=(*rules, Rule(route="default")), default="default")

    def check_routes(self, where: str) -> None:
        """Raise PolicyError unless `default` and `uncertain` name routes of the rules."""
        routes = {rule.route for rule in self.rules}
        named = {"default": self.default}
        if self.uncertain is not None and self.uncertain.route is not None:
            named["uncertain.route"] = self.uncertain.route
            if self.uncertain.models:
                raise PolicyError(
                    f"{where}: `[uncertain]` has both `route` and `models`: keep `route` to send "
                    "uncertain requests another way, or `models` to change only their model."
                )
        for key, route in named.items():
            if route not in routes:
                raise PolicyError(
                    f"{where}: `{key}` is {route!r}, but the rules know only "
                    f"{', '.join(sorted(routes)) or 'no routes'}."
                )

    def covers(self, labels: Iterable[str]) -> bool:
        """Say whether this policy speaks of these labels, all of them and no others."""
        labels = set(labels)
        needs = {*self._needs(), *self.thresholds}
        return labels <= needs <= labels | set(FACTS)

    def check(self, labels: Iterable[str], catalog: Catalog) -> None:
        """Check this policy against an artifact's labels and a catalog.

        Raises:
            PolicyError: a route that no rule defines, a need or threshold that is neither
                a label nor a fact, a label that no rule or adjustment uses, a model that
                the catalog lacks, or one that cannot read what its rule needs read.

        """
        labels = tuple(labels)
        self.check_routes("The policy")
        self._check_names(labels)
        self._check_labels_have_routes(labels)
        self._check_models(catalog)
        self._check_modalities(catalog)

    def _needs(self) -> list[str]:
        of_rules = [need for rule in self.rules for need in rule.needs]
        return of_rules + [need for change in self.adjustments for need in change.needs]

    def _check_names(self, labels: tuple[str, ...]) -> None:
        known = {*labels, *FACTS}
        for name in (*self._needs(), *self.thresholds):
            if name not in known:
                raise PolicyError(
                    f"The policy names the label {name!r}, which the artifact does not have: "
                    f"it has {', '.join(labels)}."
                )

    def _check_labels_have_routes(self, labels: tuple[str, ...]) -> None:
        used = set(self._needs())
        for label in labels:
            if label not in used:
                raise PolicyError(
                    f"The artifact's label {label!r} has no route: no rule of the policy needs it."
                )

    def _check_models(self, catalog: Catalog) -> None:
        named = [(f"route {rule.route!r}", rule.models) for rule in self.rules]
        if self.uncertain is not None:
            named.append(("uncertain requests", self.uncertain.models))
        for what, models in named:
            for model in models:
                if model not in catalog.models:
                    raise PolicyError(
                        f"The policy sends {what} to {model!r}, which the catalog does not list."
                    )

    def _check_modalities(self, catalog: Catalog) -> None:
        wants = [(rule, need) for rule in self.rules for need in FACTS if need in rule.needs]
        for rule, need in wants:
            for model in rule.models:
                can = catalog.models[model].modalities
                if need not in can:
                    raise PolicyError(
                        f"The policy's rule of route {rule.route!r} that needs "
                        f"{', '.join(rule.needs)} names {model!r}, but by its `modalities` in "
                        f"the catalog that model reads only {', '.join(can)}."
                    )

    def choose(self, holding: frozenset[str]) -> Choice:
        """Return the choice for a set of labels and facts; the first matching rule's."""
        rests_on: list[str] = []
        for rule in self.rules:
            rests_on += (need for need in rule.needs if need not in rests_on)
            if holding.issuperset(rule.needs):
                return self._choice(rule, holding, tuple(rests_on))
        return self.choose_route(self.default, holding, tuple(rests_on))

    def choose_route(
        self,
        route: str,
        holding: frozenset[str] = NO_FACTS,
        rests_on: tuple[str, ...] = (),
    ) -> Choice:
        """Return the choice of a route by name: its least demanding rule's."""
        rules = [rule for rule in self.rules if rule.route == route]
        return self._choice(min(rules, key=lambda rule: len(rule.needs)), holding, rests_on)

    def choose_in_doubt(self, choice: Choice, holding: frozenset[str]) -> Choice:
        """Return what `uncertain` makes of a choice."""
        doubt = self.uncertain
        if doubt is None:
            return choice
        if doubt.route is not None:
            return self.choose_route(doubt.route, holding)
        if not doubt.models or any(need in FACTS for need in choice.needs):
            return choice
        first, *others = doubt.models
        return msgspec.structs.replace(choice, model=first, fallbacks=tuple(others))

    def _choice(self, rule: Rule, holding: frozenset[str], rests_on: tuple[str, ...]) -> Choice:
        parameters = {**self.parameters, **rule.parameters}
        for adjustment in self.adjustments:
            if holding.issuperset(adjustment.needs):
                parameters |= adjustment.parameters
        model = rule.models[0] if rule.models else None
        return Choice(rule.route, model, rule.models[1:], parameters, rule.needs, rests_on)


class Decider:
    """A policy made ready for many requests: each set of labels is looked up once."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._below = policy.uncertain.below if policy.uncertain else 0.0
        self._choose = lru_cache(maxsize=4096)(self._choose_labels)

    def __call__(
        self,
        prediction: Prediction,
        facts: frozenset[str] = NO_FACTS,
        *,
        truncated: bool = False,
    ) -> Decision:
        """Decide what becomes of a request with these labels and facts."""
        choice, labels = self._choose(prediction.labels, facts)
        confidence = confidence_of(choice, prediction, facts)
        reason = reason_of(choice, prediction, facts)
        if confidence < self._below and reason is Reason.CLASSIFIED:
            choice = self.policy.choose_in_doubt(choice, frozenset(labels))
            reason = Reason.LOW_CONFIDENCE
        return Decision(
            choice.route,
            choice.model,
            choice.fallbacks,
            labels,
            prediction.probabilities or {},  # not NOTHING's, which every such decision would share
            reason,
            _own(choice.parameters),
            confidence,
            truncated,
        )

    def unreadable(self) -> Decision:
        """Decide what becomes of something that is no request."""
        decision = self(NOTHING)
        return msgspec.structs.replace(decision, reason=Reason.UNREADABLE)

    def _choose_labels(
        self, labels: tuple[str, ...], facts: frozenset[str]
    ) -> tuple[Choice, tuple[str, ...]]:
        choice = self.policy.choose(frozenset(labels) | facts)
        return choice, labels + tuple(sorted(facts.difference(labels)))


def _own(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a choice's parameters: the choice is kept, and a caller may write into theirs."""
    return {
        name: deepcopy(value) if isinstance(value, dict | list) else value
        for name, value in parameters.items()
    }


def confidence_of(choice: Choice, prediction: Prediction, facts: frozenset[str]) -> float:
    """Return the probability of the least sure judgement a choice rests on.

    It rests on every label that its rule, or a rule before it, asked for: on p where
    the label holds and on 1 - p where it does not. A fact is certain.
    """
    probabilities, labels = prediction.probabilities, prediction.labels
    confidence = 1.0
    for name in choice.rests_on:
        if name in probabilities and name not in facts:
            p = probabilities[name]
            confidence = min(confidence, p if name in labels else 1 - p)
    return confidence


def reason_of(choice: Choice, prediction: Prediction, facts: frozenset[str]) -> Reason:
    """Return why a choice came out: a fact it needed, else the classifier, else no text."""
    if facts:
        if "audio" in facts and "audio" in choice.needs:
            return Reason.AUDIO
        if "vision" in facts and "vision" in choice.needs:
            return Reason.IMAGE
    return Reason.CLASSIFIED if prediction.probabilities else Reason.EMPTY
