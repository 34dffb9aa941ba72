"""The graph is run the short way where onnxruntime has one, and by its public method where not."""

from threading import current_thread
from types import SimpleNamespace

import numpy as np
import pytest

from router_ml.artifact import MODEL, find_artifact
from router_ml.classifier import BATCH_BYTES, feed_bytes, new_session, run_batches, runner
from router_ml.request import ModelText


def test_both_ways_of_running_a_graph_say_the_same():
    session = new_session(str(find_artifact(None) / MODEL), "the shipped graph")
    public = SimpleNamespace(run=session.run)
    for texts in ([ModelText(b"Prove it")], [ModelText(b"a poem", b"go on"), ModelText(b"7 * 6")]):
        feed = feed_bytes(texts)
        assert (runner(session)(feed) == runner(public)(feed)).all()


@pytest.mark.parametrize(
    ("count", "parallel", "threads"),
    [(256, True, False), (2_000, True, True), (2_000, False, False)],
)
def test_threads_are_started_by_the_amount_of_work(count, parallel, threads):
    texts = [ModelText(b"x" * 60) for _ in range(count)]
    ran_in = []

    def run(some):
        ran_in.append(current_thread().name)
        return np.full((len(some), 1), len(some), np.float32)

    found = run_batches(run, texts, 1, most=BATCH_BYTES["tokens"], parallel=parallel)
    assert found.min() == found.max() == 8
    assert len(ran_in) == count / 8
    assert (current_thread().name not in ran_in) is threads
