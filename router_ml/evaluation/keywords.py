"""The keyword rules that a learned classifier replaces."""

from __future__ import annotations

MATH_KEYWORDS = (
    "prove",
    "calculate",
    "step by step",
    "reason",
    "explain why",
    "mathematical",
    "proof",
)


def keyword_labels(text: str) -> tuple[str, ...]:
    """Return ("math",) if the text contains one of the keywords, else nothing."""
    folded = text.lower()
    return ("math",) if any(keyword in folded for keyword in MATH_KEYWORDS) else ()
