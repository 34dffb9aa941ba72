import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_ml.chat import read_chat
from router_ml.request import Turn, model_text, read_request

PROOF = "Prove that the sum of two odd integers is even."


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def deciding(*messages):
    return model_text(read_chat(list(messages))).turn.decode()


def returned(content):
    return {"type": "tool_result", "tool_use_id": "t", "content": content}


def test_what_a_tool_returned_is_no_turn_of_the_users():
    messages = [user("Name my bakery"), assistant(None), user([returned(PROOF)])]
    read = read_chat(messages)
    assert [turn.role for turn in read.turns] == ["user", "assistant", "tool", "user"]
    assert deciding(*messages) == "Name my bakery"
    assert deciding(user([returned(PROOF), {"type": "text", "text": "Thanks"}])) == "Thanks"


def test_an_image_that_a_tool_returned_is_an_image():
    image = {"type": "image", "source": {"type": "base64", "data": "AA"}}
    assert read_chat([user([returned([image])])]).has_image


@pytest.mark.parametrize(
    "content",
    [
        f"<system-reminder>{PROOF}</system-reminder>\nName my bakery",
        f"Name my bakery<user_instructions>a\n{PROOF}</user_instructions>",
        [{"type": "text", "text": f"<system-reminder>{PROOF}</system-reminder>Name my bakery"}],
    ],
)
def test_reminders_around_the_users_words_are_taken_away(content):
    assert deciding(user(content)).strip() == "Name my bakery"


@pytest.mark.parametrize(
    "text",
    ["<system-reminder> has no end </b>", "</system-reminder>", "<b>bold</b>", "a < b </"],
)
def test_what_is_no_whole_reminder_stays(text):
    assert deciding(user(text)) == text


def test_a_turn_that_is_all_reminder_does_not_decide():
    assert deciding(user(PROOF), user("<system-reminder>x</system-reminder>")) == PROOF


@pytest.mark.parametrize("word", ["yes", "Continue.", "继续", "好的。", " ok!\n", "Sí"])
def test_an_assent_leaves_the_decision_to_what_it_assents_to(word):
    assert deciding(user(PROOF), assistant("Formally?"), user(word)) == PROOF
    assert deciding(user(PROOF), user("yes"), assistant("More?"), user(word)) == PROOF


def test_an_assent_to_nothing_is_all_there_is():
    assert deciding(user("yes")) == "yes"
    assert deciding(assistant("Hello?"), user("yes")) == "yes"
    assert deciding(user(PROOF), user("Yes, and name my bakery")) == "Yes, and name my bakery"


def test_the_system_of_the_messages_api_is_read():
    blocks = [{"type": "text", "text": "Be brief."}]
    for system in ("Be brief.", blocks):
        read = read_chat({"system": system, "messages": [user("hi")]})
        assert read.turns == (Turn("system", "Be brief."), Turn("user", "hi"))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "messages", "input", "system"]),
            inner | st.sampled_from(["user", "tool_result", "text"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(json)
def test_it_reads_whatever_the_request_reader_reads(request):
    plain, chat = read_request(request), read_chat(request)
    assert chat.readable == plain.readable
    assert (chat.has_image, chat.has_audio) == (plain.has_image, plain.has_audio)


def test_the_time_is_linear_in_unclosed_reminders():
    text = "<system-reminder>" * 50_000 + "</"
    started = time.perf_counter()
    assert read_chat([user(text)]).turns[0].text == text
    assert time.perf_counter() - started < 1
