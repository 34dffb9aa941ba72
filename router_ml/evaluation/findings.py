"""What thresholds, outcomes and drift have to say, in sections of text and tables."""

from __future__ import annotations

from collections.abc import Sequence

from router_ml.evaluation.charts import Axes, curve
from router_ml.evaluation.charts import Point as Dot
from router_ml.evaluation.drift import Drift, LabelDrift
from router_ml.evaluation.frontier import Frontier, Point, moved_thresholds
from router_ml.evaluation.gap import Curve
from router_ml.evaluation.outcome_evaluation import OutcomeEvaluation, Performance
from router_ml.evaluation.sections import Grid, Section
from router_ml.evaluation.thresholds import Chosen, Share
from router_ml.evaluation.two_samples import Shift
from router_ml.evaluation.words import dollars, percent
from router_ml.plurals import counted

_MOST_POINTS = 16
"""So many points of a frontier are listed, evenly over its length; the JSON has all."""
_MOST_LABELS = 6
"""So many thresholds are listed beside them at most."""
_MOST_NEW = 5
"""So many new rows are quoted."""
_QUOTE = 100
"""Characters of a row that are."""


def chosen_section(chosen: Chosen) -> Section:
    """Say what thresholds were chosen, and what they do on both halves."""
    rows: list[tuple[str, ...]] = [
        (f"threshold of {label}", f"{chosen.before[label]:g}", f"{new:g}", f"{new:g}")
        for label, new in chosen.thresholds.items()
    ]
    rows += [
        (effect.figure, *map(_share, (effect.now, effect.chosen, effect.held_out)))
        for effect in chosen.effects
    ]
    if chosen.usd_per_1000:
        now, new, held_out = map(dollars, chosen.usd_per_1000.values())
        rows.append(("cost of 1,000 requests", now, new, held_out))
    columns = ("", "now, held-out half", "new, choosing half", "new, held-out half")
    text = ["Chosen on one half of the log; the other half says what to expect."]
    return Section(
        "thresholds", f"Thresholds for: {chosen.target}", text, [Grid("", columns, rows)]
    )


def _share(share: Share) -> str:
    return f"{share.value:.2%} ({100 * share.low:.2f}–{share.high:.2%}) of {share.rows:,}"


def frontier_section(frontier: Frontier) -> Section:
    """Say what accuracy costs as thresholds move, and where the policy stands."""
    points = list(zip(frontier.chosen, frontier.held_out, strict=True))
    step = max(1, -(-len(points) // _MOST_POINTS))
    listed = [("", *pair) for pair in (*points[:-1:step], points[-1])]
    listed.append(("now", frontier.now, frontier.now_held_out))
    moving = _moving(frontier)
    rows = [
        (name, *_point(chosen), *_point(held_out), *(f"{chosen.thresholds[m]:g}" for m in moving))
        for name, chosen, held_out in sorted(listed, key=lambda row: row[1].usd_per_1000)
    ]
    columns = ("", "accuracy", "US$", "held out", "US$", *moving)
    text = [
        "Route accuracy, and US dollars per 1,000 requests, as thresholds move: on the half they "
        "were chosen on, and on the other, which a page draws. Now is the policy as it is: the "
        "larger point."
    ]
    return Section("frontier", "What accuracy costs", text, [Grid("", columns, rows)])


def frontier_chart(frontier: Frontier) -> str:
    """Draw accuracy against cost on the held-out half, and where the policy stands, as SVG."""
    now = frontier.now_held_out
    points = sorted(frontier.held_out, key=lambda point: point.usd_per_1000)
    ends = [point.usd_per_1000 for point in (*points, now)]
    bottom = min(point.accuracy.low for point in (*points, now))
    axes = Axes(
        "Accuracy against cost",
        "US dollars per 1,000 requests",
        "route accuracy",
        min(0.9, int(10 * bottom) / 10),
        min(ends),
        max(*ends, min(ends) + 1e-9),
        "{:.3g}".format,
    )
    return curve([_drawn(point) for point in points], axes, mark=_drawn(now, "now: "))


def _drawn(point: Point, name: str = "") -> Dot:
    thresholds = ", ".join(f"{label} {p:g}" for label, p in point.thresholds.items())
    words = f"{name}{dollars(point.usd_per_1000)}, {percent(point.accuracy)} right at {thresholds}"
    return Dot(point.usd_per_1000, point.accuracy, words)


def _moving(frontier: Frontier) -> list[str]:
    moved = {label for point in frontier.chosen for label in moved_thresholds(point, frontier.now)}
    return sorted(moved) if len(moved) <= _MOST_LABELS else []


def _point(point: Point) -> tuple[str, str]:
    return f"{point.accuracy.value:.2%}", f"{point.usd_per_1000:.4f}"


def outcomes_section(found: OutcomeEvaluation) -> Section:
    """Say what a policy gives beside each model, the oracle and chance, and a score's curve."""
    ways = [*found.singles, found.oracle, *([found.policy] if found.policy else [])]
    rows = [(*_performance(one), _percent(found.shares.get(one.name))) for one in ways]
    columns = ("", "quality", "± 95%", "US$ per 1,000", "seconds", "policy's share")
    grid = Grid(f"On {counted(found.rows, 'row')} with a result of every model", columns, rows)
    return Section("outcomes", "What models really answered", _outcome_text(found), [grid])


def _performance(one: Performance) -> tuple[str, ...]:
    cost = "unknown" if one.usd_per_1000 is None else f"{one.usd_per_1000:.4f}"
    latency = "unknown" if one.latency_s is None else f"{one.latency_s:.2f}"
    return one.name, f"{one.quality:.4f}", f"{one.margin:.4f}", cost, latency


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _outcome_text(found: OutcomeEvaluation) -> list[str]:
    text: list[str] = []
    if found.policy is None:
        text.append("The policy sends no row to a model that these data have a result of.")
    if found.mixing_quality is not None:
        text.append(
            "Choosing between these models at random reaches a quality of "
            f"{found.mixing_quality:.4f} at the policy's cost."
        )
    if found.incomplete:
        lacking = counted(found.incomplete, "row that lacks", "rows that lack")
        text.append(f"Left out: {lacking} a model's result.")
    if found.uncovered:
        sent = counted(found.uncovered, "row")
        text.append(f"Left out: {sent} sent to a model without a result.")
    if found.curve is not None:
        text.append(_curve(found.curve))
    return text


def _curve(curve: Curve) -> str:
    calls = ", ".join(f"CPT({gap}) {share:.1%}" for gap, share in curve.cpt.items())
    aiq = "" if curve.aiq is None else f", AIQ {curve.aiq:.4f}"
    return (
        f"Sending what is most probably {curve.by} to {curve.strong} and the rest to {curve.weak}: "
        f"APGR {curve.apgr:.3f} (random: 0.5), {calls}, area {curve.area:.4f}{aiq}."
    )


def drift_section(drift: Drift) -> Section:
    """Say how a log differs from an earlier one, and quote what is new."""
    routes = [
        (f"route {route}", f"{share:.1%}", f"{drift.routes.now[route]:.1%}")
        for route, share in drift.routes.before.items()
    ]
    shares = _shares(drift, routes)
    shifts = [
        (name, f"{one.psi:.4f}", f"{one.psi_by_chance:.4f}", f"{one.js:.4f}", one.verdict)
        for name, one in (("routes", drift.routes), ("confidence", drift.confidence))
    ]
    columns = ("", "PSI", "by chance up to", "Jensen-Shannon", "")
    grids = [shares, Grid("Shift", columns, shifts)]
    return Section("drift", "Whether traffic has changed", _drift_text(drift), grids)


def _drift_text(drift: Drift) -> list[str]:
    text: list[str] = []
    if drift.embedding is not None:
        test = drift.embedding
        text.append(
            f"What rows say ({drift.tensor}, {test.rows_before:,} and {test.rows_now:,} of them): "
            f"MMD² {test.mmd2:.5f}, p = {test.p_value:.3f}."
        )
    text.append(
        f"New, farther from every earlier row than {drift.far:.3f}: {drift.new_share:.1%} of the "
        "rows, where 1.0% would be no change."
    )
    for new in drift.new[:_MOST_NEW]:
        said = " ".join(str(new.row.get("prompt", new.row.get("messages"))).split())
        text.append(f"{new.distance:.3f}: {said[:_QUOTE]}")
    return text


def label_drift_section(drift: LabelDrift) -> Section:
    """Say how often labels hold, beside the training data."""
    text = [
        "Before: the artifact's training data, whose mix was chosen to learn from. For routes, "
        "confidence and new prompts compare with a log: --against FILE."
    ]
    return Section("drift", "Whether traffic has changed", text, [_shares(drift, [])])


def _shares(drift: Drift | LabelDrift, routes: Sequence[tuple[str, str, str]]) -> Grid:
    labels = [_held(label, shift) for label, shift in drift.labels.items()]
    title = f"{counted(drift.rows_before, 'row')} before, {drift.rows:,} now"
    return Grid(title, ("", "before", "now"), [*routes, *labels])


def _held(label: str, shift: Shift) -> tuple[str, str, str]:
    return f"label {label}", f"{shift.before['held']:.1%}", f"{shift.now['held']:.1%}"
