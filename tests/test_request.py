import pytest

from router_ml.request import CONTEXT_BYTES, TURN_BYTES, model_text, read_request


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


def test_controls_and_surrogates():
    assert model_text(read_request("a\x00b\x1ec\ud800")).turn == b"a b c?"
