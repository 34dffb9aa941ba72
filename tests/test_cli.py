import gzip
import json

import pytest
from typer.testing import CliRunner

from router_ml.cli import app

run = CliRunner().invoke


def test_route_json():
    result = run(app, ["route", "Prove that √2 is irrational", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["route"] == "math"


def test_route_for_people():
    result = run(app, ["route", "如何做红烧肉"])
    assert result.exit_code == 0
    assert "glm-4-9b" in result.stdout


def test_classify_keeps_order_and_reports_bad_lines(tmp_path):
    source, target = tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl"
    lines = ['{"prompt": "2+2", "id": "a"}', "nonsense", '{"prompt": 3}', '{"prompt": "\\u0000"}']
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    result = run(app, ["classify", str(source), "-o", str(target)])
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert result.exit_code == 1
    assert rows[0]["id"] == "a"
    assert [row.get("line") for row in rows] == [None, 2, 3, None]


def test_evaluate_against_the_keyword_rules(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [("Prove that 3 divides n^3 - n", ["math"]), ("今天吃什么好", ["chinese"])]
    path.write_text("\n".join(json.dumps({"prompt": p, "labels": ls}) for p, ls in rows))
    found = json.loads(run(app, ["evaluate", str(path), "--json"]).stdout)
    assert found["classifier"]["accuracy"] == 1
    assert found["keyword rules"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no rows"),
        (b"{", ":1: no JSON"),
        (b'{"prompt": "x"}', "needs `labels`"),
        (b'{"labels": []}', "either `prompt` or `messages`"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path, content, problem):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    result = run(app, ["evaluate", str(path)])
    assert result.exit_code == 1
    assert problem in result.stderr.replace("\n", " ")


def test_info():
    result = run(app, ["info", "--json"])
    assert json.loads(result.stdout)["name"] == "default"
