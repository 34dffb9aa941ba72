"""What routing costs and saves, and what its mistakes cost.

A mistake has one of two prices. A request whose model can do it but is dearer than the right
one is *paid too much* for, by the difference. One whose model cannot do it is paid for in
vain: at least it is asked again of the right model, and the first answer's cost is lost.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.catalog import Catalog
from router_ml.evaluation.costs import Bill
from router_ml.evaluation.evidence import Evidence, Said
from router_ml.evaluation.intervals import Bootstrap, Figure, Floats, figure_of, ratio
from router_ml.evaluation.scores import confusion

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
    first = evidence.name
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
