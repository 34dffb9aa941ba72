"""Count our own prompts: one table for the data card, a row a theme.

python training/count_prompts.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from router_ml.examples import Example, read_examples

LABELS = ("math", "vision", "chinese", "code", "creative", "extraction")
PROMPTS = Path(__file__).parent / "prompts"


def main() -> None:
    """Print the tables for the themes learned from, and the themes only measured on."""
    for title, folder in (("Learned from", PROMPTS), ("Only measured on", PROMPTS / "test")):
        themes = {path.stem: read_examples([path]) for path in sorted(folder.glob("*.jsonl"))}
        print(f"### {title}\n")
        print(f"| theme | rows | {' | '.join(LABELS)} | general | turns | languages |")
        print("|---|" + "---|" * (len(LABELS) + 4))
        for theme, rows in themes.items():
            print(f"| {theme} | {counts(rows)} |")
        print(f"| **all** | {counts([row for rows in themes.values() for row in rows])} |\n")


def counts(rows: Sequence[Example]) -> str:
    """Return the cells of one row: how many carry each label, none, or several turns."""
    by_label = Counter(label for row in rows for label in row.labels)
    general = sum(not row.labels for row in rows)
    turns = sum(len(row.request.turns) > 1 for row in rows)
    languages = len({row.lang for row in rows})
    cells = [len(rows), *(by_label[label] for label in LABELS), general, turns, languages]
    return " | ".join(map(str, cells))


if __name__ == "__main__":
    main()
