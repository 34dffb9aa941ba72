"""What a traffic of given shares costs at the output prices of the catalog, written out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from router_ml.catalog import Catalog
from router_ml.errors import EvaluationError
from router_ml.evaluation.summary import Summary
from router_ml.policy import Policy

CLASSIC = {"general": 0.80, "vision": 0.10, "math": 0.05, "chinese": 0.05}
"""The classic split of traffic by route."""


class TrafficPart(msgspec.Struct, frozen=True):
    """One route's share of a traffic.

    Attributes:
        route: its name.
        share: of the requests.
        model: what the policy gives it.
        price: of a million output tokens, in US dollars.
        routed_price: the mean of the same over the models that the evaluated system gave
            requests of this route, mistakes included; None if no row is of this route.

    """

    route: str
    share: float
    model: str
    price: float
    routed_price: float | None = None


class Traffic(msgspec.Struct, frozen=True):
    """What a traffic costs, in US dollars per million output tokens.

    Attributes:
        parts: the routes' shares.
        perfect: if each request takes its route.
        routed: with the evaluated system's mistakes; None where they are unknown.
        baseline: the model that savings are measured against.
        baseline_price: its price: what the traffic costs if it gets everything.

    """

    parts: list[TrafficPart]
    perfect: float
    routed: float | None
    baseline: str
    baseline_price: float

    def saving(self, price: float) -> float:
        """Return the share of the baseline's price that another saves; NaN if that is free."""
        return 1 - price / self.baseline_price if self.baseline_price else math.nan

    def arithmetic(self) -> str:
        """Write the sum out."""
        terms = " + ".join(f"{part.share:.0%} × {part.price:.2f}" for part in self.parts)
        return f"{terms} = {self.perfect:.4f}"


def read_shares(text: str) -> dict[str, float]:
    """Read a traffic: `classic`, or shares that sum to 1, as `general=0.9,math=0.1`.

    Raises:
        EvaluationError: it is neither.

    """
    if text == "classic":
        return CLASSIC
    try:
        pairs = (part.split("=") for part in text.split(","))
        shares = {route.strip(): float(share) for route, share in pairs}
    except ValueError:
        shares = {}
    if not shares or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise EvaluationError(
            f"The traffic {text!r} is neither `classic` nor shares that sum to 1, "
            "such as general=0.9,math=0.1."
        )
    return shares


def plan_traffic(
    shares: Mapping[str, float], policy: Policy, catalog: Catalog
) -> list[TrafficPart]:
    """Say which model each route of a traffic gets, and at what price.

    Args:
        shares: route -> share of the requests, summing to 1.
        policy: says which model a route gets.
        catalog: has the prices.

    Raises:
        EvaluationError: the policy has no such route, or no model for it.

    """
    ranked = policy.ranked(catalog)
    models = {rule.route: ranked.choose_route(rule.route).model for rule in policy.rules}
    return [_part(route, share, models, catalog) for route, share in shares.items()]


def _part(
    route: str, share: float, models: Mapping[str, str | None], catalog: Catalog
) -> TrafficPart:
    model = models.get(route)
    if model is None:
        raise EvaluationError(
            f"The traffic has the route {route!r}, for which the policy has no model: "
            f"its routes are {', '.join(sorted(models))}."
        )
    return TrafficPart(route, share, model, catalog.models[model].output_price)


def price_traffic(parts: Sequence[TrafficPart], catalog: Catalog, summary: Summary) -> Traffic:
    """Reckon what a traffic costs by the output prices of the catalog.

    Args:
        parts: of the traffic, as planned.
        catalog: has the prices and the baseline.
        summary: how the evaluated system treats requests of each route.

    """
    routed = _routed_prices(summary, catalog)
    known = [part.share * routed[part.route] for part in parts if part.route in routed]
    return Traffic(
        parts=[
            msgspec.structs.replace(part, routed_price=routed.get(part.route)) for part in parts
        ],
        perfect=sum(part.share * part.price for part in parts),
        routed=sum(known) if len(known) == len(parts) else None,
        baseline=catalog.baseline,
        baseline_price=catalog.models[catalog.baseline].output_price,
    )


def _routed_prices(summary: Summary, catalog: Catalog) -> dict[str, float]:
    """Return true route -> the mean output price of what its requests got, where it is known."""
    rows: dict[str, int] = defaultdict(int)
    sums: dict[str, float] = defaultdict(float)
    for (true, _, model), counts in sorted(summary.tally.named("got").items()):
        known = catalog.models.get(model)
        rows[true] += int(counts[0])
        sums[true] += int(counts[0]) * (math.nan if known is None else known.output_price)
    return {true: sums[true] / rows[true] for true in rows if math.isfinite(sums[true])}
