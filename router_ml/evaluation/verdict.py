"""A report in sentences: its verdict, and what to know of its figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from router_ml.evaluation.comparison import Comparison
from router_ml.evaluation.costs import OUTPUT_TOKENS
from router_ml.evaluation.facts import Report
from router_ml.evaluation.words import dollars, percent
from router_ml.plurals import counted
from router_ml.router import Router

_FEW = 200


def verdict(report: Report) -> Iterator[str]:
    """Say in sentences how often it is right, what it costs and saves, and where it is wrong."""
    rows = report.about.rows
    yield (
        f"{report.system} sends {percent(report.main.accuracy)} of "
        f"{counted(rows, 'request')} the right way."
    )
    yield from _verdict_on_money(report)
    yield from _verdict_on_mistakes(report)
    for versus in report.versus:
        yield _verdict_on(versus.result, report.system)


def _verdict_on_money(report: Report) -> Iterator[str]:
    money = report.money
    spend = next((spend for spend in money.spends if spend.name == report.system), None)
    if spend is None:
        return
    share = spend.saving.value  # NaN if the baseline is free
    relation = "less" if share >= 0 else "more"
    than = f": {abs(share):.1%} {relation} than {money.baseline} for everything"
    yield (
        f"Its models cost {dollars(spend.per_1000.value)} per 1,000 requests, "
        f"{dollars(spend.per_month)} a month at {counted(money.volume, 'request')}"
        f"{than * math.isfinite(share)}."
    )


def _verdict_on_mistakes(report: Report) -> Iterator[str]:
    routes = list(report.main.routes)
    wrong = [
        (count, true, given)
        for true, row in zip(routes, report.main.confusion, strict=True)
        for given, count in zip(routes, row, strict=True)
        if true != given and count
    ]
    if wrong:
        count, true, given = max(wrong)
        yield (
            f"The most frequent mistake sends {true} to {given}: {count:,} of "
            f"{counted(sum(one for one, *_ in wrong), 'wrong row')}."
        )
    worst = next((one for one in report.slices if one.field != "label" and one.excess > 0), None)
    if worst is not None:
        yield (
            f"The slice that costs the most accuracy is {worst.field} {worst.value}: "
            f"{percent(worst.accuracy)} of {counted(worst.rows, 'row')}."
        )


def _verdict_on(result: Comparison, system: str) -> str:
    points, p = 100 * result.accuracy_difference.value, result.test.p_mid
    if points == 0:
        return f"{system} is as often right as {result.name}{_verdict_on_cost(result)}."
    relation = "more" if points > 0 else "less"
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    doubt = "" if p < 0.05 else ", which may be chance"
    return (
        f"{system} is {abs(points):.1f} points {relation} often right than {result.name}{doubt} "
        f"(McNemar, {chance}){_verdict_on_cost(result)}."
    )


def _verdict_on_cost(result: Comparison) -> str:
    cost = result.cost_difference
    if cost is None or cost.value == 0:
        return "" if cost is None else ", at the same cost"
    relation = "more" if cost.value > 0 else "less"
    return f", and costs {dollars(abs(cost.value))} {relation} per 1,000 requests"


def notes(report: Report, router: Router, models: Sequence[str]) -> Iterator[str]:
    """Say what a reader must know to trust the figures no more than they deserve.

    Args:
        report: its figures.
        router: what was evaluated.
        models: that any system gave a request; "" for unknown ones.

    """
    rows, tokens = report.about.rows, report.money.tokens
    if rows < _FEW:
        yield f"With {counted(rows, 'row')} every figure is uncertain; its interval says how much."
    if report.main.accuracy.value == 1:
        most = min(1.0, 3 / rows)
        yield f"No row went wrong, so the interval is a point; up to {most:.1%} may still do so."
    yield (
        "Figures are of rows that the artifact did not learn from only if these are such rows; "
        "`router-ml unseen` judges rows of its own training."
    )
    if tokens.input_counted < 1 or tokens.output_counted < 1:
        yield (
            f"Tokens: the log counts the input of {tokens.input_counted:.0%} of the rows and the "
            f"output of {tokens.output_counted:.0%}. Other input is estimated as a quarter of the "
            f"text's bytes (0.97 to 0.99 of the true count in English), other output as "
            f"{OUTPUT_TOKENS} tokens, a mean of public chat that a single product's can miss "
            "by several times: amounts depend on it, savings hardly."
        )
    catalog = router.catalog.models
    unknown = [name for name in models if name in catalog and not catalog[name].input_price]
    if unknown:
        yield (
            "Amounts are of output alone for models whose `input_price` the catalog does not "
            f"say: {', '.join(unknown)}."
        )
    if not any(models):
        yield "The policy names no models, so nothing is said of what it costs."
    elif report.money.unpriced:
        yield f"Without a known price, and so without a spend: {', '.join(report.money.unpriced)}."
