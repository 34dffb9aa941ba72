import gzip
import hashlib
import json
import os
import shutil
import threading

import onnxruntime
import pytest
from typer.testing import CliRunner

from router_ml.artifact import find_artifact
from router_ml.catalog import SHIPPED_CATALOG
from router_ml.cli import app
from router_ml.evaluation import Evaluation
from router_ml.policy import SHIPPED_POLICY
from router_ml.tables import show_evaluations

POLICY, CATALOG = str(SHIPPED_POLICY), str(SHIPPED_CATALOG)

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
    lines = [
        '{"prompt": "2+2", "id": "a"}',
        "nonsense",
        "",
        '{"prompt": 3}',
        '{"prompt": "\\u0000"}',
    ]
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    result = run(app, ["classify", str(source), "-o", str(target)])
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert result.exit_code == 1
    assert rows[0]["id"] == "a"
    assert [row.get("line") for row in rows] == [None, 2, 3, 4, None]


def classify(tmp_path, *rows, to=None):
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    result = run(app, ["classify", str(source), "-o", str(to or tmp_path / "out.jsonl")])
    assert not list(tmp_path.rglob("*.part"))
    return result


def test_classify_routes_what_it_read(tmp_path):
    messages = [{"role": "user", "content": "Prove that 3 divides n^3 - n"}]
    assert classify(tmp_path, {"prompt": None, "messages": messages}).exit_code == 0
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["route"], row["reason"]) == ("math", "classified")


def test_classify_names_the_id_of_a_malformed_row(tmp_path):
    result = classify(tmp_path, {"prompt": 3, "id": "a"}, '{"id": "b", ')
    assert result.exit_code == 1
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first == {"id": "a", "error": "`prompt` must be a string.", "line": 1}
    assert "id" not in second


def test_classify_where_nothing_can_be_written(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    for place in ("none/out.jsonl", "directory", "file/out.jsonl", "n" * 5000):
        result = classify(tmp_path, {"prompt": "2+2"}, to=tmp_path / place)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert place in result.stderr
        assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file", "in.jsonl"]


def test_classify_leaves_an_old_file_alone_when_it_fails(tmp_path, monkeypatch):
    target = tmp_path / "out.jsonl"
    target.write_text("old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("router_ml.cli.classify._classify_chunk", interrupt)
    assert classify(tmp_path, {"prompt": "2+2"}).exit_code != 0
    assert target.read_text() == "old"


def test_classify_keeps_the_mode_of_the_file_it_replaces(tmp_path):
    target = tmp_path / "out.jsonl"
    assert classify(tmp_path, {"prompt": "2+2"}).exit_code == 0
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    target.chmod(0o640)
    assert classify(tmp_path, {"prompt": "2+2"}).exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o640


def test_classify_replaces_what_a_link_points_to(tmp_path):
    (tmp_path / "real").mkdir()
    for name, existing in (("there.jsonl", True), ("not-yet.jsonl", False)):
        target, link = tmp_path / "real" / name, tmp_path / name
        if existing:
            target.write_text("old")
        link.symlink_to(target)
        assert classify(tmp_path, {"prompt": "2+2"}, to=link).exit_code == 0
        assert link.is_symlink()
        assert json.loads(target.read_text())["route"]


def test_classify_writes_through_what_is_no_regular_file(tmp_path):
    # A pipe of our own stands for every device: a failure on /dev/null would replace it.
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert classify(tmp_path, {"prompt": "2+2"}, to=pipe).exit_code == 0
    reader.join(timeout=10)
    assert json.loads(read[0])["route"]
    assert pipe.is_fifo()


def test_names_are_printed_as_they_are(tmp_path):
    result = run(app, ["info", "--artifact", "x[/red]:boom:"])
    assert result.exit_code == 1
    assert "x[/red]:boom:" in result.stderr
    policy = tmp_path / "policy.toml"
    text = SHIPPED_POLICY.read_text().replace('"general"', '"gen[/x]eral"')
    policy.write_text(text)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "hello there", "labels": [], "source": "[/s]"}')
    result = run(app, ["route", "Hello there!", "--policy", str(policy)])
    assert result.exit_code == 0
    assert "gen[/x]eral" in result.stdout
    result = run(app, ["evaluate", str(rows), "--policy", str(policy)])
    assert result.exit_code == 0
    assert "gen[/x]eral" in result.stdout


def test_an_artifact_name_that_no_file_can_have():
    result = run(app, ["route", "hi", "--artifact", "a" * 5000])
    assert result.exit_code == 1
    assert "no artifact at" in result.stderr


def test_evaluate_refuses_labels_that_nothing_knows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "x", "labels": ["maths"]}\n{"prompt": "y", "labels": ["audio"]}')
    result = run(app, ["evaluate", str(path)])
    assert result.exit_code == 1
    assert "'maths'" in result.stderr
    assert "audio, chinese, code, creative, extraction, math, vision" in result.stderr
    path.write_text('{"prompt": "y", "labels": ["audio"]}')
    assert run(app, ["evaluate", str(path)]).exit_code == 0


def test_a_log_whose_name_looks_like_a_pattern(tmp_path):
    (tmp_path / "l.jsonl").write_text('{"prompt": "x", "label": "a"}')
    source = tmp_path / "[l*].jsonl"
    source.write_text('{"prompt": "x", "label": "only this one"}')
    result = run(app, ["train", str(source), "-o", str(tmp_path / "made")])
    assert result.exit_code == 1
    assert "only this one" in result.stderr.replace("\n", " ")


def test_evaluate_against_the_keyword_rules(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [("Prove that 3 divides n^3 - n", ["math"]), ("今天吃什么好", ["chinese"])]
    path.write_text("\n".join(json.dumps({"prompt": p, "labels": ls}) for p, ls in rows))
    found = json.loads(run(app, ["evaluate", str(path), "--json"]).stdout)
    assert found["systems"]["router-ml"]["accuracy"]["value"] == 1
    assert found["systems"]["keyword rules"]["accuracy"]["value"] == 0.5


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
    found = json.loads(run(app, ["info", "--json"]).stdout)
    assert found["name"] == "default"
    assert (found["policy"], found["catalog"]) == ("shipped", "shipped")
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["golden"]["rows"] >= 20
    assert found["golden"]["largest_difference"] < 1e-4
    assert json.loads(run(app, ["info"]).stdout) == found


def test_info_names_the_files_given():
    result = run(app, ["info", "--json", "--policy", POLICY, "--catalog", CATALOG])
    found = json.loads(result.stdout)
    assert (found["policy"], found["catalog"]) == (POLICY, CATALOG)


def test_info_of_labels_without_a_policy(tmp_path):
    copy = shutil.copytree(find_artifact(), tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["labels"][0] = "sums"
    config["thresholds"]["sums"] = config["thresholds"].pop("math")
    (copy / "config.json").write_text(json.dumps(config))
    result = run(app, ["info", "--json", "--artifact", str(copy)])
    assert json.loads(result.stdout)["policy"] == "one route a label"


def test_info_fails_where_the_golden_rows_differ(tmp_path):
    copy = shutil.copytree(find_artifact(), tmp_path / "copy")
    golden, config = copy / "golden.jsonl", copy / "config.json"
    first, *others = golden.read_text().splitlines()
    row = json.loads(first)
    row["probabilities"][0] = 1 - row["probabilities"][0]
    content = "\n".join([json.dumps(row), *others]).encode()
    golden.write_bytes(content)
    facts = json.loads(config.read_text())
    facts["files"]["golden.jsonl"] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }
    config.write_text(json.dumps(facts))
    result = run(app, ["info", "--json", "--artifact", str(copy)])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["golden"]["largest_difference"] > 1e-4
    assert "golden rows" in result.stderr


def test_catalog_by_price():
    result = run(app, ["catalog"])
    assert result.exit_code == 0
    names = ["glm-4-9b", "deepseek-v4-pro", "moonshot-k2.5", "gpt-4o"]
    at = [result.stdout.index(name) for name in names]
    assert at == sorted(at)
    found = json.loads(run(app, ["catalog", "--json"]).stdout)
    assert (found["baseline"], found["problems"]) == ("gpt-4o", [])
    prices = [model["output_price"] for model in found["models"].values()]
    assert prices == sorted(prices)
    assert len(prices) == 19


def test_catalog_shows_what_is_known(tmp_path):
    path = tmp_path / "catalog.toml"
    text = SHIPPED_CATALOG.read_text()
    known = "output_price = 10.00\ninput_price = 2.50\ncontext = 128000\nspeed = 80\n"
    path.write_text(text.replace("output_price = 10.00\n", known))
    shown = run(app, ["catalog", "--catalog", str(path)]).stdout
    for figure in ("input", "2.50", "context", "128,000", "tokens/s", "80"):
        assert figure in shown
    assert "cached" not in shown


def test_catalog_names_every_problem_of_a_policy(tmp_path):
    policy = tmp_path / "policy.toml"
    text = SHIPPED_POLICY.read_text().replace('default = "general"', 'default = "nowhere"')
    last = '[[rules]]\nroute = "late"\nneeds = ["math"]\nmodels = ["gpt-0"]\n'
    policy.write_text(text.replace('"glm-4.6v", "Qwen', '"glm-5", "Qwen') + last)
    result = run(app, ["catalog", "--policy", str(policy)])
    assert result.exit_code == 1
    assert result.stderr.count("problem:") == 4
    for named in ("'nowhere'", "'gpt-0'", "'glm-5'", "rule 9 (route 'late') is never reached"):
        assert named in result.stderr
    asked = run(app, ["catalog", "--json", "--policy", str(policy)])
    assert (asked.exit_code, len(json.loads(asked.stdout)["problems"])) == (1, 4)


def test_catalog_with_files_that_cannot_be_read(tmp_path):
    (tmp_path / "bad.toml").write_text("[")
    for option in ("--policy", "--catalog", "--artifact"):
        result = run(app, ["catalog", option, str(tmp_path / "bad.toml")])
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1


def test_bench():
    found = json.loads(run(app, ["bench", "--calls", "100", "--json"]).stdout)
    assert set(found["latency"]) == {"en", "zh"}
    assert found["one_core_per_s"] > 0


def test_unseen(tmp_path):
    path = tmp_path / "rows.jsonl"
    words = {"tax": "invoice refund receipt", "law": "court clause lawyer"}
    noise = ["".join(chr(97 + (n * k + k) % 26) for k in range(1, 20)) for n in range(60)]
    rows = [
        {"prompt": f"{words[label]} {letters}", "label": label, "source": f"s{n % 3}"}
        for n, letters in enumerate(noise)
        for label in words
    ]
    wrong = [row for n, row in enumerate(rows) if n % 2 == 0 and n // 2 % 26 in {3, 7}]
    for row in wrong:
        row["label"] = "law"  # it is about taxes
    path.write_text("\n".join(map(json.dumps, rows)))
    target = tmp_path / "doubts.jsonl"
    result = run(app, ["unseen", str(path), "--folds", "3", "--json", "--doubts", str(target)])
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)["unseen sources"]["by_source"]) == {"s0", "s1", "s2"}
    doubted = [json.loads(line) for line in target.read_text().splitlines()]
    texts = {row["messages"][0]["content"] for row in doubted}
    assert texts
    assert texts <= {row["prompt"] for row in wrong}
    options = ["--folds", "2", "--only", "!s1", "--json", "--doubts", str(target)]
    result = run(app, ["unseen", str(path), *options])
    assert set(json.loads(result.stdout)["unseen sources"]["by_source"]) == {"s0", "s2"}
    assert {json.loads(line)["source"] for line in target.read_text().splitlines()} <= {"s0", "s2"}


def test_a_missing_file(tmp_path):
    for command in ("train", "unseen", "evaluate", "classify"):
        result = run(app, [command, str(tmp_path / "none.jsonl")])
        assert result.exit_code == 1
        assert "none.jsonl" in result.stderr.replace("\n", "")


@pytest.mark.parametrize(("labels", "shown"), [(2, True), (20, False)])
def test_a_confusion_matrix_is_shown_where_it_fits(labels, shown, capsys):
    names = tuple(f"r{number}" for number in range(labels))
    counts = [[1] * labels for _ in names]
    found = Evaluation("mine", labels, 1.0, 1.0, names, counts, {}, 1.0, 0.0, {})
    show_evaluations([found])
    assert ("true route" in capsys.readouterr().out) == shown
