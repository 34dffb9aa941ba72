import json

import pytest
from batches import files

from router_ml.batch import classify, cut, fragments, reading
from router_ml.errors import BatchError, DataError


def test_lines_are_cut_where_they_begin(tmp_path, monkeypatch):
    lines = [json.dumps({"prompt": "x" * (n % 7), "id": n}) for n in range(200)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    for size in (1, 17, 100, 1000):
        monkeypatch.setattr(fragments, "FRAGMENT_BYTES", size)
        rows = [row for part in cut(tmp_path / "log.jsonl") for row in reading.read_rows(part)]
        assert [row.data["id"] for row in rows] == list(range(200))
        text = (tmp_path / "log.jsonl").read_bytes()
        assert all(text[row.number :].startswith(b'{"prompt"') for row in rows)


def test_a_file_that_is_named_twice_is_cut_once(log, tmp_path, tiny_fragments):
    found = cut(log, tmp_path, f"file://{tmp_path}/*.parquet")
    assert [part.fingerprint for part in found] == [part.fingerprint for part in cut(log)]


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
