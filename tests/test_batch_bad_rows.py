import gzip
import json
import subprocess
import sys

import pyarrow as pa
import pytest
from batches import read, write_parquet
from pyarrow import parquet
from typer.testing import CliRunner

from router_ml.batch import classify, cut, reading
from router_ml.cli import app
from router_ml.errors import BatchError, DataError


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


def test_a_truncated_file_is_one_sentence(log, tmp_path):
    cut_short = tmp_path / "short.parquet"
    cut_short.write_bytes(log.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"short\.parquet: cannot be read as Parquet"):
        classify([log, cut_short], tmp_path / "out", workers=1)
    packed = gzip.compress(b'{"prompt": "hi"}\n' * 1000)
    (tmp_path / "short.jsonl.gz").write_bytes(packed[:-20])
    with pytest.raises(DataError, match=r"short\.jsonl\.gz: the gzip stream is broken"):
        classify(tmp_path / "short.jsonl.gz", tmp_path / "out", workers=1)


def test_a_broken_page_leaves_finished_work_intact(tmp_path, tiny_fragments):
    log = write_parquet(tmp_path / "log.parquet", 400, row_group_size=50, compression="gzip")
    data = bytearray(log.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    (tmp_path / "broken.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"broken\.parquet: cannot be read as Parquet"):
        classify([log, tmp_path / "broken.parquet"], tmp_path / "out", workers=1)
    assert len(read(tmp_path / "out")) >= 400
    assert classify(log, tmp_path / "out", workers=1).new_rows == 0


def test_a_vanished_file_is_one_sentence(tmp_path, tiny_fragments):
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
