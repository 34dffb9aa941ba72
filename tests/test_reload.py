import json
import logging
import os
import shutil
import threading
import time

import pytest

from router_ml import Reason, Router
from router_ml.artifact import find_artifact
from router_ml.catalog import SHIPPED_CATALOG
from router_ml.errors import ArtifactCorrupt, PolicyError
from router_ml.policy import SHIPPED_POLICY
from router_ml.reload import ReloadingRouter

PROOF = "Prove that √2 is irrational"
STICKY = '\n[sticky]\nroutes = ["math"]\n'
NEVER = 3600


@pytest.fixture
def files(tmp_path):
    """Copies of the shipped artifact, policy and catalog."""
    artifact = shutil.copytree(find_artifact(), tmp_path / "artifact")
    policy = shutil.copy(SHIPPED_POLICY, tmp_path / "policy.toml")
    catalog = shutil.copy(SHIPPED_CATALOG, tmp_path / "catalog.toml")
    return {"artifact": artifact, "policy": policy, "catalog": catalog}


@pytest.fixture
def following(files):
    """A router that looks only when told to."""
    with ReloadingRouter.load(**files, every_s=NEVER) as router:
        yield router


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    now = time.time_ns()  # however coarse the file system's clock is
    os.utime(path, ns=(now, now))


def look_until_rested(router):
    router.look()
    router.look()


def test_it_decides_as_the_router_it_is(following, router):
    for request in (PROOF, "", None, [{"role": "user", "content": "hi"}]):
        assert following.route(request) == router.route(request)
    assert following.route_many([PROOF]) == router.route_many([PROOF])
    assert isinstance(following, Router)
    assert following.catalog.baseline == "gpt-4o"


def test_a_changed_policy_is_taken_up_once_it_rests(following, files, caplog):
    caplog.set_level(logging.INFO, "router_ml.reload")
    edit(files["policy"], "moonshot-k2.5", "glm-5")
    following.look()
    assert following.route(PROOF).model == "moonshot-k2.5"
    following.look()
    assert following.route(PROOF).model == "glm-5"
    following.look()
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert str(files["policy"]) in caplog.text


def test_a_changed_price_moves_the_traffic(files):
    edit(files["policy"], 'models = ["moonshot-k2.5", "deepseek-r1"]', 'choose = "cheapest"')
    with ReloadingRouter.load(**files, every_s=NEVER) as following:
        assert following.route(PROOF).model == "Qwen/Qwen3-8B"
        edit(files["catalog"], "output_price = 10.00", "output_price = 0.001")
        look_until_rested(following)
        assert following.route(PROOF).model == "gpt-4o"


@pytest.mark.parametrize("broken", ["policy", "catalog", "artifact", "gone"])
def test_what_cannot_be_used_is_refused_once(following, files, caplog, broken):
    if broken == "artifact":
        model = files["artifact"] / "model.onnx"
        model.write_bytes(model.read_bytes()[:-1])
    elif broken == "gone":
        files["policy"].unlink()
    else:
        edit(files[broken], "schema_version = 1", "schema_version = 2")
    before = following.route(PROOF)
    for _ in range(4):
        following.look()
    assert following.route(PROOF) == before
    (record,) = caplog.records
    assert "the old ones stay" in record.message
    assert {"policy": "policy.toml", "catalog": "catalog.toml", "artifact": "model.onnx"}.get(
        broken, "cannot be read"
    ) in record.message


def test_files_are_found_after_the_process_moved(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ReloadingRouter.load("artifact", policy="policy.toml", every_s=NEVER) as following:
        monkeypatch.chdir("/")
        edit(files["policy"], "moonshot-k2.5", "glm-5")
        look_until_rested(following)
        assert following.route(PROOF).model == "glm-5"


def test_a_repaired_file_is_taken_up(following, files):
    edit(files["policy"], "moonshot-k2.5", "gpt-0")
    look_until_rested(following)
    assert following.route(PROOF).model == "moonshot-k2.5"
    edit(files["policy"], "gpt-0", "glm-5")
    look_until_rested(following)
    assert following.route(PROOF).model == "glm-5"


def test_another_artifact_is_taken_up(following, files):
    config = files["artifact"] / "config.json"
    content = json.loads(config.read_text())
    content["thresholds"] = dict.fromkeys(content["thresholds"], 1.0)
    config.write_text(json.dumps(content))
    look_until_rested(following)
    assert following.route(PROOF).route == "general"


def test_a_graph_that_answers_otherwise_is_not_taken_up(files):
    golden = files["artifact"] / "golden.jsonl"
    row = json.loads(golden.read_text().splitlines()[0])
    row["probabilities"][0] = 1 - row["probabilities"][0]
    golden.write_text(json.dumps(row))
    config = files["artifact"] / "config.json"
    content = json.loads(config.read_text())
    content["files"].pop("golden.jsonl", None)
    config.write_text(json.dumps(content))
    with pytest.raises(ArtifactCorrupt, match="golden rows"):
        ReloadingRouter.load(**files)


def test_a_bad_file_at_the_start_leaves_no_thread(files):
    edit(files["policy"], "moonshot-k2.5", "gpt-0")
    before = threading.active_count()
    with pytest.raises(PolicyError, match="gpt-0"):
        ReloadingRouter.load(**files)
    assert threading.active_count() == before


def test_conversations_outlive_a_reload(files):
    files["policy"].write_text(files["policy"].read_text() + STICKY)
    with ReloadingRouter.load(**files, every_s=NEVER) as following:
        assert following.route(PROOF, conversation="a").route == "math"
        edit(files["policy"], "moonshot-k2.5", "glm-5")
        look_until_rested(following)
        decision = following.route("hello there", conversation="a")
        assert (decision.model, decision.reason) == ("glm-5", Reason.STICKY)
        edit(files["policy"], STICKY, "\n")
        look_until_rested(following)
        assert following.route("hello there", conversation="a").route == "general"


def test_a_look_that_fails_is_not_the_last(files, monkeypatch, caplog):
    looked = []
    again = threading.Event()

    def look(router):
        looked.append(router)
        if len(looked) == 1:
            raise RuntimeError("a file system that is gone")
        again.set()

    monkeypatch.setattr(ReloadingRouter, "look", look)
    with ReloadingRouter.load(**files, every_s=0.01):
        assert again.wait(30)
    assert "a file system that is gone" in caplog.text


def test_requests_never_wait_nor_fail_while_files_change(files):
    """Threads decide without a pause while the policy flips; each answer is one of the two."""
    before = threading.active_count()
    seen, failures, stop = set(), [], threading.Event()

    def ask(router):
        while not stop.is_set():
            try:
                decision = router.route(PROOF)
                seen.add((decision.model, decision.fallbacks))
            except Exception as error:
                failures.append(error)

    first = ("moonshot-k2.5", ("deepseek-r1",))
    second = ("glm-5", ("deepseek-v4-pro",))
    with ReloadingRouter.load(**files, every_s=0.01) as following:
        threads = [threading.Thread(target=ask, args=(following,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        edit(files["policy"], '["moonshot-k2.5", "deepseek-r1"]', '["glm-5", "deepseek-v4-pro"]')
        deadline = time.monotonic() + 60
        while second not in seen and time.monotonic() < deadline:
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert seen == {first, second}
    assert threading.active_count() == before


def test_closed_it_still_decides_and_closes_twice(files):
    router = ReloadingRouter.load(**files, every_s=0.01)
    router.close()
    router.close()
    assert router.route(PROOF).route == "math"
    assert not [t for t in threading.enumerate() if t.name == "router-ml reload"]
