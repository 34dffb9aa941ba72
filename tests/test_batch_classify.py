import gzip
import json

import pyarrow as pa
import pytest
from batches import MESSAGES, files, prompts, read, same_as_routed, write_lines, write_parquet
from pyarrow import parquet
from typer.testing import CliRunner

from router_ml import Router
from router_ml.batch import classify, reading
from router_ml.batch.manifest import Finished
from router_ml.cli import app


def test_predictions_are_those_of_the_router(log, tmp_path, router):
    found = classify(log, tmp_path / "out", workers=1)
    rows = read(tmp_path / "out")
    same_as_routed(rows, prompts(400), router)
    assert [row["prompt"] for row in rows] == prompts(400)
    assert (found.rows, found.bad, sum(found.routes.values())) == (400, 0, 400)
    assert 0 < found.cost < found.baseline_cost


POLICIES = """
schema_version = 1
default = "other"
thresholds = { math = 0.3 }
uncertain = { below = 0.999, models = ["gpt-4o"] }
rules = [
    { route = "long", models = ["gpt-4o"], when = { min_tokens = 60 } },
    { route = "vision", needs = ["vision"], models = ["Qwen/Qwen3-VL-32B"] },
    { route = "math", needs = ["math"], models = ["deepseek-r1"], thresholds = { math = 0.8 } },
    { route = "rest", needs = ["chinese", "code", "creative", "extraction"] },
    { route = "other", models = ["deepseek-v4-flash"] },
]
"""


def test_a_policy_with_conditions_thresholds_and_doubts_decides_alike(log, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICIES)
    router = Router.load(policy=tmp_path / "policy.toml")
    classify(log, tmp_path / "out", router=router, workers=1)
    rows = read(tmp_path / "out")
    same_as_routed(rows, prompts(400), router)
    assert {"long", "math"} <= {row["predicted_route"] for row in rows}
    assert "low_confidence" in {row["predicted_reason"] for row in rows}


def test_every_kind_of_file_gives_the_same(log, tmp_path, router, tiny_fragments):
    rows = [{"prompt": prompt or "x", "id": n} for n, prompt in enumerate(prompts(60))]
    write_lines(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.csv").write_text(
        "prompt,id\n" + "".join(f'"{row["prompt"]}",{row["id"]}\n' for row in rows), newline=""
    )
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"):
        found = classify(tmp_path / name, tmp_path / name.replace(".", "-"), workers=1)
        assert (found.rows, found.bad) == (60, 0)
        got = sorted(read(tmp_path / name.replace(".", "-")), key=lambda row: int(row["id"]))
        if name != "a.csv":
            same_as_routed(got, [row["prompt"] for row in rows], router)
    assert classify(tmp_path / "a.jsonl", tmp_path / "a-jsonl", workers=1).kept > 1


def test_both_engines_write_the_same(log, tmp_path, tiny_fragments, cluster, monkeypatch):
    write_lines(
        tmp_path / "more.jsonl",
        [{"id": 1000 + n, "messages": MESSAGES} for n in range(40)] + [{"id": 1}],
    )
    sources = [log, tmp_path / "more.jsonl"]
    local = classify(sources, tmp_path / "local", workers=2, by="route")
    ray = classify(sources, tmp_path / "ray", engine=cluster, by="route")
    assert local.fragments > 4
    assert (ray.rows, ray.bad, ray.routes) == (local.rows, local.bad, local.routes)
    assert (local.rows, local.bad) == (440, 1)
    assert files(tmp_path / "ray") == files(tmp_path / "local")


@pytest.mark.slow
def test_both_engines_write_the_same_of_many_rows(tmp_path, cluster):
    for part in range(8):
        write_parquet(tmp_path / f"{part}.parquet", 25_000)
    local = classify(f"{tmp_path}/*.parquet", tmp_path / "local", workers=2)
    ray = classify(f"{tmp_path}/*.parquet", tmp_path / "ray", engine=cluster)
    assert local.rows == ray.rows == 200_000
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_counted_tokens_cost_the_same_in_any_column(tmp_path):
    counts = {"input_tokens": 800, "output_tokens": 1_000_000}
    tables = {
        "int": pa.table({"prompt": ["hi"], **{key: [n] for key, n in counts.items()}}),
        "double": pa.table({"prompt": ["hi"], **{key: [float(n)] for key, n in counts.items()}}),
        "json": pa.table({"prompt": ["hi"], "usage": [json.dumps(counts)]}),
        "struct": pa.table({"prompt": ["hi"], "usage": [counts]}),
    }
    for name, table in tables.items():
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "text.csv").write_text("prompt,input_tokens,output_tokens\nhi,800,1000000\n")
    write_lines(tmp_path / "lines.jsonl", [{"prompt": "hi", **counts}])
    found = [classify(path, tmp_path / f"out-{path.stem}", workers=1).cost
             for path in sorted(tmp_path.glob("*.*"))]  # fmt: skip
    assert len(found) == 6
    assert found[0] > 0.1
    assert len(set(found)) == 1


def test_counts_without_a_column_are_counted(tmp_path, monkeypatch):
    rows = [{"prompt": "hi"}] * 20 + [{"prompt": "hi", "usage": {"completion_tokens": 10**6}}]
    monkeypatch.setattr(reading, "_SAMPLED_BYTES", 100)
    found = classify(write_lines(tmp_path / "log.jsonl", rows), tmp_path / "out", workers=1)
    assert found.cost > 0.1


def test_the_command_writes_a_directory(log, tmp_path):
    out = f"{tmp_path}/out/"
    run = CliRunner().invoke(
        app, ["classify", str(log), "-o", out, "--by", "route", "--workers", "1"]
    )
    assert run.exit_code == 0, run.output
    assert "400 rows in 1 fragment " in " ".join(run.output.split())
    assert "gpt-4o alone" in run.output
    assert "1 fragment was finished before" in CliRunner().invoke(
        app, ["classify", str(log), "-o", out, "--by", "route"]
    ).output  # fmt: skip
    refused = CliRunner().invoke(app, ["classify", str(log), "-o", out])
    assert refused.exit_code == 1
    assert "another by" in refused.output
    nowhere = CliRunner().invoke(app, ["classify", str(log), "--engine", "local"])
    assert "which directory" in nowhere.output
    assert "no engine 'spark'" in CliRunner().invoke(
        app, ["classify", str(log), "-o", out, "--engine", "spark"]
    ).output  # fmt: skip


def test_progress_says_how_long_it_takes_still():
    from router_ml.batch import Progress

    run = Progress(fragments=4, size=400)
    assert run.seconds_left is None
    run.add(Finished("a", "x", 0, 1, 100, rows=50))
    run.add_new(Finished("b", "x", 1, 2, 100, rows=60, bad=40, routes={"math": 60}), 5.0)
    assert (run.rows_per_s, run.seconds_left, run.bad_share) == (20, 10, 40 / 150)
