"""What routing costs and saves, and what its mistakes cost.

A mistake has one of two prices. A request whose model can do it but is dearer than the right
one is *paid too much* for, by the difference. One whose model cannot do it is paid for in
vain: at least it is asked again of the right model, and the first answer's cost is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from router_ml.catalog import Catalog
from router_ml.evaluation.costs import prices_of
from router_ml.evaluation.intervals import Figure, Floats, figure_of, ratio
from router_ml.evaluation.summary import Summary
from router_ml.evaluation.tally import ANYWHERE, MISTAKES, PERFECT, MistakeKind


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


def reckon(summary: Summary, catalog: Catalog, volume: int) -> Money:
    """Reckon what each system costs, what perfect labels would, and what single models would.

    Args:
        summary: what was counted.
        catalog: has the prices and the baseline.
        volume: requests a month.

    """
    costs = _costs(summary, catalog)
    priced = {name: cost for name, cost in costs.items() if cost is not None}
    base = priced[_everything_to(catalog.baseline)]
    spends = [_spend(name, cost, base, summary, volume) for name, cost in priced.items()]
    mistakes, repeated = [], None
    if summary.name in priced and PERFECT in priced:
        parts = spend_parts(summary, catalog, volume)
        spends[0] = msgspec.structs.replace(spends[0], parts=parts)
        mistakes = mistake_prices(summary, catalog)
        spent = float(priced[summary.name][0])
        repeated = 1000 * (spent + _asked_again(summary, catalog)) / summary.rows
    return Money(
        volume=volume,
        baseline=catalog.baseline,
        spends=spends,
        mistakes=mistakes,
        repeated_per_1000=repeated,
        tokens=_token_facts(summary),
        unpriced=[name for name in costs if name not in priced],
    )


def _costs(summary: Summary, catalog: Catalog) -> dict[str, Floats | None]:
    """Return what all rows cost by each way to route; None where a price is unknown."""
    ways = (*summary.systems, PERFECT)
    singles = dict.fromkeys((catalog.baseline, catalog.rank("cheapest")[0]))
    return {
        **{name: summary.costs(name, catalog) for name in ways},
        **{_everything_to(one): summary.costs(ANYWHERE, catalog, one) for one in singles},
    }


def _everything_to(model: str) -> str:
    return f"everything to {model}"


def _spend(name: str, cost: Floats, base: Floats, summary: Summary, volume: int) -> Spend:
    mean = ratio(cost, summary.every[:, 0])
    saving = figure_of(1 - ratio(cost, base))
    return Spend(name, figure_of(1000 * mean), float(mean[0] * volume), saving)


def _price(tokens: Sequence[int], model: str, catalog: Catalog) -> float:
    """Return what tokens (fresh input, cached input, output) cost on a model, in US dollars."""
    pairs = zip(tokens, prices_of(model, catalog), strict=True)
    return sum(count * price for count, price in pairs)


def spend_parts(summary: Summary, catalog: Catalog, volume: int) -> list[SpendPart]:
    """Divide the evaluated system's spend by route and model, the dearest first.

    Args:
        summary: what was counted.
        catalog: has the prices.
        volume: requests a month.

    """
    n = summary.rows
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (_, route, model), counts in summary.tally.named("got").items():
        before = sums[route, model]
        sums[route, model] = [a + b for a, b in zip(before, counts.tolist(), strict=True)]
    parts = []
    for (route, model), (rows, *tokens) in sorted(sums.items()):
        mean = _price(tokens, model, catalog) / n
        parts.append(SpendPart(route, model, rows, rows / n, 1000 * mean, volume * mean))
    return sorted(parts, key=lambda part: -part.per_1000)


def mistake_prices(summary: Summary, catalog: Catalog) -> list[MistakePrice]:
    """Price the evaluated system's wrong routes by kind, the dearest first."""
    found: dict[tuple[MistakeKind, str, str], tuple[int, float]] = {}
    for kind in MISTAKES:
        for names, counts in sorted(summary.tally.named("mistake", kind).items()):
            true, given, model, right_model = names
            rows, *tokens = counts.tolist()
            price = _price(tokens, model, catalog)
            price -= 0 if kind == MISTAKES[0] else _price(tokens, right_model, catalog)
            before = found.get((kind, true, given), (0, 0.0))
            found[kind, true, given] = (before[0] + rows, before[1] + price)
    prices = [
        MistakePrice(true, given, kind, rows, price / rows, 1000 * price / summary.rows)
        for (kind, true, given), (rows, price) in found.items()
    ]
    return sorted(prices, key=lambda mistake: -mistake.per_1000)


def _asked_again(summary: Summary, catalog: Catalog) -> float:
    """Return what it costs to ask again whatever a model could not do, in US dollars."""
    vain = sorted(summary.tally.named("mistake", MISTAKES[0]).items())
    return sum(_price(counts.tolist()[1:], names[-1], catalog) for names, counts in vain)


def _token_facts(summary: Summary) -> TokenFacts:
    rows, *sums = summary.tally.total("log")
    return TokenFacts(*(sums[at] / rows for at in range(4)))
