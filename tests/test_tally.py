"""Any parts of a log, in any order, add up to the same figures, to the last digit."""

import pickle
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_ml.evaluation import tally as tallying
from router_ml.evaluation.counting import count
from router_ml.evaluation.facts import encode_report
from router_ml.evaluation.report import Asked, make_panel, report_of
from router_ml.evaluation.systems import find_system
from router_ml.evaluation.tally import Best, Steps, Tally, merged
from router_ml.logs import Row

PROMPTS = [
    ("Prove that {} is irrational", ["math"]),
    ("今天吃什么好，给我{}个主意", ["chinese"]),
    ("Write a poem about {}", ["creative"]),
    ("def f(x): return x + {}  # why is it slow?", ["code"]),
    ("A name for cat number {}?", []),
    ("What is in photo {}?", ["vision"]),
]
SMALL = {"BLOCKS": 7, "MOST_STEPS": 16, "MOST_VALUES": 4}


def row_of(number):
    draw = random.Random(number)
    prompt, labels = draw.choice(PROMPTS)
    labels = labels if draw.random() < 0.8 else ["math"]
    data = {"prompt": prompt.format(draw.randrange(9)), "labels": labels}
    data |= {"lang": draw.choice(["en", "zh"]), "tenant": draw.choice("abcdefgh")}
    if draw.random() < 0.3:
        data["group"] = draw.choice("xyz")
    if draw.random() < 0.5:
        data["usage"] = {"prompt_tokens": draw.randrange(900), "completion_tokens": 7}
    return Row("rows.jsonl", number, data, "router-ml rows")


@pytest.fixture(scope="module")
def panel(router):
    return make_panel(router, [find_system("keywords", router)], ASKED)


ASKED = Asked(by=["tenant"], traffic={"general": 0.5, "math": 0.5})


def tally_of(panel, numbers):
    rows = [panel.shape.row(row_of(number)) for number in numbers]
    return count(panel.hear(rows), rows, ["rows.jsonl"], panel.router.catalog)


parts = st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=30), min_size=1, max_size=6)


@settings(max_examples=25)
@given(parts, st.booleans(), st.randoms(use_true_random=False))
def test_parts_add_up_in_any_order(panel, parts, small, draw):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items() if small else ():
            patch.setattr(tallying, name, value)
        whole = tally_of(panel, [number for part in parts for number in part])
        expected = encode_report(report_of(whole, panel, ASKED))
        tallies = [pickle.loads(pickle.dumps(tally_of(panel, part))) for part in parts]
        draw.shuffle(tallies)
        while len(tallies) > 1:  # merge as a tree of any shape
            one = tallies.pop(draw.randrange(len(tallies)))
            tallies[draw.randrange(len(tallies))].merge(one)
        assert encode_report(report_of(tallies[0], panel, ASKED)) == expected


def test_memory_is_bounded_by_names_and_bins(panel, monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(tallying, name, value)

    def size(numbers):
        return len(pickle.dumps(merged(tally_of(panel, [n]) for n in numbers)))

    assert size(range(400)) < 1.5 * size(range(100))


def test_a_crowded_field_is_said_and_left_out(panel, monkeypatch):
    monkeypatch.setattr(tallying, "MOST_VALUES", 4)
    report = report_of(merged(tally_of(panel, [n]) for n in range(60)), panel, ASKED)
    assert not any(one.field == "tenant" for one in report.slices)
    assert any("tenant has more than" in note for note in report.notes)
    assert any("were not looked for" in note for note in report.notes)


def test_a_cluster_is_a_group_or_the_same_words(panel):
    same = [row_of(n) for n in range(3)]
    same = [row._replace(data={"prompt": "Hi", "labels": []}) for row in same]
    rows = [panel.shape.row(row) for row in same]
    assert len(np.unique(panel.shape.columns(rows).clusters)) == 1
    grouped = [row._replace(data=row.data | {"group": f"g{n}"}) for n, row in enumerate(same)]
    rows = [panel.shape.row(row) for row in grouped]
    assert len(np.unique(panel.shape.columns(rows).clusters)) == 3


counts = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60)


@given(counts, counts)
def test_steps_add_up(one, other):
    def steps(pairs):
        p, y = zip(*pairs, strict=True)
        return Steps.of(np.array(p, np.float32), np.array(y))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tallying, "MOST_STEPS", 12)
        whole, sum_of_parts = steps([*one, *other]), steps(other).plus(steps(one))
    assert whole.level == sum_of_parts.level
    assert (whole.steps == sum_of_parts.steps).all()
    assert (whole.rows == sum_of_parts.rows).all()
    assert whole.rows[:, 0].sum() == len(one) + len(other)
    assert len(whole.steps) <= 12


@given(st.lists(st.integers(), max_size=30), st.lists(st.integers(), max_size=30))
def test_the_best_rows_are_those_of_the_whole(one, other):
    def best(numbers):
        return Best.of(5, ((number, str(number)) for number in numbers))

    assert best(one).plus(best(other)) == best(one + other) == best(other).plus(best(one))
    assert best(one + other).rows == [str(number) for number in sorted({*one, *other})[:5]]


def test_huge_counts_do_not_overflow():
    at = np.zeros(3, np.uint64)
    tally = Tally(at)
    tokens = np.full(3, 10**12)
    assert tally.sums(values=tokens).tolist() == [[3 * 10**12]]
    assert msgspec.json.encode(tally.total("nothing")) == b"[0,0,0,0,0,0,0,0]"
