"""The graph sums the table's rows that numpy says, over the segments that numpy says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_ml.classifier import feed_bytes, new_session
from router_ml.request import CLEAN, ModelText
from router_ml.training.byte_ngrams import Ngrams, bags, graph

TABLE = np.random.default_rng(4).integers(-127, 128, (1 << 12, 8), np.int8)
NGRAMS = {
    "as shipped": Ngrams.make((2, 3, 4, 6), 12, seed=1, shapes=(4, 8)),
    "of the turn and its context": Ngrams.make((2, 3), 12, seed=2, edges=(), before=1),
    "of one order, at three scales": Ngrams.make((3,), 12, seed=3, edges=(1, 24, 400)),
}
MEMBERS = (1, 2)


def session(ngrams, **options):
    return new_session(graph(ngrams, TABLE, **options).SerializeToString(), "the graph")


@pytest.fixture(scope="module")
def graphs():
    return [(n, m, session(n, members=m)) for n in NGRAMS.values() for m in MEMBERS]


def sums_of(texts, ngrams):
    """Return the sums over each segment, [texts, segments, columns], and no graph."""
    pairs = [(text.turn or (b"" if text.context else b" "), text.context) for text in texts]
    found = bags(pairs, ngrams)
    rows = TABLE.astype(np.int64)[found.ids].sum(axis=1)
    bounds = [*found.starts, len(rows)]
    sums = np.array([rows[start:end].sum(axis=0) for start, end in pairwise(bounds)])
    return sums.reshape(len(texts), ngrams.segments, -1)


def unit(sums, members):
    """Bring each member's part of each sum to length 1; a sum of nothing has none."""
    parts = sums.reshape(*sums.shape[:2], members, -1)
    lengths = np.linalg.norm(parts, axis=-1, keepdims=True)
    return (parts / np.where(lengths, lengths, 1)).reshape(len(sums), -1)


def run(served, texts):
    return served.run(None, feed_bytes(texts))[0]


sizes = st.sampled_from([1, 23, 24, 25, 127, 128, 129, 400, 401])  # about the edges
parts = st.one_of(
    st.binary(max_size=200).map(lambda data: data.translate(CLEAN)),
    sizes.map(lambda size: (b"a1 Z" * size)[:size]),
)


@settings(deadline=None)
@given(texts=st.lists(st.builds(ModelText, turn=parts, context=parts), min_size=1, max_size=5))
def test_any_texts_are_pooled_as_numpy_does(graphs, texts):
    for ngrams, members, served in graphs:
        expected = unit(sums_of(texts, ngrams), members)
        np.testing.assert_allclose(run(served, texts), expected, atol=1e-6)


def test_texts_of_the_greatest_length_and_of_the_least_in_one_batch(graphs):
    longest = (1 << 15) - 1
    turn = b"wx yz" * longest
    texts = [
        ModelText(turn[:longest]),
        ModelText(b"a"),
        ModelText(b"b", turn[: longest - 2]),
        ModelText(b"", b"c"),
    ]
    for ngrams, members, served in graphs:
        expected = unit(sums_of(texts, ngrams), members)
        np.testing.assert_allclose(run(served, texts), expected, atol=1e-5)


def test_a_row_of_zeros_is_no_text(graphs):
    for _, _, served in graphs:
        assert not served.run(None, {"bytes": np.zeros((2, 1, 300), np.uint8)})[0].any()


def test_lengths_that_the_table_gives():
    ngrams, scale = NGRAMS["as shipped"], np.linspace(0.01, 0.02, 8, dtype=np.float32)
    texts = [ModelText(b"an invoice"), ModelText(b"go on", b"a clause" * 20)]
    sums = sums_of(texts, ngrams) * scale
    expected = sums[:, :, :-1] / np.sqrt(np.maximum(sums[:, :, -1:], 1))
    found = run(session(ngrams, scale=scale), texts)
    np.testing.assert_allclose(found, expected.reshape(len(texts), -1), rtol=1e-4, atol=1e-6)
