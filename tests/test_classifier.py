"""The graph is run the short way where onnxruntime has one, and by its public method where not."""

from types import SimpleNamespace

from router_ml.artifact import MODEL, find_artifact
from router_ml.classifier import feed_bytes, new_session, runner
from router_ml.request import ModelText


def test_both_ways_of_running_a_graph_say_the_same():
    session = new_session(str(find_artifact(None) / MODEL), "the shipped graph")
    public = SimpleNamespace(run=session.run)
    for texts in ([ModelText(b"Prove it")], [ModelText(b"a poem", b"go on"), ModelText(b"7 * 6")]):
        feed = feed_bytes(texts)
        assert (runner(session)(feed) == runner(public)(feed)).all()
