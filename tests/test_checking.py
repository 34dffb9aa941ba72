import json

from test_cross_validation import rows_of, write
from typer.testing import CliRunner

from router_ml.cli import app


def check(*files, code=1):
    result = CliRunner().invoke(app, ["check", *map(str, files), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_wrong_labels_are_found_with_file_and_line(tmp_path):
    rows = list(rows_of(120))
    wrong = {7: "talk", 40: "legal", 80: "billing"}
    for line, label in wrong.items():
        assert rows[line - 1]["label"] != label
        rows[line - 1]["label"] = label
    path = write(tmp_path / "rows.jsonl", rows)
    found = check(path)
    assert {one["row"]["line"] for one in found["suspects"]} == set(wrong)
    assert {one["row"]["file"] for one in found["suspects"]} == {str(path)}
    for one in found["suspects"]:
        assert list(one["said"]) != one["row"]["labels"]
        assert one["text"] in rows[one["row"]["line"] - 1]["prompt"]


def test_conflicts_leaks_repetitions_and_small_labels(tmp_path):
    rows = list(rows_of(60))
    extra = [
        {"prompt": rows[0]["prompt"].upper() + "!", "label": "legal"},
        {"prompt": rows[1]["prompt"], "label": rows[1]["label"]},
        {"prompt": "a rare thing", "label": "rare"},
    ]
    one = write(tmp_path / "one.jsonl", [*rows, *extra])
    two = write(tmp_path / "two.jsonl", [{"text": rows[2]["prompt"], "intent": rows[2]["label"]}])
    found = check(one, two)
    assert (found["rows"], found["repeated"], found["small"]) == (64, 2, {"rare": 1})
    assert found["layouts"] == {"router-ml rows": 63, "a table with a text column": 1}
    (conflict,), (leak,) = found["conflicts"], found["leaks"]
    assert [(row["line"], row["labels"]) for row in conflict["rows"]] == [
        (1, ["billing"]),
        (61, ["legal"]),
    ]
    assert [(row["file"], row["line"]) for row in leak["rows"]] == [(str(one), 3), (str(two), 1)]


def test_a_clean_log_is_said_to_be_clean(tmp_path):
    found = check(write(tmp_path / "rows.jsonl", rows_of(90)), code=0)
    assert found["suspects"] == found["conflicts"] == found["leaks"] == []
    assert found["unjudged"] == ""


def test_what_cannot_be_judged_is_said(tmp_path):
    rows = [row | {"label": "billing"} for row in rows_of(20)]
    path = write(tmp_path / "rows.jsonl", rows)
    assert "nothing to tell apart" in check(path, code=0)["unjudged"]
    result = CliRunner().invoke(app, ["check", str(path)])
    assert "20 rows of 1 labels (router-ml rows 20)." in result.stdout
