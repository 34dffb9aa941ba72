import gzip
import json

import pyarrow as pa
import pytest
from batches import MESSAGES, read, write_lines
from pyarrow import parquet

from router_ml.batch import classify, classifying, cut, reading
from router_ml.errors import DataError


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


def test_a_column_that_is_predicted_is_refused(tmp_path):
    table = pa.table({"prompt": ["hi"], "predicted_route": ["x"]})
    parquet.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DataError, match="has a column 'predicted_route' already"):
        classify(tmp_path / "log.parquet", tmp_path / "out", workers=1)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["prompt", "prompt"])
    parquet.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DataError, match="has a column 'prompt' already"):
        classify(tmp_path / "log.parquet", tmp_path / "out", workers=1)
