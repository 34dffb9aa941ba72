"""What routing costs and saves, what its mistakes cost, and what a traffic of given shares would.

A mistake has one of two prices. A request whose model can do it but is dearer than the right
one is *paid too much* for, by the difference. One whose model cannot do it is paid for in
vain: at least it is asked again of the right model, and the first answer's cost is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.catalog import Catalog
from router_ml.errors import EvaluationError
from router_ml.evaluation.costs import Bill
from router_ml.evaluation.evidence import Evidence, Said
from router_ml.evaluation.intervals import Bootstrap, Figure, Floats, figure_of, ratio
from router_ml.evaluation.scores import confusion
from router_ml.policy import Policy

CLASSIC = {"general": 0.80, "vision": 0.10, "math": 0.05, "chinese": 0.05}
"""The classic split of traffic by route."""

MistakeKind = Literal["paid too much", "cannot do it", "harmless"]


class SpendPart(msgspec.Struct, frozen=True):
    """What one model costs on one route; `share` is of the rows, `per_1000` of all requests."""

    route: str
    model: str
    rows: int
    share: float
    per_1000: float
    per_month: float


class Spend(msgspec.Struct, frozen=True):
    """What a way to route costs, in US dollars.

    Attributes:
        name: of the way.
        per_1000: for 1,000 requests.
        per_month: at the volume asked for.
        saving: the share of the baseline's spend that it saves; negative: it costs more.
        parts: by route and model, the dearest first; none for baselines.

    """

    name: str
    per_1000: Figure
    per_month: float
    saving: Figure
    parts: list[SpendPart] = []


class MistakePrice(msgspec.Struct, frozen=True):
    """What one kind of mistake costs.

    Attributes:
        true_route, given_route: where the requests belong, and where they went.
        kind: paid too much; cannot do it; or harmless: able, and no dearer.
        rows: how many there are.
        each: what one costs, in US dollars: the difference, or the answer in vain.
        per_1000: the same for 1,000 requests of all kinds.

    """

    true_route: str
    given_route: str
    kind: MistakeKind
    rows: int
    each: float
    per_1000: float


class TokenFacts(msgspec.Struct, frozen=True):
    """Mean tokens of a request, and the share of rows whose log counted them."""

    mean_input: float
    mean_output: float
    input_counted: float
    output_counted: float


class Money(msgspec.Struct, frozen=True):
    """What routing costs and saves.

    Attributes:
        volume: requests a month.
        baseline: the model that savings are measured against.
        spends: what is evaluated, then what it is measured against.
        mistakes: what mistakes cost, the dearest first.
        repeated_per_1000: spend for 1,000 requests if all that a model could not do is asked
            again of the right one.
        tokens: what the prices are applied to.
        unpriced: systems and models whose price is unknown.

    """

    volume: int
    baseline: str
    spends: list[Spend]
    mistakes: list[MistakePrice]
    repeated_per_1000: float | None
    tokens: TokenFacts
    unpriced: list[str]


def reckon(evidence: Evidence, catalog: Catalog, volume: int) -> Money:
    """Reckon what each system costs, what perfect labels would, and what single models would.

    Args:
        evidence: n rows, and what was said of them.
        catalog: has the prices and the baseline.
        volume: requests a month.

    """
    bill = Bill(evidence.columns.tokens)
    models = [model or None for model in evidence.models]
    ways = {**evidence.said, "perfect labels": evidence.truth}
    costs = {name: bill.on(models, said.model, catalog) for name, said in ways.items()}
    for model in (catalog.baseline, catalog.rank("cheapest")[0]):
        costs[f"everything to {model}"] = bill.on([model], 0, catalog)
    base = costs[f"everything to {catalog.baseline}"]
    priced = {name: cost for name, cost in costs.items() if np.isfinite(cost).all()}
    spends = [_spend(name, cost, base, evidence.boot, volume) for name, cost in priced.items()]
    first = next(iter(evidence.said))
    mistakes, repeated = [], None
    if first in priced and "perfect labels" in priced:
        parts = spend_parts(evidence, evidence.said[first], priced[first], volume)
        spends[0] = msgspec.structs.replace(spends[0], parts=parts)
        mistakes = mistake_prices(evidence, first, priced[first], priced["perfect labels"])
        vain = ~evidence.right(first) & ~evidence.said[first].able
        repeated = 1000 * float((priced[first] + vain * priced["perfect labels"]).mean())
    unpriced = [name for name in costs if name not in priced]
    return Money(
        volume, catalog.baseline, spends, mistakes, repeated, _token_facts(evidence), unpriced
    )


def _spend(
    name: str, cost: NDArray[np.float64], base: NDArray[np.float64], boot: Bootstrap, volume: int
) -> Spend:
    spent, based, rows = boot.totals(cost), boot.totals(base), boot.totals()
    mean: Floats = ratio(spent, rows)[:, 0]
    saving = figure_of(1 - ratio(spent, based)[:, 0])
    return Spend(name, figure_of(1000 * mean), float(mean[0] * volume), saving)


def spend_parts(
    evidence: Evidence, said: Said, cost: NDArray[np.float64], volume: int
) -> list[SpendPart]:
    """Divide a system's spend by route and model, the dearest first.

    Args:
        evidence: n rows.
        said: of them.
        cost: float64 [n], US dollars.
        volume: requests a month.

    """
    n, size = evidence.rows, len(evidence.models)
    cells = said.route.astype(np.int64) * size + said.model
    rows, sums = np.bincount(cells), np.bincount(cells, cost)
    parts = [
        SpendPart(
            evidence.routes[at // size],
            evidence.models[at % size] or "(unknown)",
            int(rows[at]),
            float(rows[at] / n),
            float(1000 * sums[at] / n),
            float(volume * sums[at] / n),
        )
        for at in np.flatnonzero(rows)
    ]
    return sorted(parts, key=lambda part: -part.per_1000)


def mistake_prices(
    evidence: Evidence, name: str, cost: NDArray[np.float64], right_cost: NDArray[np.float64]
) -> list[MistakePrice]:
    """Price a system's wrong routes by kind, the dearest first.

    Args:
        evidence: n rows.
        name: of the system.
        cost: float64 [n], what its models cost.
        right_cost: float64 [n], what the right ones do.

    """
    said, wrong = evidence.said[name], ~evidence.right(name)
    extra = cost - right_cost
    kinds: dict[MistakeKind, tuple[NDArray[np.bool_], NDArray[np.float64]]] = {
        "cannot do it": (~said.able, cost),
        "paid too much": (said.able & (extra > 0), extra),
        "harmless": (said.able & (extra <= 0), extra),
    }
    found: list[MistakePrice] = []
    for kind, (which, price) in kinds.items():
        at = wrong & which
        rows = confusion(evidence.truth.route[at], said.route[at], len(evidence.routes))
        cells = evidence.truth.route[at] * len(evidence.routes) + said.route[at]
        sums = np.bincount(cells, price[at], rows.size).reshape(rows.shape)
        found += [
            MistakePrice(
                evidence.routes[true],
                evidence.routes[given],
                kind,
                int(rows[true, given]),
                float(sums[true, given] / rows[true, given]),
                float(1000 * sums[true, given] / evidence.rows),
            )
            for true, given in zip(*np.nonzero(rows), strict=True)
        ]
    return sorted(found, key=lambda mistake: -mistake.per_1000)


def _token_facts(evidence: Evidence) -> TokenFacts:
    read, written = evidence.columns.tokens[:, :2].mean(axis=0).tolist()
    counted = evidence.columns.counted.mean(axis=0).tolist()
    return TokenFacts(read, written, *counted)


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
    routed_price: float | None


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

    @property
    def saving(self) -> float:
        """The share that perfect routing saves."""
        return 1 - self.perfect / self.baseline_price

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


def price_traffic(
    shares: Mapping[str, float], policy: Policy, catalog: Catalog, evidence: Evidence
) -> Traffic:
    """Reckon what a traffic costs by the output prices of the catalog.

    Args:
        shares: route -> share of the requests, summing to 1.
        policy: says which model a route gets.
        catalog: has the prices and the baseline.
        evidence: how the evaluated system treats requests of each route.

    Raises:
        EvaluationError: the policy has no such route, or no model for it.

    """
    routed = _routed_prices(evidence, catalog)
    parts = [
        _traffic_part(route, share, policy, catalog, routed) for route, share in shares.items()
    ]
    known = [part.routed_price for part in parts if part.routed_price is not None]
    return Traffic(
        parts,
        sum(part.share * part.price for part in parts),
        sum(p.share * (p.routed_price or 0) for p in parts) if len(known) == len(parts) else None,
        catalog.baseline,
        catalog.models[catalog.baseline].output_price,
    )


def _traffic_part(
    route: str, share: float, policy: Policy, catalog: Catalog, routed: Mapping[str, float]
) -> TrafficPart:
    routes = {rule.route for rule in policy.rules}
    model = policy.ranked(catalog).choose_route(route).model if route in routes else None
    if model is None:
        known = ", ".join(sorted(routes))
        raise EvaluationError(
            f"The traffic has the route {route!r}, for which the policy has no model: "
            f"its routes are {known}."
        )
    return TrafficPart(route, share, model, catalog.models[model].output_price, routed.get(route))


def _routed_prices(evidence: Evidence, catalog: Catalog) -> dict[str, float]:
    """Return true route -> the mean output price of what its requests got."""
    known = [catalog.models.get(model) for model in evidence.models]
    price = np.array([np.nan if model is None else model.output_price for model in known])
    said = next(iter(evidence.said.values()))
    size = len(evidence.routes)
    rows = np.bincount(evidence.truth.route, minlength=size)
    sums = np.bincount(evidence.truth.route, price[said.model], size)
    usable = np.flatnonzero((rows > 0) & np.isfinite(sums))
    return {evidence.routes[at]: float(sums[at] / rows[at]) for at in usable}
