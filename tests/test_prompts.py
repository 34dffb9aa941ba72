import re
from pathlib import Path

import pytest

from router_ml.examples import read_examples

PROMPTS = Path(__file__).parent.parent / "training" / "prompts"
LABELS = {"math", "vision", "chinese", "code", "creative", "extraction"}


@pytest.fixture(scope="module")
def themes():
    return {path: read_examples([path]) for path in sorted(PROMPTS.rglob("*.jsonl"))}


def test_every_row_names_its_theme_its_language_and_known_labels(themes):
    for path, rows in themes.items():
        assert {row.source for row in rows} == {f"router-ml/{path.stem}"}
        assert all(row.lang and set(row.labels) <= LABELS for row in rows)


def test_ids_are_unique(themes):
    ids = [row.id for rows in themes.values() for row in rows]
    assert len(ids) == len(set(ids))


def words(row):
    return re.sub(r"[\W\d_]+", "", " ".join(turn.text for turn in row.request.turns).lower())


def test_no_test_prompt_is_learned_from(themes):
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for path, rows in themes.items():
        sides[path.parent.name == "test"] |= {words(row) for row in rows}
    assert not {text for text in sides[True] & sides[False] if text}


def test_there_are_enough(themes):
    rows = {path: len(found) for path, found in themes.items()}
    test = sum(count for path, count in rows.items() if path.parent.name == "test")
    assert sum(rows.values()) >= 20_000
    assert test >= 3_500
