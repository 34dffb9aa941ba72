"""The keyword rules that a learned classifier replaces."""

from __future__ import annotations

from collections.abc import Iterable

from router_ml.examples import Example
from router_ml.policy import Policy

MATH_KEYWORDS = (
    "prove",
    "calculate",
    "step by step",
    "reason",
    "explain why",
    "mathematical",
    "proof",
)


def keywords_apply(labels: Iterable[str]) -> bool:
    """Say whether the rules know these labels: a team's own `math` is something else."""
    return Policy.load().covers_own(labels)


def keyword_labels(text: str) -> tuple[str, ...]:
    """Return ("math",) if the text contains one of the keywords, else nothing."""
    folded = text.lower()
    return ("math",) if any(keyword in folded for keyword in MATH_KEYWORDS) else ()


def asked(example: Example) -> str:
    """Return what such rules read: the whole of the last user turn."""
    turns = example.request.turns
    users = [turn.text for turn in turns if turn.role == "user" and turn.text.strip()]
    return users[-1] if users else example.text.turn.decode("utf-8", "ignore")
