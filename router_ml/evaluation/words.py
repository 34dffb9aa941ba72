"""Figures and amounts as people read them, each with its interval."""

from __future__ import annotations

import math

from router_ml.evaluation.intervals import Figure


def percent(figure: Figure) -> str:
    """Write a share with its interval: "94.2% (93.4–94.9%)"; "–" if it has no value."""
    if not math.isfinite(figure.value):
        return "–"
    return f"{figure.value:.1%} ({100 * figure.low:.1f}–{figure.high:.1%})"


def dollars(amount: float) -> str:
    """Write an amount of US dollars, with more digits where it is small: "US$0.0214"."""
    return f"{'−' if amount < 0 else ''}US${_digits(abs(amount))}"


def _digits(amount: float) -> str:
    digits = 2 if abs(amount) >= 1 or amount == 0 else 4
    return f"{amount:,.{digits}f}".replace("-", "−")


def number(figure: Figure | None, digits: int = 3) -> str:
    """Write a figure with its interval: ".941 (.934–.949)"; "–" without one."""
    if figure is None or not math.isfinite(figure.value):
        return "–"
    value, low, high = (
        f"{part:.{digits}f}".replace("0.", ".", 1) if abs(part) < 1 else f"{part:.{digits}f}"
        for part in (figure.value, figure.low, figure.high)
    )
    return f"{value} ({low}–{high})"


def amount(figure: Figure | None) -> str:
    """Write an amount of US dollars: "US$0.0395 (0.0323–0.0469)"; "–" without one."""
    if figure is None:
        return "–"
    return f"{dollars(figure.value)} ({_digits(figure.low)}–{_digits(figure.high)})"
