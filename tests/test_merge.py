"""The answers of several people."""

import json
import math

import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from router_ml.cli import app
from router_ml.examples import read_examples
from router_ml.labelling.merge import kappa, merge_answers

run = CliRunner().invoke


def written(path, name, labels, key="label"):
    rows = [
        {"annotator": name, "prompt": f"p{n}", key: label, "id": str(n), "covers": 1}
        for n, label in labels.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    ann = written(tmp_path / "a.jsonl", "ann", dict(enumerate("xxyyxy")))
    bob = written(tmp_path / "b.jsonl", "bob", dict(enumerate("xyyyxx")) | {9: "z"})
    return [ann, bob]


def test_kappa_is_that_of_scikit_learn():
    first, second = "xxyyzxxyzz", "xyyyzxzyzx"
    expected = cohen_kappa_score(list(first), list(second))
    assert kappa([((a,), (b,)) for a, b in zip(first, second, strict=True)]) == (
        pytest.approx(expected)
    )
    assert math.isnan(kappa([(("x",), ("x",))]))
    assert kappa([((), ("x",)), (("x",), ())]) == -1  # none of the labels is an answer too


def test_what_they_agree_on_is_taken_and_the_rest_listed(files):
    found = merge_answers(files)
    assert [row["id"] for row in found.rows] == ["0", "2", "3", "4", "9"]
    assert found.rows[0] == {"prompt": "p0", "id": "0", "label": "x", "annotators": ["ann", "bob"]}
    said = [(d.row["id"], d.answers, d.settled) for d in found.disagreements]
    assert said[0] == ("1", {"ann": ("x",), "bob": ("y",)}, None)
    assert len(said) == 2
    (pair,) = found.agreements
    assert (pair.first, pair.second, pair.rows, pair.same) == ("ann", "bob", 6, 4)


def test_a_majority_or_the_first_file_settles(files, tmp_path):
    trusted = merge_answers(files, trust_first=True)
    assert {row["id"]: row["label"] for row in trusted.rows}["1"] == "x"
    third = written(tmp_path / "c.jsonl", "cy", {1: "y", 5: "w"})
    found = merge_answers([*files, third])
    labels = {row["id"]: row["label"] for row in found.rows}
    assert labels["1"] == "y"
    assert "5" not in labels
    assert [d.settled for d in found.disagreements] == [("y",), None]
    assert len(found.agreements) == 3


def test_who_answers_twice_means_the_later_answer(files, tmp_path):
    again = written(tmp_path / "a2.jsonl", "ann", {1: "y"})
    files[0].write_text(files[0].read_text() + again.read_text())
    found = merge_answers([files[0], *files])  # a file that is named twice is one file
    assert {row["id"]: row["label"] for row in found.rows}["1"] == "y"
    assert len(found.agreements) == 1


def test_two_people_of_one_name_are_told_apart(tmp_path):
    lab = written(tmp_path / "lab.jsonl", "root", {1: "billing", 2: "legal"})
    bob = written(tmp_path / "bob.jsonl", "root", {1: "legal", 2: "legal"})
    found = merge_answers([lab, bob])
    (dispute,) = found.disagreements
    assert dispute.answers == {f"root ({lab})": ("billing",), f"root ({bob})": ("legal",)}
    assert [row["id"] for row in found.rows] == ["2"]
    assert [(pair.rows, pair.same) for pair in found.agreements] == [(2, 1)]


@pytest.mark.parametrize("option", ["-o", "--disputed"])
def test_what_is_merged_is_not_written_over(files, tmp_path, option):
    before = files[0].read_bytes()
    command = ["merge", *map(str, files), "-o", str(tmp_path / "all.jsonl"), option, str(files[0])]
    told = run(app, command)
    assert told.exit_code == 1
    assert "a.jsonl: is read by this command" in told.stderr.replace("\n", "")
    assert files[0].read_bytes() == before
    assert not (tmp_path / "all.jsonl").exists()


def test_files_without_names_and_of_both_kinds(tmp_path):
    one, other = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    one.write_text('{"prompt": "p", "labels": ["x", "y"]}')
    other.write_text('{"prompt": "p", "label": "x"}')
    found = merge_answers([one, other])
    assert found.rows == []
    assert found.disagreements[0].answers == {str(one): ("x", "y"), str(other): ("x",)}
    other.write_text('{"prompt": "q", "label": "x"}')
    assert [row["labels"] for row in merge_answers([one, other]).rows] == [("x", "y"), ("x",)]


def test_the_command(files, tmp_path):
    output, disputed = tmp_path / "all.jsonl", tmp_path / "disputed.jsonl"
    names = [str(path) for path in files]
    told = run(app, ["merge", *names, "-o", str(output), "--disputed", str(disputed)])
    assert told.exit_code == 0
    assert "0.333" in told.stdout
    assert "ann: x; bob: y (left out)" in told.stdout
    assert len(read_examples([output])) == 5
    assert json.loads(disputed.read_text().splitlines()[0])["answers"] == {
        "ann": ["x"],
        "bob": ["y"],
    }
    facts = json.loads(run(app, ["merge", *names, "-o", str(output), "--json"]).stdout)
    assert facts["agreements"][0]["kappa"] == pytest.approx(1 / 3)
    assert len(facts["disagreements"]) == 2


@pytest.mark.parametrize("content", ["", "{", '{"prompt": "p"}', None])
def test_files_that_are_no_answers(files, tmp_path, content):
    bad, output = tmp_path / "bad.jsonl", tmp_path / "all.jsonl"
    if content is not None:
        bad.write_text(content)
    told = run(app, ["merge", str(files[0]), str(bad), "-o", str(output)])
    assert told.exit_code == 1
    assert "bad.jsonl" in told.stderr
    assert not output.exists()
