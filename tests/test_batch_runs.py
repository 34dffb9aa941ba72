import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pyarrow as pa
import pytest
from batches import files, prompts, read, same_as_routed, write_lines, write_parquet
from pyarrow import parquet

from router_ml import Router
from router_ml.batch import LocalEngine, classify
from router_ml.errors import BatchError
from router_ml.policy import Policy

KILLED = """
import sys
from router_ml.batch import classify, fragments
if __name__ == "__main__":
    fragments.FRAGMENT_BYTES = 3000
    said = lambda run: print(run.done, flush=True)
    classify(sys.argv[1], sys.argv[2], workers=2, by="route", done=said)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path, tiny_fragments, router):
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
    passing = {name for name in before if "_partial" in name or name.endswith((".lock", ".part"))}
    assert before - passing <= set(files(tmp_path / "out"))
    classify(log, tmp_path / "whole", workers=1, by="route")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    same_as_routed(read(tmp_path / "out")[:200], prompts(200), router)


def test_workers_killed_at_random_lose_and_repeat_nothing(tmp_path, tiny_fragments):
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


def test_a_changed_input_replaces_its_output(tmp_path, tiny_fragments):
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
