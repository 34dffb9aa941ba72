import json

import numpy as np

from router_ml.evaluation.label_errors import Doubt, doubted_rows, doubts, label_suspects, suspects
from router_ml.examples import read_examples


def test_suspects_by_hand():
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.05, 0.95]])
    given = np.array([0, 0, 0, 1, 1])
    # Thresholds: (0.9 + 0.7 + 0.2) / 3 = 0.6 and (0.9 + 0.95) / 2 = 0.925: 0.8 is not enough.
    assert not suspects(p, given).any()
    # With 0.95 it is: thresholds 0.55 and 0.925.
    p[2] = 0.05, 0.95
    assert suspects(p, given).tolist() == [False, False, True, False, False]


def test_wrong_labels_are_found_and_right_ones_left():
    draw = np.random.default_rng(1)
    true = draw.random((2_000, 3)) < 0.3
    p = np.where(true, draw.beta(8, 2, true.shape), draw.beta(2, 8, true.shape))
    wrong = draw.random(true.shape) < 0.03
    given = true ^ wrong
    found = label_suspects(p, given)
    assert found[wrong].mean() > 0.6
    assert wrong[found].mean() > 0.8
    rows = doubts(p, given, ("a", "b", "c"))
    assert [row.row for row in rows] != sorted(row.row for row in rows)
    assert {row.row for row in rows} == set(np.flatnonzero(found.any(axis=1)).tolist())
    first = rows[0]
    assert all(given[first.row, "abc".index(name)] != (p > 0.5) for name, p in first[1].items())


def test_a_class_without_rows_is_nobodys():
    p = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert not suspects(p, np.array([0, 0])).any()


def test_suspects_equal_cleanlabs():
    # The rows that cleanlab 2.9.0 names for the same arrays, with
    # find_label_issues(given, p, filter_by="confident_learning").
    draw = np.random.default_rng(4)
    p = draw.dirichlet((0.7, 0.7, 0.7), 60)
    given = np.where(draw.random(60) < 0.7, p.argmax(axis=1), draw.integers(0, 3, 60))
    assert np.flatnonzero(suspects(p, given)).tolist() == [13, 16, 18, 39, 44, 46, 55]


def test_doubted_rows_can_be_read_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "2 + 2?", "labels": ["a"], "id": "x"}\n')
    examples = read_examples([path])
    (row,) = doubted_rows(examples, [Doubt(0, {"a": 0.01})])
    assert row["doubts"] == {"a": 0.01}
    path.write_text(json.dumps(row) + "\n")
    (again,) = read_examples([path])
    assert (again.text, again.labels, again.id) == (examples[0].text, ("a",), "x")


def test_doubts_of_single_labels():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.1, 0.9], [0.05, 0.95]])
    given = np.eye(2, dtype=bool)[[0, 0, 0, 1, 1]]
    assert doubts(p, given, ("a", "b"), single_label=True) == [Doubt(2, {"a": 0.05})]
    assert doubts(p[:0], given[:0], ("a", "b")) == []
