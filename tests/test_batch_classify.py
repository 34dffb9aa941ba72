import gzip
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import msgspec
import pyarrow as pa
import pytest
from pyarrow import dataset, parquet
from typer.testing import CliRunner

from router_ml import Router
from router_ml.batch import LocalEngine, classify, classifying, cut, fragments, reading
from router_ml.batch.manifest import Finished, Holder, Output
from router_ml.cli import app
from router_ml.errors import BatchError, DataError
from router_ml.policy import Policy

PROMPTS = [
    "Prove that the square root of 2 is irrational",
    "写一首关于秋天的诗",
    "What is the capital of France?",
    "",
    "  \u3000 ",
    "\u3000hello",
    "\x00\x07 solve x^2 = 4",
    "é" * 400,
    "数学" * 400,
    "integral of x " * 60,
    "Extract all dates from this text: 1 May 2024",
]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Describe this"},
                                 {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
]  # fmt: skip


def prompts(count):
    return [f"{PROMPTS[n % len(PROMPTS)]} {n}" if n >= len(PROMPTS) else PROMPTS[n]
            for n in range(count)]  # fmt: skip


def write_parquet(path, count, **options):
    table = pa.table(
        {
            "id": range(count),
            "prompt": prompts(count),
            "at": [f"2026-01-{1 + n % 3:02}T08:00:00Z" for n in range(count)],
        }
    )
    parquet.write_table(table, path, **options)
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(output, key="id"):
    """Read all of an output, in the order of a column."""
    table = dataset.dataset(str(output), partitioning="hive").to_table()
    return table.sort_by(key).to_pylist()


def files(output):
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def same_as_routed(rows, requests, router):
    """Check that rows are those of `Router.route`: routes equal, probabilities to 1e-6."""
    assert len(rows) == len(requests)
    for row, request in zip(rows, requests, strict=True):
        decision = router.route(request)
        assert row["predicted_route"] == decision.route
        assert row["predicted_model"] == decision.model
        assert tuple(row["predicted_labels"]) == decision.labels
        assert row["predicted_reason"] == decision.reason
        assert row["predicted_confidence"] == pytest.approx(decision.confidence, abs=1e-6)
        found = row["predicted_probabilities"] or {}
        assert found == pytest.approx(dict(decision.probabilities), abs=1e-6)


@pytest.fixture
def small(monkeypatch):
    """Cut files into fragments of a few kilobytes."""
    monkeypatch.setattr(fragments, "FRAGMENT_BYTES", 3000)


@pytest.fixture
def log(tmp_path):
    return write_parquet(tmp_path / "log.parquet", 400, row_group_size=50)


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


def test_every_kind_of_file_gives_the_same(log, tmp_path, router, small):
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


def test_lines_are_cut_where_they_begin(tmp_path, monkeypatch):
    lines = [json.dumps({"prompt": "x" * (n % 7), "id": n}) for n in range(200)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    for size in (1, 17, 100, 1000):
        monkeypatch.setattr(fragments, "FRAGMENT_BYTES", size)
        rows = [row for part in cut(tmp_path / "log.jsonl") for row in reading.read_rows(part)]
        assert [row.data["id"] for row in rows] == list(range(200))
        text = (tmp_path / "log.jsonl").read_bytes()
        assert all(text[row.number :].startswith(b'{"prompt"') for row in rows)


def test_a_file_that_is_named_twice_is_cut_once(log, tmp_path, small):
    found = cut(log, tmp_path, f"file://{tmp_path}/*.parquet")
    assert [part.fingerprint for part in found] == [part.fingerprint for part in cut(log)]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl.gz", "log.parquet"])
def test_of_large_rows_few_are_held_at_a_time(name, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_BYTES", 10_000)
    monkeypatch.setattr(classifying, "_GROUP_BYTES", 10_000)
    log, rows = tmp_path / name, [{"prompt": "x" * 1000, "id": n} for n in range(100)]
    if name == "log.csv":
        log.write_text("prompt,id\n" + "".join(f"{row['prompt']},{row['id']}\n" for row in rows))
    elif name == "log.parquet":
        parquet.write_table(pa.Table.from_pylist(rows), log, use_dictionary=False)
    else:
        log.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    parts = cut(log)
    batches = [b for part in parts for b in reading.read_batches(part, {"prompt": "string"})]
    assert {len(batch.places) for batch in batches} <= {*range(1, 11)}
    assert classify(log, tmp_path / "out", workers=1).rows == 100
    (written,) = (tmp_path / "out").glob("*.parquet")
    made = parquet.read_metadata(written)
    assert {made.row_group(at).num_rows for at in range(made.num_row_groups)} <= {*range(1, 21)}


def test_columns_of_lines_are_kept(tmp_path):
    rows = [
        {"id": 1, "messages": MESSAGES, "usage": {"prompt_tokens": 9, "completion_tokens": 1}},
        {"id": 2, "prompt": "2 + 2", "price": 1, "ok": True},
        {"id": 3, "prompt": "hi", "price": 0.5},
    ]
    odd = {"id": "four", "prompt": "2 + 2", "new": [1]}
    monkey = write_lines(tmp_path / "log.jsonl", rows)
    columns = reading.find_columns(cut(monkey))
    write_lines(monkey, [*rows, odd])
    (batch,) = reading.read_batches(cut(monkey)[0], columns)
    assert columns == {
        "id": "int64", "messages": "string", "usage": "string", "prompt": "string",
        "price": "double", "ok": "bool",
    }  # fmt: skip
    kept = batch.table.to_pylist()
    assert [row["id"] for row in kept] == [1, 2, 3, None]
    assert json.loads(kept[0]["messages"]) == MESSAGES
    assert json.loads(kept[3]["_rest"]) == {"new": [1], "id": "four"}
    found = classify(monkey, tmp_path / "out", workers=1)
    assert found.rows == 4
    assert found.routes["vision"] == 1


def test_a_run_of_other_files_adds_their_columns(tmp_path):
    parquet.write_table(pa.table({"prompt": ["hi"], "id": [1]}), tmp_path / "a.parquet")
    write_lines(tmp_path / "b.jsonl", [{"prompt": "ho", "id": 2, "at": "2026-01-01"}])
    write_lines(tmp_path / "c.jsonl", [{"prompt": "ha", "id": 3, "at": 5, "user": "me"}])
    for name in ("a.parquet", "b.jsonl", "c.jsonl"):
        classify(tmp_path / name, tmp_path / "out", workers=1)
    tables = [parquet.read_table(path) for path in (tmp_path / "out").glob("*.parquet")]
    rows = [row for table in tables for row in table.to_pylist()]
    first, second, third = sorted(rows, key=lambda row: row["id"])
    assert (first["prompt"], first["id"]) == ("hi", 1)
    assert (second["prompt"], second["id"], second["at"]) == ("ho", 2, "2026-01-01")
    assert (third["prompt"], third["id"], third["at"], third["user"]) == ("ha", 3, "5", "me")


def test_output_is_partitioned_by_day_or_route(log, tmp_path):
    classify(log, tmp_path / "days", workers=1, by="day:at")
    names = {path.name for path in (tmp_path / "days").glob("day_of_at=*")}
    assert names == {f"day_of_at=2026-01-0{day}" for day in (1, 2, 3)}
    classify(log, tmp_path / "routes", workers=1, by="route")
    part = parquet.read_table(next((tmp_path / "routes/predicted_route=math").iterdir()))
    assert all("math" in labels for labels in part["predicted_labels"].to_pylist())
    with pytest.raises(DataError, match="no column 'when'"):
        classify(log, tmp_path / "no", workers=1, by="day:when")
    with pytest.raises(BatchError, match="not by 'month'"):
        classify(log, tmp_path / "no", workers=1, by="month")


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1_767_571_200, None]),
        pa.array([1_767_571_200_000, None]),
        pa.array([1_767_571_200_000_000.0, None]),
        pa.array([1_767_571_200_123_456_789, None]),
        pa.array([1_767_571_200_123_456_789, None], pa.uint64()),
        pa.array([1_767_571_200.5, math.nan]),
        pa.array([1_767_571_200, math.inf]),
        pa.array([1_767_571_200, -1e300]),
        pa.array([1_767_571_200, None], pa.timestamp("s")),
        pa.array([1_767_571_200_000_000, (1 << 63) - 1], pa.timestamp("us", "Asia/Tokyo")),
        pa.array([20_458, None], pa.date32()),
        pa.array(["2026-01-05 00:00", "yesterday"]),
        pa.array(["2026-01-05T23:30:00-05:00", ""], pa.large_string()),
        pa.array(["2026-01-05", None]).dictionary_encode(),
        pa.array(["1767571200", "12"]),
        pa.array(["1767571200000.0", "1767571200 s"]),
    ],
)
def test_a_day_is_found_in_times_of_any_kind(times, tmp_path):
    from router_ml.batch.days import days

    part = fragments.Fragment("", "x", "parquet", 0, 1, 1, "")
    assert days(part, pa.table({"at": times}), "at").to_pylist() == ["2026-01-05", None]
    nothing = pa.table({"at": pa.nulls(2)})
    assert days(part, nothing, "at").to_pylist() == [None, None]
    assert days(part, nothing, "at").type == pa.string()


def test_both_engines_write_the_same(log, tmp_path, small, cluster, monkeypatch):
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


KILLED = """
import sys
from router_ml.batch import classify, fragments
if __name__ == "__main__":
    fragments.FRAGMENT_BYTES = 3000
    said = lambda run: print(run.done, flush=True)
    classify(sys.argv[1], sys.argv[2], workers=2, by="route", done=said)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path, small, router):
    log = write_parquet(tmp_path / "log.parquet", 3000, row_group_size=50)
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(log), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:
        for _ in range(8):
            run.stdout.readline()
        run.send_signal(signal.SIGKILL)
    before = set(files(tmp_path / "out"))
    found = classify(log, tmp_path / "out", workers=1, by="route")
    assert 0 < found.kept < found.fragments
    passing = {name for name in before if "_partial" in name or name.endswith(".lock")}
    assert before - passing <= set(files(tmp_path / "out"))
    classify(log, tmp_path / "whole", workers=1, by="route")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    same_as_routed(read(tmp_path / "out")[:200], prompts(200), router)


def test_workers_killed_at_random_lose_and_repeat_nothing(tmp_path, small):
    log = write_parquet(tmp_path / "log.parquet", 3000, row_group_size=50)
    engine = LocalEngine(2)
    stop = threading.Event()
    killed = []

    def kill():
        while not stop.is_set() and len(killed) < 3:
            for child in children():
                if any((tmp_path / "out/_partial").glob("*")) and not stop.wait(0.05):
                    with suppress(ProcessLookupError):  # it had just ended by itself
                        os.kill(child, signal.SIGKILL)
                        killed.append(child)
                    break
            stop.wait(0.3)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = classify(log, tmp_path / "out", engine=engine, by="route")
    finally:
        stop.set()
        thread.join()
    assert killed
    assert found.rows == 3000
    classify(log, tmp_path / "whole", workers=1, by="route")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def children():
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "spawn_main"],
                           capture_output=True, text=True, check=False)  # fmt: skip
    return [int(line) for line in found.stdout.split()]


def test_another_policy_is_another_run(log, tmp_path, router):
    out = tmp_path / "out"
    classify(log, out, workers=1)
    before = files(out)
    (out / "notes.txt").write_text("mine")
    other = Router.load(policy=Policy.of_labels(router.classifier.labels))
    with pytest.raises(BatchError, match="another policy: name another directory"):
        classify(log, out, router=other, workers=1)
    with pytest.raises(BatchError, match="another by"):
        classify(log, out, workers=1, by="route")
    (out / "notes.txt").unlink()
    assert files(out) == before
    (out / "notes.txt").write_text("mine")
    found = classify(log, out, router=other, workers=1, overwrite=True)
    assert (found.kept, found.rows) == (0, 400)
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    assert len(read(out)) == 400


def test_a_changed_input_replaces_its_output(tmp_path, small):
    log = write_parquet(tmp_path / "log.parquet", 300, row_group_size=50)
    other = write_lines(tmp_path / "other.jsonl", [{"prompt": "hi", "id": 5000}])
    classify([log, other], tmp_path / "out", workers=1)
    write_parquet(log, 120, row_group_size=50)
    found = classify([log, other], tmp_path / "out", workers=1)
    assert found.kept == 1
    assert len(read(tmp_path / "out")) == 121


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_an_emptied_input_leaves_no_output(name, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    rows = [{"prompt": "hi", "id": n} for n in range(50)]
    write_lines(logs / "log.jsonl", rows)
    parquet.write_table(pa.Table.from_pylist(rows), logs / "log.parquet")
    assert classify(logs, tmp_path / "out", workers=1).rows == 100
    (logs / "log.jsonl").write_text("")
    parquet.ParquetWriter(logs / "log.parquet", pa.schema({"prompt": pa.string()})).close()
    assert classify(logs / name, tmp_path / "out", workers=1).rows == 0
    assert len(read(tmp_path / "out")) == 50  # the other file is no input of this run


def test_the_output_of_a_file_that_is_gone_stays(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"prompt": "hi", "id": 1}])
    write_lines(tmp_path / "b.jsonl", [{"prompt": "ho", "id": 2}])
    classify(f"{tmp_path}/*.jsonl", tmp_path / "out", workers=1)
    (tmp_path / "a.jsonl").unlink()
    found = classify(f"{tmp_path}/*.jsonl", tmp_path / "out", workers=1)
    assert (found.kept, found.rows) == (1, 1)
    assert [row["id"] for row in read(tmp_path / "out")] == [1, 2]


def test_bad_rows_go_to_a_side_file_with_their_origin(tmp_path):
    rows = [json.dumps({"prompt": "hi"})] * 30
    rows[7], rows[9], rows[20] = '{"prompt": 5}', "{no", '{"other": 1}'
    (tmp_path / "log.jsonl").write_text("\n".join(rows))
    with pytest.raises(BatchError, match=r"3 of 30 rows cannot be read, 10.00% where at most 1"):
        classify(tmp_path / "log.jsonl", tmp_path / "out", workers=1)
    found = classify(tmp_path / "log.jsonl", tmp_path / "out", workers=1, most_bad=0.1)
    assert (found.kept, found.rows, found.bad) == (1, 27, 3)
    (side,) = (tmp_path / "out/_bad").iterdir()
    bad = sorted(
        (json.loads(line) for line in side.read_text().splitlines()), key=lambda b: b["byte"]
    )
    text = (tmp_path / "log.jsonl").read_text()
    assert [text[b["byte"] :].split("\n")[0] for b in bad] == [rows[7], rows[9], rows[20]]
    assert {b["file"] for b in bad} == {str(tmp_path / "log.jsonl")}
    assert bad[0]["problem"] == "`prompt` must be a string."
    assert bad[1]["text"] == "{no"
    assert "--map prompt=PLACE" in bad[2]["problem"]


def text(*values):
    """Make text of bytes, as a writer that does not look at them would."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"prompt": text(b"hello", b"a\xffbc")}, "'prompt' is broken: Invalid UTF8"),
        ({"prompt": text(b"hello", b"a\xff" + b"x" * 700)}, "'prompt' is broken: Invalid UTF8"),
        (
            {
                "prompt": ["hi"] * 2,
                "tags": pa.ListArray.from_arrays([0, 1, 2], text(b"a", b"\xff")),
            },
            "'tags' is broken: Invalid UTF8",
        ),
        (
            {"question": ["hi"] * 2, "at": pa.array([0, (1 << 63) - 1], pa.timestamp("us"))},
            "a cell that is no value: date value out of range",
        ),
    ],
)
def test_a_row_with_a_broken_cell_is_a_bad_row(columns, problem, tmp_path):
    log = tmp_path / "log.parquet"
    parquet.write_table(pa.table({**columns, "id": [1, 2]}), log)
    found = classify(log, tmp_path / "out", workers=1, most_bad=0.5)
    assert (found.rows, found.bad) == (1, 1)
    assert [row["id"] for row in read(tmp_path / "out")] == [1]
    (side,) = (tmp_path / "out/_bad").iterdir()
    (bad,) = map(json.loads, side.read_text().splitlines())
    assert (bad["file"], bad["row"]) == (str(log), 2)
    assert problem in bad["problem"]
    whole = reading.read_rows(cut(log)[0])
    assert {row.number: row.problem is None for row in whole} == {1: True, 2: False}


def test_a_number_that_no_double_holds_is_kept_in_the_rest(tmp_path):
    rows = [{"prompt": "hi", "id": n, "t": t} for n, t in enumerate([1.5, 1, (1 << 53) + 1])]
    classify(write_lines(tmp_path / "log.jsonl", rows), tmp_path / "out", workers=1)
    kept = read(tmp_path / "out")
    assert [row["t"] for row in kept] == [1.5, 1.0, None]
    assert json.loads(kept[2]["_rest"]) == {"t": (1 << 53) + 1}


def test_a_field_rest_is_kept_in_the_rest(tmp_path):
    rows = [{"question": "hi", "id": n, "_rest": {"k": n}} for n in range(3)]
    mapping = {"prompt": "_rest.k"}
    classify(write_lines(tmp_path / "log.jsonl", rows), tmp_path / "out", workers=1)
    assert [json.loads(row["_rest"]) for row in read(tmp_path / "out")] == [
        {"_rest": {"k": n}} for n in range(3)
    ]
    classify(tmp_path / "log.jsonl", tmp_path / "mapped", workers=1, mapping=mapping)
    assert read(tmp_path / "mapped")[2]["predicted_confidence"] > 0


def test_a_column_rest_of_a_table_replaces_nothing(tmp_path):
    rest = ["abc", "[1]", '{"question": "write a poem"}', None]
    table = pa.table({"question": ["2 + 2"] * 4, "id": range(4), "_rest": rest})
    parquet.write_table(table, tmp_path / "log.parquet")
    assert classify(tmp_path / "log.parquet", tmp_path / "out", workers=1).rows == 4
    kept = read(tmp_path / "out")
    assert [row["_rest"] for row in kept] == rest
    assert len({row["predicted_confidence"] for row in kept}) == 1


def test_a_truncated_file_is_one_sentence(log, tmp_path):
    cut_short = tmp_path / "short.parquet"
    cut_short.write_bytes(log.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"short\.parquet: cannot be read as Parquet"):
        classify([log, cut_short], tmp_path / "out", workers=1)
    packed = gzip.compress(b'{"prompt": "hi"}\n' * 1000)
    (tmp_path / "short.jsonl.gz").write_bytes(packed[:-20])
    with pytest.raises(DataError, match=r"short\.jsonl\.gz: the gzip stream is broken"):
        classify(tmp_path / "short.jsonl.gz", tmp_path / "out", workers=1)


def test_a_broken_page_leaves_finished_work_intact(tmp_path, small):
    log = write_parquet(tmp_path / "log.parquet", 400, row_group_size=50, compression="gzip")
    data = bytearray(log.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "broken.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"broken\.parquet: cannot be read as Parquet"):
        classify([log, tmp_path / "broken.parquet"], tmp_path / "out", workers=1)
    assert len(read(tmp_path / "out")) >= 400
    assert classify(log, tmp_path / "out", workers=1).new_rows == 0


def test_a_vanished_file_is_one_sentence(tmp_path, small):
    log = write_parquet(tmp_path / "log.parquet", 400, row_group_size=50)
    gone = write_parquet(tmp_path / "other.parquet", 100)

    def vanish(progress):
        gone.unlink(missing_ok=True)

    with pytest.raises(DataError, match=r"other\.parquet: cannot be read as Parquet: No such"):
        classify([log, gone], tmp_path / "out", workers=1, done=vanish)
    assert len(read(tmp_path / "out")) == 400
    with pytest.raises(DataError, match="cannot be read: No such file"):
        classify(gone, tmp_path / "out", workers=1)


FULL = """
import resource, sys
from router_ml.batch import classify
from router_ml.errors import BatchError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    classify(sys.argv[1], sys.argv[2], workers=1)
except BatchError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_is_one_sentence_and_leaves_finished_work(tmp_path, monkeypatch):
    small = write_parquet(tmp_path / "a.parquet", 20)
    large = write_parquet(tmp_path / "b.parquet", 4000)
    out = tmp_path / "out"
    command = [sys.executable, "-c", FULL, str(tmp_path / "[ab].parquet"), str(out), "20000"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "cannot be written: " in found.stderr
    assert "What is finished stays" in found.stderr
    assert "Traceback" not in found.stderr
    assert len(read(out)) == 20
    assert not list((out / "_partial").rglob("*.parquet"))
    assert classify([small, large], out, workers=1).kept == 1
    assert len(read(out)) == 4020


def test_inputs_and_outputs_are_uris_too(log, tmp_path, router):
    found = classify(f"file://{log}", f"file://{tmp_path}/out", workers=1)
    assert found.rows == 400
    again = classify(f"file://{tmp_path}/*.parquet", f"file://{tmp_path}/out2", workers=1)
    assert again.routes == found.routes
    assert files(tmp_path / "out").keys() == files(tmp_path / "out2").keys()
    with pytest.raises(DataError, match="no file matches"):
        cut(f"file://{tmp_path}/*.csv")
    with pytest.raises(DataError, match="cannot be opened"):
        cut("nowhere://bucket/log.parquet")


@pytest.mark.parametrize("root", ["{}", "file://{}"])
def test_an_output_is_no_input_of_its_own_run_and_one_of_another(root, log, tmp_path):
    logs = root.format(tmp_path)
    for kept in (0, 1):
        found = classify(logs, f"{logs}/decided/", workers=1, by="route")
        assert (found.kept, found.fragments, found.rows) == (kept, 1, 400)
    assert [part.path for part in cut(f"{logs}/decided")] == sorted(
        str(path) for path in (tmp_path / "decided").glob("predicted_route=*/*.parquet")
    )
    with pytest.raises(BatchError, match="all of the input is output of its own: name another"):
        classify(f"{logs}/decided", f"{logs}/decided", workers=1, by="route")
    for kept in (0, 1):
        found = classify(f"{logs}/*.parquet", logs, workers=1)
        assert (found.kept, found.fragments) == (kept, 1)


def test_a_file_system_of_fsspec_is_read_and_written(log):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/logs/a.parquet", log.read_bytes())
    memory.pipe("/logs/_done", b"no log")
    found = classify("memory://logs", "memory://out", workers=1)
    assert found.rows == 400
    assert classify("memory://logs/*.parquet", "memory://out", workers=1).kept == 1
    assert any(name.endswith(".parquet") for name in memory.find("/out"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.parquet", b"", "cannot be read as Parquet: it does not begin with PAR1"),
        ("zeros.parquet", bytes(100), "cannot be read as Parquet: it does not begin with PAR1"),
        ("packed.parquet.gz", gzip.compress(b"PAR1"), "it does not begin with PAR1"),
        ("array.json", b'\xef\xbb\xbf [{"prompt": "hi"}]', "make it lines: jq -c '.[]'"),
        ("lines.json", b'{"prompt": "hi"}\n', "1 row in 1 fragment "),
        ("empty.jsonl", b"\n\n", "0 rows in"),
        ("log.db", b"SQLite format 3\0" + bytes(100), "a database"),
        ("twice.csv", b"prompt,prompt\nx,y\n", "each once"),
        ("nul.jsonl", bytes(100), "1 of 1 row cannot be read"),
    ],
)
def test_odd_files_get_a_clear_answer(name, content, sentence, tmp_path):
    (tmp_path / name).write_bytes(content)
    run = CliRunner().invoke(
        app, ["classify", str(tmp_path / name), "-o", f"{tmp_path}/out", "--engine", "local"]
    )
    assert sentence in " ".join(run.output.split())
    assert run.exit_code == (0 if sentence in {"0 rows in", "1 row in 1 fragment "} else 1)


def test_a_column_that_is_predicted_is_refused(tmp_path):
    table = pa.table({"prompt": ["hi"], "predicted_route": ["x"]})
    parquet.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DataError, match="has a column 'predicted_route' already"):
        classify(tmp_path / "log.parquet", tmp_path / "out", workers=1)


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


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["prompt", "prompt"])
    parquet.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DataError, match="has a column 'prompt' already"):
        classify(tmp_path / "log.parquet", tmp_path / "out", workers=1)


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


def test_a_second_run_is_refused_while_one_writes(log, tmp_path):
    refusals = []

    def begin_another(progress):
        with pytest.raises(BatchError) as refusal:
            classify(log, tmp_path / "out", workers=1)
        refusals.append(str(refusal.value))

    found = classify(log, tmp_path / "out", workers=1, done=begin_another)
    assert len(refusals) == 2
    assert f"process {os.getpid()} on " in refusals[0]
    assert f"delete {tmp_path}/out/_manifest/run.lock and run the same again" in refusals[0]
    assert (found.rows, len(read(tmp_path / "out"))) == (400, 400)
    assert set(files(tmp_path / "out")) == {
        name for each in read_manifest(tmp_path / "out") for name in named(each)
    }


def read_manifest(output):
    paths = sorted((output / "_manifest").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths if path.name != "run.json"]


def named(finished):
    """Return the files that there are of a fragment."""
    return [f"_manifest/{finished['fingerprint']}.json", *finished["files"]]


@pytest.mark.parametrize(
    ("holder", "is_live"),
    [
        (Holder("a", platform.node(), 1), True),
        (Holder("a", "elsewhere", 1), True),
        (Holder("a", platform.node(), os.getpid()), False),
        (Holder("a", platform.node(), (1 << 22) + 1), False),
    ],
)
def test_the_lock_of_a_run_that_is_gone_is_taken(holder, is_live, log, tmp_path):
    lock = tmp_path / "out/_manifest/run.lock"
    lock.parent.mkdir(parents=True)
    lock.write_bytes(msgspec.json.encode(holder))
    if is_live:
        with pytest.raises(BatchError, match=f"process 1 on {holder.host}. If that has ended"):
            classify(log, tmp_path / "out", workers=1)
        assert [path.name for path in lock.parent.iterdir()] == ["run.lock"]
    else:
        assert classify(log, tmp_path / "out", workers=1).rows == 400
        assert not lock.exists()


def test_a_run_that_lost_its_lock_publishes_nothing(log, tmp_path, small):
    def lose(progress):
        (tmp_path / "out/_manifest/run.lock").unlink(missing_ok=True)

    with pytest.raises(BatchError, match="this run's lock is gone, or another run's"):
        classify(log, tmp_path / "out", workers=1, done=lose)
    assert files(tmp_path / "out") == {}
    assert classify(log, tmp_path / "out", workers=1).kept == 0
    assert len(read(tmp_path / "out")) == 400


def test_a_file_that_vanished_before_it_is_published_ends_the_run(log, tmp_path, monkeypatch):
    publish = Output.publish

    def clear_first(output, *args):
        shutil.rmtree(tmp_path / "out/_partial")
        publish(output, *args)

    monkeypatch.setattr(Output, "publish", clear_first)
    with pytest.raises(BatchError, match="cannot be written: No such file"):
        classify(log, tmp_path / "out", workers=1)
    assert read_manifest(tmp_path / "out") == []


def die(*args):
    raise KeyboardInterrupt


def die_before_math(output, *names, place=Output.place):
    """Die where the last file of a fragment would be moved to its place."""
    if names and names[0].startswith("predicted_route=math"):
        raise KeyboardInterrupt
    return place(output, *names)


@pytest.mark.parametrize(("step", "die"), [("place", die_before_math), ("record", die)])
def test_what_was_published_and_not_recorded_is_undone(
    step, die, log, tmp_path, router, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Output, step, die)
        with pytest.raises(KeyboardInterrupt):
            classify(log, out, workers=1, by="route")
    shown = set(out.glob("predicted_route=*/*"))
    assert shown
    assert read_manifest(out) == []
    other = Router.load(policy=Policy.of_labels(router.classifier.labels))
    with pytest.raises(BatchError, match="another policy"):
        classify(log, out, router=other, workers=1, by="route")
    assert set(out.glob("predicted_route=*/*")) == shown
    write_parquet(log, 120)
    found = classify(log, out, router=other, workers=1, by="route", overwrite=True)
    assert (found.rows, len(read(out))) == (120, 120)
    assert not list(out.rglob("*.begun"))
