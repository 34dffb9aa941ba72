import json

import pytest
from faces import FIRST, MATHS, chat, text_of
from hypothesis import given
from hypothesis import strategies as st

from router_ml.dispatch.routing import usage_of
from router_ml.dispatch.streams import _Data, says_something


def chunk(**delta):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (chunk(role="assistant"), False),
        (chunk(role="assistant", content="", refusal=None), False),
        (chunk(content="a"), True),
        (chunk(tool_calls=[{"index": 0}]), True),
        (chunk(reasoning_content="hm"), True),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, True),
        ({"choices": []}, False),
        ({"choices": [], "usage": {}}, True),
        ({"choices": "?"}, False),
        ({"type": "response.created"}, False),
        ({"type": "response.output_item.added"}, False),
        ({"type": "response.output_text.delta"}, True),
        ({"type": "response.something.new"}, True),
        ({}, False),
    ],
)
def test_what_says_something(event, says):
    assert says_something(event) is says


@given(
    payloads=st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)),
    end=st.sampled_from([b"\n", b"\r\n"]),
    size=st.integers(1, 50),
)
def test_events_are_the_same_however_they_are_cut(payloads, end, size):
    said = [json.dumps(payload).encode() for payload in payloads]
    sent = b"".join(b": wait" + end + b"event: e" + end + b"data: " + one + end * 2 for one in said)
    data = _Data()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert [found for piece in pieces for found in data.feed(piece)] == said


@pytest.mark.parametrize(
    "answer",
    [None, {}, [], "x", {"usage": None}, {"usage": {"prompt_tokens": "9", "completion_tokens": 1}}],
)
def test_usage_that_is_not_said(answer):
    assert usage_of(answer) is None


def test_usage_that_says_nothing_of_a_cache():
    usage = usage_of({"usage": {"prompt_tokens": 9, "completion_tokens": 1}})
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == (9, 1, 0)


def test_nothing_is_sent_twice_however_a_stream_is_drained(face, provider):
    for _ in range(3):
        stream = chat(face, stream=True)
        chunks, _ = face.read(stream)
        assert len(chunks) == 5
        assert face.read(stream) == ([], None)
    assert provider.models() == [FIRST] * 3


def test_reading_the_time_elapsed(face):
    stream = chat(face, stream=True, messages=[{"role": "user", "content": MATHS}])
    face.read(stream)
    assert stream.response.elapsed.total_seconds() > 0


def test_streams_are_asked_for_uncompressed(face, provider):
    face.read(chat(face, stream=True))
    face.read(chat(face, stream=True, extra_headers={"Accept-Encoding": "gzip", "x-a": "b"}))
    chat(face)
    asked = [one.headers["accept-encoding"] for one in provider.received]
    assert asked[:2] == ["identity", "gzip"]
    assert "gzip" in asked[2]


def test_a_compressed_stream_is_handed_on_all_the_same(face, provider):
    provider.faults[FIRST] = ["compressed"]
    stream = chat(face, stream=True)
    chunks, error = face.read(stream)
    assert (text_of(chunks), error) == (f"I am {FIRST}", None)
    assert stream.routing.usage is None
