"""From labels and facts to a route: TOML rules, the first whose conditions all hold wins.

Pure: no numpy, no ONNX, no network. Whatever a user wants to test without a
classifier is here, and in decider.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from router_ml.artifact import find_beside
from router_ml.catalog import Catalog, Preference, read_toml
from router_ml.conditions import Condition, When
from router_ml.conversations import Sticky
from router_ml.errors import PolicyError
from router_ml.types import Probability

SHIPPED_POLICY = Path(__file__).with_name("policy.toml")

FACTS = ("vision", "audio")
"""Needs that a request's parts can fill whatever the classifier says."""


class Below(NamedTuple):
    """A label that is less probable than a rule asks, whether or not it holds elsewhere."""

    label: str
    threshold: float


Fact = str | Condition | Below
"""What is known of a request: a label or a part that it has, a condition that holds."""

NO_FACTS: frozenset[Fact] = frozenset()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: `route` and its models for a request of which all it asks for holds.

    Attributes:
        route: the route's name.
        models: the models, the preferred one first.
        needs: labels that must hold, or the facts "vision" and "audio".
        parameters: request parameters, over the policy's.
        choose: order `models`, or without any the whole catalog, by price or by speed;
            those that cannot read what the rule needs read are left out.
        when: what else must hold of the request.
        thresholds: need -> the probability it must have here, besides holding.

    """

    route: str
    models: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    choose: Preference | None = None
    when: When = When()
    thresholds: dict[str, Probability] = {}

    @property
    def parts(self) -> tuple[str, ...]:
        """What its models must be able to read besides text."""
        return tuple(need for need in self.needs if need in FACTS)

    @property
    def demands(self) -> int:
        """How many things it asks for."""
        return len(self.needs) + len(self.when.conditions()) + len(self.thresholds)

    def applies(self, holding: frozenset[Fact]) -> bool:
        """Say whether what it asks besides labels holds."""
        return holding.issuperset(self.when.conditions())

    def claims(self, holding: frozenset[Fact]) -> bool:
        """Say whether all it asks for holds."""
        return (
            self.applies(holding)
            and holding.issuperset(self.needs)
            and holding.isdisjoint(self.doubts())
        )

    def doubts(self) -> list[Below]:
        """Return what must not hold."""
        return [Below(label, threshold) for label, threshold in self.thresholds.items()]

    def ranked(self, catalog: Catalog) -> Rule:
        """Return this rule with its models in the order that it asks of the catalog."""
        if self.choose is None:
            return self
        models = catalog.rank(self.choose, self.models, self.parts)
        return msgspec.structs.replace(self, models=models)


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


class Second(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second artifact, asked only where the first is in doubt.

    Attributes:
        artifact: its directory, in a file relative to that file's; or a shipped one's name.
        below: it is asked where a judgement, label or not, is less probable than this. Of
            labels that exclude each other, where the most probable is; of others it is
            over 0.5.
        labels: whose doubt counts; empty: that of every label that a rule needs.

    """

    artifact: str
    below: Annotated[float, msgspec.Meta(gt=0, le=1)]
    labels: tuple[str, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """A rule's answer for one set of labels: all of a decision that the set determines.

    Attributes:
        needs: what the winning rule asked for.
        rests_on: the labels that it and the rules before it asked for, in order; not those
            of a rule that did not apply, whatever the labels.
        by_tag: whether a tag chose the rule and no label had to hold.

    """

    route: str
    model: str | None
    fallbacks: tuple[str, ...]
    parameters: Mapping[str, Any]
    needs: tuple[str, ...]
    rests_on: tuple[str, ...]
    by_tag: bool

    def among(self, models: tuple[str, ...]) -> Choice:
        """Return this choice with other models."""
        model = models[0] if models else None
        return msgspec.structs.replace(self, model=model, fallbacks=models[1:])


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rules in order, and what a request gets that none of them claims.

    Attributes:
        rules: the first of which all holds wins.
        default: the route of a request that no rule claims, or that cannot be read.
        parameters: request parameters for every request.
        adjustments: changes to the parameters by label, applied after the rule's.
        uncertain: what a request gets that the classifier is unsure of; None: ignore doubt.
        thresholds: label -> probability from which it holds, over the artifact's own.
        sticky: the routes on which a conversation stays; None: each turn on its own.
        second: the artifact that is asked where the first is in doubt; None: none.

    """

    schema_version: Literal[1]
    rules: tuple[Rule, ...]
    default: str
    parameters: dict[str, Any] = {}
    adjustments: tuple[Adjustment, ...] = ()
    uncertain: Uncertain | None = None
    thresholds: dict[str, Probability] = {}
    sticky: Sticky | None = None
    second: Second | None = None

    @classmethod
    def load(cls, path: Path | str | None = None) -> Policy:
        """Read a policy, the shipped one by default.

        Raises:
            PolicyError: the file is missing, is no TOML, has an unknown key, a wrong
                value, no rules, a route that no rule defines, or both a route and
                models for uncertain requests.

        """
        policy = cls.read(path)
        for problem in policy.route_problems():
            raise PolicyError(f"{path or SHIPPED_POLICY}: {problem}")
        return policy

    @classmethod
    def read(cls, path: Path | str | None = None) -> Policy:
        """Read a policy without asking whether its parts fit each other.

        Raises:
            PolicyError: the file is missing, is no TOML, has an unknown key or a wrong
                value.

        """
        file = Path(path) if path is not None else SHIPPED_POLICY
        try:
            return msgspec.convert(read_toml(file, PolicyError), cls).beside(file.parent)
        except msgspec.ValidationError as error:
            raise PolicyError(f"{file}: {error}.") from error

    @classmethod
    def of_labels(cls, labels: Iterable[str]) -> Policy:
        """Make the policy of an artifact without one: each label is a route of its name."""
        rules = tuple(Rule(route=label, needs=(label,)) for label in labels)
        return cls(schema_version=1, rules=(*rules, Rule(route="default")), default="default")

    def with_labels(self, labels: Iterable[str]) -> Policy:
        """Return this policy with a route for each of further labels, of its name.

        They come before all rules but those that look at parts, and get the default route's
        models: which others they should get, only a policy of one's own can say. A second
        artifact, which does not know them, is no longer asked.
        """
        of_parts = [at for at, rule in enumerate(self.rules, 1) if rule.parts]
        at = max(of_parts, default=0)
        models = self.least_demanding(self.default).models
        added = (Rule(route=label, needs=(label,), models=models) for label in labels)
        rules = (*self.rules[:at], *added, *self.rules[at:])
        return msgspec.structs.replace(self, rules=rules, second=None)

    def beside(self, directory: Path) -> Policy:
        """Return this policy with the place of its second artifact, from a directory on."""
        if self.second is None:
            return self
        place = str(find_beside(directory, self.second.artifact))
        second = msgspec.structs.replace(self.second, artifact=place)
        return msgspec.structs.replace(self, second=second)

    def doubted(self, labels: Iterable[str]) -> list[str]:
        """Return those of an artifact's labels whose doubt the second artifact is asked for."""
        named = self.second.labels if self.second else ()
        counting = named or {need for rule in self.rules for need in rule.needs}
        return [label for label in labels if label in counting]

    def route_problems(self) -> Iterator[str]:
        """Say, a sentence each, which keys name a route that no rule has, or too much."""
        doubt = self.uncertain
        if doubt is not None and doubt.route is not None and doubt.models:
            yield (
                "The policy's `[uncertain]` has both `route` and `models`: keep `route` to send "
                "uncertain requests another way, or `models` to change only their model."
            )
        routes = {rule.route for rule in self.rules}
        for key, route in self.named_routes():
            if route not in routes:
                yield (
                    f"The policy's `{key}` is {route!r}, but the rules know only "
                    f"{', '.join(sorted(routes)) or 'no routes'}."
                )

    def named_routes(self) -> Iterator[tuple[str, str]]:
        """Return each key that names a route, and the route."""
        yield "default", self.default
        if self.uncertain is not None and self.uncertain.route is not None:
            yield "uncertain.route", self.uncertain.route
        for route in self.sticky.routes if self.sticky else ():
            yield "sticky.routes", route

    def covers(self, labels: Iterable[str]) -> bool:
        """Say whether this policy speaks of these labels, all of them and no others."""
        labels = set(labels)
        needs = {*self.needs(), *self.thresholds}
        return labels <= needs <= labels | set(FACTS)

    def covers_own(self, labels: Iterable[str]) -> bool:
        """Say whether all labels that this policy speaks of are there, whatever others are."""
        needs = self.needs()
        return self.covers(label for label in labels if label in needs)

    def needs(self) -> list[str]:
        """Return what its rules and adjustments need, in order."""
        of_rules = [need for rule in self.rules for need in rule.needs]
        return of_rules + [need for change in self.adjustments for need in change.needs]

    def conditions(self) -> Iterator[Condition]:
        """Return what its rules ask of a request besides labels and parts."""
        for rule in self.rules:
            yield from rule.when.conditions()

    def ranked(self, catalog: Catalog) -> Policy:
        """Return this policy with the models that its rules `choose`, in order."""
        rules = tuple(rule.ranked(catalog) for rule in self.rules)
        return msgspec.structs.replace(self, rules=rules)

    def choose(self, holding: frozenset[Fact]) -> Choice:
        """Return the choice for a set of labels and facts; the first claiming rule's."""
        rests_on: list[str] = []
        for rule in self.rules:
            if not rule.applies(holding):
                continue
            rests_on += (need for need in rule.needs if need not in rests_on)
            if rule.claims(holding):
                return self._choice(rule, holding, tuple(rests_on))
        return self.choose_route(self.default, holding, tuple(rests_on))

    def choose_route(
        self,
        route: str,
        holding: frozenset[Fact] = NO_FACTS,
        rests_on: tuple[str, ...] = (),
        model: str | None = None,
    ) -> Choice:
        """Return the choice of a route by name: its first rule with a model, if one has it.

        Without such a rule, or without a model, its least demanding rule decides.
        """
        rules = (rule for rule in self.rules if rule.route == route and model in rule.models)
        return self._choice(next(rules, self.least_demanding(route)), holding, rests_on)

    def least_demanding(self, route: str) -> Rule:
        """Return the rule that stands for a route when it is chosen by name."""
        rules = (rule for rule in self.rules if rule.route == route)
        return min(rules, key=lambda rule: rule.demands)

    def choose_in_doubt(self, choice: Choice, holding: frozenset[Fact]) -> Choice:
        """Return what `uncertain` makes of a choice."""
        doubt = self.uncertain
        if doubt is None:
            return choice
        if doubt.route is not None:
            return self.choose_route(doubt.route, holding)
        if not doubt.models or any(need in FACTS for need in choice.needs):
            return choice
        return choice.among(doubt.models)

    def _choice(self, rule: Rule, holding: frozenset[Fact], rests_on: tuple[str, ...]) -> Choice:
        parameters = {**self.parameters, **rule.parameters}
        for adjustment in self.adjustments:
            if holding.issuperset(adjustment.needs):
                parameters |= adjustment.parameters
        model = rule.models[0] if rule.models else None
        by_tag = bool(rule.when.tags) and not rule.needs and rule.applies(holding)
        return Choice(rule.route, model, rule.models[1:], parameters, rule.needs, rests_on, by_tag)
