"""What is wrong with a policy, beside an artifact's labels and a catalog: a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, product

from router_ml.catalog import Catalog
from router_ml.errors import PolicyError
from router_ml.policy import FACTS, Policy, Rule


def check(policy: Policy, labels: Iterable[str], catalog: Catalog) -> None:
    """Check a policy against an artifact's labels and a catalog.

    Raises:
        PolicyError: the first of what `find_problems` finds.

    """
    for problem in find_problems(policy, labels, catalog):
        raise PolicyError(problem)


def find_problems(policy: Policy, labels: Iterable[str], catalog: Catalog) -> Iterator[str]:
    """Say what makes a policy unusable.

    That is: a route that no rule has, a need or threshold that is neither a label nor a
    fact, doubt of what is no label, a label that no rule or adjustment uses, a model that
    the catalog lacks, or one that cannot read what its rule needs read, and a choice of the
    catalog's that is empty. A second artifact is not looked at: `cascade` does.
    """
    labels = tuple(labels)
    yield from policy.route_problems()
    yield from _unknown_names(policy, labels)
    yield from _unknown_doubts(policy, labels)
    yield from _labels_without_a_route(policy, labels)
    yield from _unknown_models(policy, catalog)
    for rule in policy.rules:
        yield from _idle_thresholds(rule)
        yield from _unable_models(rule, catalog)
        yield from _empty_choice(rule, catalog)


def find_unreachable(policy: Policy) -> Iterator[str]:
    """Say which rules no request can get to, except those that stand for a named route."""
    routes = {rule.route for rule in policy.rules}
    named = [policy.least_demanding(r) for _, r in policy.named_routes() if r in routes]
    rules = [(f"rule {n} (route {r.route!r})", r) for n, r in enumerate(policy.rules, 1)]
    for at, (name, rule) in enumerate(rules):
        if any(rule is one for one in named):
            continue
        covering = next((other for other, earlier in rules[:at] if covers(earlier, rule)), None)
        if contradiction := _contradiction(rule):
            yield f"The policy's {name} claims no request: it asks for {contradiction}."
        elif covering:
            yield f"The policy's {name} is never reached: {covering} claims all that it would."


def covers(rule: Rule, other: Rule) -> bool:
    """Say whether a rule claims every request that another would."""
    given = other.when.conditions()
    return (
        set(rule.needs) <= set(other.needs)
        and all(any(one.implies(asked) for one in given) for asked in rule.when.conditions())
        and all(p <= other.thresholds.get(label, 0.0) for label, p in rule.thresholds.items())
    )


def _contradiction(rule: Rule) -> str:
    """Name two conditions of a rule that never hold together; "" if there are none."""
    pairs = combinations(rule.when.conditions(), 2)
    return next((f"{one} and {two}" for one, two in pairs if one.excludes(two)), "")


def _unknown_names(policy: Policy, labels: tuple[str, ...]) -> Iterator[str]:
    for name in dict.fromkeys((*policy.needs(), *policy.thresholds)):
        if name not in {*labels, *FACTS}:
            yield (
                f"The policy names the label {name!r}, which the artifact does not have: "
                f"it has {', '.join(labels)}."
            )


def _unknown_doubts(policy: Policy, labels: tuple[str, ...]) -> Iterator[str]:
    for name in policy.second.labels if policy.second else ():
        if name not in labels:
            yield (
                f"The policy's `second.labels` names {name!r}, which the artifact does not have: "
                f"it has {', '.join(labels)}."
            )


def _labels_without_a_route(policy: Policy, labels: tuple[str, ...]) -> Iterator[str]:
    used = policy.needs()
    for label in labels:
        if label not in used:
            yield f"The artifact's label {label!r} has no route: no rule of the policy needs it."


def _unknown_models(policy: Policy, catalog: Catalog) -> Iterator[str]:
    named = [(f"route {rule.route!r}", rule.models) for rule in policy.rules]
    if policy.uncertain is not None:
        named.append(("uncertain requests", policy.uncertain.models))
    for what, models in named:
        for model in models:
            if model not in catalog.models:
                yield f"The policy sends {what} to {model!r}, which the catalog does not list."


def _idle_thresholds(rule: Rule) -> Iterator[str]:
    for label in rule.thresholds:
        if label not in rule.needs:
            yield (
                f"The policy's rule of route {rule.route!r} has a threshold for {label!r}, "
                "which is not among its `needs`."
            )


def _unable_models(rule: Rule, catalog: Catalog) -> Iterator[str]:
    """Look at models named in order: a choice of the catalog's leaves out the unable."""
    models = () if rule.choose else rule.models
    known = [(name, catalog.models[name]) for name in models if name in catalog.models]
    for part, (name, model) in product(rule.parts, known):
        if part not in model.modalities:
            yield (
                f"The policy's rule of route {rule.route!r} that needs "
                f"{', '.join(rule.needs)} names {name!r}, but by its `modalities` in "
                f"the catalog that model reads only {', '.join(model.modalities)}."
            )


def _empty_choice(rule: Rule, catalog: Catalog) -> Iterator[str]:
    if rule.choose and not rule.ranked(catalog).models:
        reading = f" that reads {' and '.join(rule.parts)}" if rule.parts else ""
        rated = " whose `speed` is known" if rule.choose == "fastest" else ""
        yield (
            f"The policy's rule of route {rule.route!r} asks for the {rule.choose} model"
            f"{reading}{rated}, but the catalog has none{' among its models' * bool(rule.models)}."
        )
