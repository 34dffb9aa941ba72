"""What thresholds are chosen for, said in one line.

at most 5% of traffic to moonshot-k2.5         a model or a route; needs no labelled rows
at most 5% of traffic to vision by vision      the label whose threshold moves, if not clear
recall of vision >= 0.99
precision of math >= 0.9
cheapest with accuracy >= 0.95
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from router_ml.errors import TargetError
from router_ml.policy import Policy
from router_ml.types import Decision

_NUMBER = r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<percent>%?)"
_SHARE = re.compile(rf"at most {_NUMBER} of traffic to (?P<name>.+?)(?: by (?P<label>\S+))?")
_LABEL = re.compile(rf"(?P<figure>recall|precision) of (?P<label>\S+) (?:>=|≥) {_NUMBER}")
_CHEAPEST = re.compile(rf"cheapest with accuracy (?:>=|≥) {_NUMBER}")


class ShareTarget(msgspec.Struct, frozen=True):
    """At most so much of the traffic goes to one model or route.

    Attributes:
        name: the model's or route's.
        is_route: whether it is a route.
        bound: the most, a share in [0, 1].
        label: whose threshold moves.

    """

    name: str
    is_route: bool
    bound: float
    label: str

    @property
    def figure(self) -> str:
        """What is measured."""
        return f"share of traffic to {self.name}"

    def __str__(self) -> str:
        """Say it as it is parsed."""
        return f"at most {100 * self.bound:.4g}% of traffic to {self.name} by {self.label}"

    def count(self, decision: Decision, labels: Sequence[str] | None) -> tuple[bool, bool]:
        """Say whether a row is one of those counted, and one of those it is a share of."""
        return self.name == (decision.route if self.is_route else decision.model), True


class LabelTarget(msgspec.Struct, frozen=True):
    """The recall or precision of a label is at least so high.

    Attributes:
        measure: which of the two.
        label: the label, whose threshold moves.
        bound: the least, in [0, 1].

    """

    measure: Literal["recall", "precision"]
    label: str
    bound: float

    @property
    def other(self) -> LabelTarget:
        """The measure that pays for this one."""
        measure: Literal["recall", "precision"]
        measure = "precision" if self.measure == "recall" else "recall"
        return LabelTarget(measure, self.label, self.bound)

    @property
    def figure(self) -> str:
        """What is measured."""
        return f"{self.measure} of {self.label}"

    def __str__(self) -> str:
        """Say it as it is parsed."""
        return f"{self.figure} >= {self.bound:.4g}"

    def count(self, decision: Decision, labels: Sequence[str] | None) -> tuple[bool, bool]:
        """Say whether a row is one of those counted, and one of those it is a share of."""
        true, held = self.label in (labels or ()), self.label in decision.labels
        return true and held, true if self.measure == "recall" else held


class CheapestTarget(msgspec.Struct, frozen=True):
    """The least cost with at least so many right routes.

    Attributes:
        bound: the least route accuracy, in [0, 1].

    """

    bound: float

    def __str__(self) -> str:
        """Say it as it is parsed."""
        return f"cheapest with accuracy >= {self.bound:.4g}"


Target = ShareTarget | LabelTarget | CheapestTarget


def parse_target(text: str, policy: Policy, labels: Sequence[str]) -> Target:
    """Read a target.

    Args:
        text: as at the top of this module.
        policy: whose models and routes it may name.
        labels: of the classifier.

    Raises:
        TargetError: it is none, its number is no share, or it names what policy or
            classifier do not have.

    """
    said = " ".join(text.split())
    if found := _SHARE.fullmatch(said):
        return _share(found["name"], _bound(found, text), found["label"], policy, labels)
    if found := _LABEL.fullmatch(said):
        label = _known_label(found["label"], labels)
        measure: Literal["recall", "precision"]
        measure = "recall" if found["figure"] == "recall" else "precision"
        return LabelTarget(measure, label, _bound(found, text))
    if found := _CHEAPEST.fullmatch(said):
        return CheapestTarget(_bound(found, text))
    raise TargetError(
        f"{text!r} is no target: say `at most 5% of traffic to MODEL`, `recall of LABEL >= 0.99`, "
        "`precision of LABEL >= 0.9` or `cheapest with accuracy >= 0.95`."
    )


def _bound(found: re.Match[str], text: str) -> float:
    bound = float(found["number"]) / (100 if found["percent"] else 1)
    if not 0 < bound < 1:
        raise TargetError(
            f"{text!r} asks for {found['number']}{found['percent']}: "
            "a share lies between 0 and 1, or 0% and 100%."
        )
    return bound


def _share(
    name: str, bound: float, label: str | None, policy: Policy, labels: Sequence[str]
) -> ShareTarget:
    routes = {rule.route for rule in policy.rules}
    models = {model for rule in policy.rules for model in rule.models[:1]}
    if name not in routes | models:
        raise TargetError(
            f"The policy sends nothing to {name!r} by preference: it knows the routes "
            f"{', '.join(sorted(routes))} and the models {', '.join(sorted(models)) or '(none)'}."
        )
    if name in routes & models:
        raise TargetError(f"{name!r} is both a route and a model of the policy: rename the route.")
    is_route = name in routes
    moved = _known_label(label, labels) if label else _leading_label(name, is_route, policy, labels)
    return ShareTarget(name, is_route, bound, moved)


def _leading_label(name: str, is_route: bool, policy: Policy, labels: Sequence[str]) -> str:
    """Return the one label that every rule leading to a model or route needs."""
    rules = [r for r in policy.rules if name == (r.route if is_route else (*r.models, None)[0])]
    common = set(labels).intersection(*(rule.needs for rule in rules))
    if len(common) == 1:
        return common.pop()
    raise TargetError(
        f"{'Several labels lead' if common else 'No one label leads'} to {name!r}: name the one "
        f"whose threshold is to move, as in `at most 5% of traffic to {name} by {labels[0]}`."
    )


def _known_label(label: str, labels: Sequence[str]) -> str:
    if label not in labels:
        raise TargetError(
            f"The artifact has no label {label!r}: it has {', '.join(sorted(labels))}."
        )
    return label
