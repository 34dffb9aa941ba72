import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_ml.dispatch.decision_log import DecisionLog, said_by
from router_ml.errors import DataError
from router_ml.logs import read_log
from router_ml.logs.scrubbing import make_scrub
from router_ml.request import read_request

scrub = make_scrub("US")


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("write to jo.doe+x@mail.example.co.uk, please", "write to [email], please"),
        ("call (650) 253-0000 or +44 20 7031 3000!", "call [phone] or [phone]!"),
        ("card 4111 1111 1111 1111, 5500-0055-5555-5559", "card [card], [card]"),
        ("use sk-proj-abcdefghij0123456789 here", "use [key] here"),
        ("AKIAIOSFODNN7EXAMPLE and ghp_" + "a1" * 18, "[key] and [key]"),
        ('{"api_key": "s3cr3t-value", "n": 1}', '{"api_key": [key]", "n": 1}'),
        ("password=hunter2!", "password=[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----", "[key]"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: [key]"),
    ],
)
def test_personal_data_and_secrets_are_replaced(text, scrubbed):
    assert scrub(text) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "Prove that 3.14159265358979 < 22/7 on 2024-01-02 at 10:20:30",
        "order 4111 1111 1111 1112 of 123456789",
        "my password is weak, and the token: a b",
        "a task-oriented ask-me-anything about skill_sets",
        "@decorator in x@y and 如何做红烧肉",
    ],
)
def test_other_words_and_numbers_stay(text):
    assert scrub(text) == text


@given(st.text(alphabet="a1@.- +[sk_=:token", max_size=200))
def test_scrubbing_again_finds_no_address(text):
    once = scrub(text)
    assert "@" not in once or scrub(once).count("[email]") == once.count("[email]")


def test_long_texts_take_time_in_proportion():
    for piece in ("a.", "1 ", "a@", "-----BEGIN ", "password", "eyJ", "é+"):
        scrub(piece * 50_000)


def test_a_log_is_scrubbed_before_anything_sees_it(tmp_path):
    (tmp_path / "log.jsonl").write_text(
        '{"request": {"messages": [{"role": "user", "content": [{"type": "text", "text": '
        '"I am a@b.com"}, {"type": "image_url", "image_url": {"url": "data:a@b.com"}}]}]}, '
        '"label": "x", "user": "a@b.com"}'
    )
    (row,) = read_log([tmp_path / "log.jsonl"], scrub="US")
    assert str(row.data).count("a@b.com") == 1
    assert row.data["messages"][0]["content"][0]["text"] == "I am [email]"
    assert row.data["label"] == "x"


def test_a_country_that_is_none():
    with pytest.raises(DataError, match="two letters"):
        make_scrub("USA")


def test_a_decision_log_is_scrubbed_before_it_is_written(tmp_path):
    log = DecisionLog(tmp_path / "log.jsonl", text=True, scrub="US")
    said = said_by(read_request("I am a@b.com, 650-253-0000"), log.scrub)
    log.close()
    assert said["messages"][0]["content"] == "I am [email], [phone]"
