"""What routing costs and saves, and what its mistakes cost.

A mistake has one of two prices. A request whose model can do it but is dearer than the right
one is *paid too much* for, by the difference. One whose model cannot do it is paid for in
vain: at least it is asked again of the right model, and the first answer's cost is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.catalog import Catalog
from router_ml.evaluation.costs import Bill
from router_ml.evaluation.evidence import Evidence
from router_ml.evaluation.intervals import Bootstrap, Figure, Floats, figure_of, ratio

PERFECT = "perfect labels"
Costs = NDArray[np.float64]
"""What each of n requests costs, in US dollars."""

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
    costs = _costs(evidence, catalog)
    priced = {name: cost for name, cost in costs.items() if np.isfinite(cost).all()}
    base = costs[_everything_to(catalog.baseline)]
    spends = [_spend(name, cost, base, evidence.boot, volume) for name, cost in priced.items()]
    mistakes, repeated = [], None
    cost, right_cost = priced.get(evidence.name), priced.get(PERFECT)
    if cost is not None and right_cost is not None:
        parts = spend_parts(evidence, cost, volume)
        spends[0] = msgspec.structs.replace(spends[0], parts=parts)
        mistakes = mistake_prices(evidence, cost, right_cost)
        repeated = _with_repeats(evidence, cost, right_cost)
    return Money(
        volume=volume,
        baseline=catalog.baseline,
        spends=spends,
        mistakes=mistakes,
        repeated_per_1000=repeated,
        tokens=_token_facts(evidence),
        unpriced=[name for name in costs if name not in priced],
    )


def _costs(evidence: Evidence, catalog: Catalog) -> dict[str, Costs]:
    """Return what each row costs by each way to route; NaN where a price is unknown."""
    bill, models = Bill(evidence.columns.tokens), evidence.models
    ways = {**evidence.said, PERFECT: evidence.truth}
    costs = {name: bill.on(models, said.model, catalog) for name, said in ways.items()}
    singles = (catalog.baseline, catalog.rank("cheapest")[0])
    return costs | {_everything_to(model): bill.on([model], 0, catalog) for model in singles}


def _everything_to(model: str) -> str:
    return f"everything to {model}"


def _with_repeats(evidence: Evidence, cost: Costs, right_cost: Costs) -> float:
    said = evidence.said[evidence.name]
    vain = ~evidence.right(evidence.name) & ~said.able
    return float(1000 * (cost + vain * right_cost).mean())


def _spend(name: str, cost: Costs, base: Costs, boot: Bootstrap, volume: int) -> Spend:
    spent, based, rows = boot.totals(cost), boot.totals(base), boot.totals()
    mean: Floats = ratio(spent, rows)[:, 0]
    saving = figure_of(1 - ratio(spent, based)[:, 0])
    return Spend(name, figure_of(1000 * mean), float(mean[0] * volume), saving)


def spend_parts(evidence: Evidence, cost: Costs, volume: int) -> list[SpendPart]:
    """Divide the evaluated system's spend by route and model, the dearest first.

    Args:
        evidence: n rows.
        cost: of each, [n].
        volume: requests a month.

    """
    n, size, said = evidence.rows, len(evidence.models), evidence.said[evidence.name]
    cells = said.route.astype(np.int64) * size + said.model
    rows, sums = np.bincount(cells), np.bincount(cells, cost)
    parts = [
        SpendPart(
            route=evidence.routes[at // size],
            model=evidence.models[at % size],
            rows=int(rows[at]),
            share=float(rows[at] / n),
            per_1000=float(1000 * sums[at] / n),
            per_month=float(volume * sums[at] / n),
        )
        for at in np.flatnonzero(rows)
    ]
    return sorted(parts, key=lambda part: -part.per_1000)


def mistake_prices(evidence: Evidence, cost: Costs, right_cost: Costs) -> list[MistakePrice]:
    """Price the evaluated system's wrong routes by kind, the dearest first.

    Args:
        evidence: n rows.
        cost: what its models cost, [n].
        right_cost: what the right ones do, [n].

    """
    able, extra = evidence.said[evidence.name].able, cost - right_cost
    found = [
        *_mistakes_of("cannot do it", evidence, ~able, cost),
        *_mistakes_of("paid too much", evidence, able & (extra > 0), extra),
        *_mistakes_of("harmless", evidence, able & (extra <= 0), extra),
    ]
    return sorted(found, key=lambda mistake: -mistake.per_1000)


def _mistakes_of(
    kind: MistakeKind, evidence: Evidence, which: NDArray[np.bool_], price: Costs
) -> Iterator[MistakePrice]:
    at = which & ~evidence.right(evidence.name)
    size = len(evidence.routes)
    cells = evidence.truth.route[at].astype(np.int64) * size
    cells += evidence.said[evidence.name].route[at]
    rows, sums = np.bincount(cells), np.bincount(cells, price[at])
    for cell in np.flatnonzero(rows).tolist():
        yield MistakePrice(
            true_route=evidence.routes[cell // size],
            given_route=evidence.routes[cell % size],
            kind=kind,
            rows=int(rows[cell]),
            each=float(sums[cell] / rows[cell]),
            per_1000=float(1000 * sums[cell] / evidence.rows),
        )


def _token_facts(evidence: Evidence) -> TokenFacts:
    read, written = evidence.columns.tokens[:, :2].mean(axis=0).tolist()
    counted = evidence.columns.counted.mean(axis=0).tolist()
    return TokenFacts(read, written, *counted)
