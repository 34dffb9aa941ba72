import json
import os
import platform
import shutil

import msgspec
import pytest
from batches import files, read, write_parquet

from router_ml import Router
from router_ml.batch import classify
from router_ml.batch.manifest import Holder, Output
from router_ml.errors import BatchError
from router_ml.policy import Policy


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


def test_a_run_that_lost_its_lock_publishes_nothing(log, tmp_path, tiny_fragments):
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
