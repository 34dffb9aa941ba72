import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_ml.request import CONTEXT_BYTES, TURN_BYTES, ModelText, model_text, read_request


def user(content):
    return {"role": "user", "content": content}


def test_last_user_turn_decides_and_the_rest_is_context():
    text = model_text(
        read_request([user("a"), {"role": "assistant", "content": "b"}, user("now prove it")])
    )
    assert text.turn == b"now prove it"
    assert text.context == b"b\na"


def test_tool_results_after_the_user_turn_do_not_decide():
    messages = [user("weather?"), {"role": "tool", "content": "12 C"}]
    assert model_text(read_request(messages)).turn == b"weather?"


@pytest.mark.parametrize(
    ("part", "image", "audio"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, True, False),
        ({"type": "input_image", "image_url": "data:image/png;base64,AA"}, True, False),
        ({"type": "input_audio", "input_audio": {"data": "AA"}}, False, True),
        ({"type": "file", "file": {"filename": "scan.PNG"}}, True, False),
        ({"type": "file", "file": {"filename": "contract.pdf"}}, False, False),
        ({"type": "surprise", "x": 1}, False, False),
    ],
)
def test_parts(part, image, audio):
    read = read_request([user([{"type": "text", "text": "hi"}, part])])
    assert (read.has_image, read.has_audio) == (image, audio)
    assert model_text(read).turn == b"hi"


def test_responses_payload():
    read = read_request(
        {
            "instructions": "Be brief.",
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "q"}],
                },
                {"type": "function_call_output", "output": "42"},
            ],
        }
    )
    text = model_text(read)
    assert text.turn == b"q"
    assert b"Be brief." in text.context


@pytest.mark.parametrize("bad", [None, 3, b"x", ["a"], {"model": "m"}, [None]])
def test_unreadable(bad):
    assert not read_request(bad).readable


@pytest.mark.parametrize("text", ["x" * 10_000_000, "中" * 5000, "é" * 1500])
def test_long_texts_are_bounded_and_their_ends_seen(text):
    cut = model_text(read_request("HEAD" + text + "TAIL"))
    assert cut.truncated
    assert len(cut.turn) <= TURN_BYTES
    assert cut.turn.startswith(b"HEAD")
    assert cut.turn.endswith(b"TAIL")


def test_the_middle_of_a_long_text_is_seen():
    text = "x" * 2000 + "QUESTION" * 20 + "x" * 2000
    assert b"QUESTION" in model_text(read_request(text)).turn


def test_context_is_bounded():
    messages = [user("y" * 5000) for _ in range(9)] + [user("z")]
    text = model_text(read_request(messages))
    assert len(text.context) <= CONTEXT_BYTES
    assert text.truncated


def test_truncated_counts_bytes():
    messages = [user("中" * 100), user("z")]
    text = model_text(read_request(messages))
    assert len(text.context) == CONTEXT_BYTES // 2
    assert text.truncated
    assert not model_text(read_request([user("中" * 64), user("z")])).truncated


def test_controls_and_surrogates():
    assert model_text(read_request("a\x00b\x1ec\ud800")).turn == b"a b c?"


@pytest.mark.parametrize(
    "blank", ["", " \n\t", "\u3000", "\xa0\u2003\u3000", "\x00", "\u3000" * 9999]
)
def test_white_space_of_any_script_says_nothing(blank):
    assert not model_text(read_request(blank)).says_something
    assert not model_text(read_request([user(blank), user(blank)])).says_something


@pytest.mark.parametrize("text", ["a", "中", " \u3000?", "?", "\u3000中"])
def test_anything_else_says_something(text):
    assert model_text(read_request(text)).says_something
    assert model_text(read_request([user(text), user(text)])).says_something


def test_half_a_character_says_nothing():
    assert not ModelText("中".encode()[:2]).says_something


class Message:
    """Like the openai client's `ChatCompletionMessage`."""

    def __init__(self, dump):
        self.model_dump = dump


def fail():
    raise ValueError("no dump")


def test_message_objects_are_read_like_dicts():
    answer = {"role": "assistant", "content": "b", "refusal": None}
    messages = [user("a"), Message(lambda: answer), user("c")]
    assert read_request(messages) == read_request([user("a"), answer, user("c")])
    assert read_request({"messages": messages}).readable


def test_a_message_of_the_openai_client():
    chat = pytest.importorskip("openai.types.chat")
    answer = chat.ChatCompletionMessage(role="assistant", content="b")
    turns = read_request([user("a"), answer]).turns
    assert turns == (("user", "a"), ("assistant", "b"))


@pytest.mark.parametrize("dump", [fail, lambda: "text", None])
def test_message_objects_that_cannot_be_read(dump):
    assert not read_request([user("a"), Message(dump)]).readable
    assert not read_request([user("a"), Message]).readable


def test_a_request_comes_back_as_it_is():
    read = read_request([user("a")])
    assert read_request(read) is read


def tool_results(depth, inner):
    for _ in range(depth):
        inner = {"type": "tool_result", "content": [inner]}
    return [user([inner])]


def test_tool_results_are_read_to_a_depth():
    said = {"type": "text", "text": "hi"}
    assert model_text(read_request(tool_results(32, said))).turn == b"hi"
    assert model_text(read_request(tool_results(33, said))).turn == b""
    assert read_request(tool_results(50_000, said)).readable


def test_deeply_nested_types():
    kind = []
    for _ in range(50_000):
        kind = [kind]
    assert read_request([{"type": kind, "content": [{"type": kind, "text": "hi"}]}]).readable


_TEXTS = ("text", "input_text", "refusal")
_OTHERS = ("image_url", "input_image", "input_audio", "file", "input_file", "tool_result")
_KINDS = (*_TEXTS, *_OTHERS, "message", "function_call_output", "surprise")
_FIELDS = ("type", "role", "content", "output", "text", "file", "messages", "input", "prompt")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ODD = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_FIELDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
PARTS = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(_KINDS) | ODD,
            "content": st.lists(PARTS, max_size=2) | ODD,
            **dict.fromkeys(("text", "file", "image_url", "refusal"), ODD),
        },
    )
)
MESSAGES = st.fixed_dictionaries(
    {"content": st.lists(PARTS | ODD, max_size=3) | ODD},
    optional={
        "role": st.sampled_from(["user", "system", "tool", "assistant"]) | ODD,
        "output": st.lists(PARTS, max_size=2) | ODD,
        "type": st.sampled_from(_KINDS) | ODD,
    },
)
THREADS = st.lists(MESSAGES, max_size=3)
REQUESTS = THREADS | st.fixed_dictionaries({"input": THREADS | ODD}) | st.lists(ODD) | ODD


@settings(max_examples=300, deadline=None)
@given(request_=REQUESTS)
def test_routing_is_total(router, request_):
    routes = {rule.route for rule in router.policy.rules}
    assert router.route(request_).route in routes
