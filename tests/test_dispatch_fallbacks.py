"""The client against a provider that fails in every way: who is asked next, and when."""

import asyncio
import time
from threading import Thread

import openai
import pytest
from faces import FIRST, MATHS, SECOND, AsyncFace, chat, http, respond, tried

from router_ml import RouterMLError
from router_ml.dispatch import AllAttemptsFailed, RoutedOpenAI

CURABLE = {
    "drop": "APIConnectionError",
    "hang": "APITimeoutError",
    "slow=5": "APITimeoutError",
    "drip": "APITimeoutError",
    "drip-head": "APITimeoutError",
    "malformed": "JSONDecodeError",
    "html": "JSONDecodeError",
    "error": "APIError",
    "404": "NotFoundError 404",
    "408": "APIStatusError 408",
    "409": "ConflictError 409",
    "413": "APIStatusError 413",
    "415": "APIStatusError 415",
    "429": "RateLimitError 429",
    "500": "InternalServerError 500",
    "503 retry-after=1": "InternalServerError 503",
    "400 code=context_length_exceeded": "BadRequestError 400",
    "400 message=image_url:unsupported": "BadRequestError 400",
    "403 code=model_not_found": "PermissionDeniedError 403",
}
FINAL = {
    "400": openai.BadRequestError,
    "401": openai.AuthenticationError,
    "403": openai.PermissionDeniedError,
    "422": openai.UnprocessableEntityError,
}
SILENT = {
    "drop": "APIConnectionError",
    "hang": "APITimeoutError",
    "drip": "APITimeoutError",
    "drip-head": "APITimeoutError",
    "cut-head": "APIConnectionError",
    "malformed": "JSONDecodeError",
    "error-event": "APIError",
    "html": "APIConnectionError",
    "429": "RateLimitError 429",
    "500": "InternalServerError 500",
}


@pytest.fixture
def face(make_face):
    return make_face(attempt_timeout_s=1.5)  # what answers at once may take a busy machine one


@pytest.mark.parametrize("ask", [chat, respond])
@pytest.mark.parametrize("fault", CURABLE)
def test_what_another_model_can_cure_moves_on(face, provider, fault, ask):
    provider.faults[FIRST] = [fault]
    answer = ask(face)
    assert tried(answer) == [(FIRST, CURABLE[fault]), (SECOND, None)]
    assert answer.model == answer.routing.model == SECOND
    assert provider.models() == [FIRST, SECOND]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", FINAL)
def test_what_none_can_cure_is_raised_at_once(face, provider, fault, stream):
    provider.faults[FIRST] = [fault]
    with pytest.raises(FINAL[fault]):
        chat(face, stream=stream)
    assert provider.models() == [FIRST]


@pytest.mark.parametrize("ask", [chat, respond])
@pytest.mark.parametrize("fault", SILENT)
def test_a_stream_that_fails_before_its_first_token_falls_back(face, provider, fault, ask):
    provider.faults[FIRST] = [fault]
    stream = ask(face, stream=True)
    chunks, error = face.read(stream)
    assert error is None
    assert tried(stream) == [(FIRST, SILENT[fault]), (SECOND, None)]
    assert FIRST not in str(chunks)


@pytest.mark.parametrize("ask", [chat, respond])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("cut", openai.APIConnectionError), ("late-error-event", openai.APIError)],
)
def test_a_stream_that_fails_after_it_is_raised(face, provider, ask, fault, kind):
    provider.faults[FIRST] = [fault]
    stream = ask(face, stream=True)
    chunks, error = face.read(stream)
    assert type(error) is kind
    assert "I " in str(chunks)
    assert stream.routing.error == kind.__name__
    assert provider.models() == [FIRST]


def test_when_every_attempt_failed_one_error_holds_them_all(face, provider):
    provider.faults[FIRST], provider.faults[SECOND] = ["500", "*"], ["404", "*"]
    with pytest.raises(AllAttemptsFailed) as raised:
        chat(face)
    error = raised.value
    assert isinstance(error, openai.APIError)
    assert isinstance(error, RouterMLError)
    assert [one.model for one in error.attempts] == [FIRST, SECOND, FIRST, FIRST]
    kinds = [openai.InternalServerError, openai.NotFoundError, *[openai.InternalServerError] * 2]
    assert list(map(type, error.errors)) == kinds
    assert f"{SECOND}: NotFoundError 404" in str(error)
    assert error.__cause__ is error.errors[-1]
    assert error.request.url.path == "/v1/chat/completions"


def test_nobody_listens(make_face):
    face = make_face(url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(AllAttemptsFailed) as raised:
        chat(face)
    assert list(map(type, raised.value.errors)) == [openai.APIConnectionError] * 2


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_added_and_do_not_multiply(make_face, provider, retries):
    provider.faults[FIRST] = provider.faults[SECOND] = ["500", "*"]
    face = make_face(max_retries=retries)
    with pytest.raises(AllAttemptsFailed):
        chat(face)
    assert len(provider.received) == 2 + retries


def test_a_retry_can_save_a_request(make_face, provider):
    provider.faults[FIRST], provider.faults[SECOND] = ["500"], ["500"]
    answer = chat(make_face(max_retries=1))
    assert len(answer.routing.attempts) == 3
    assert answer.routing.attempts[-1].error is None


def test_a_model_told_to_wait_is_left_alone_that_long(face, provider):
    provider.faults[FIRST] = ["429 retry-after=1.2"]
    assert tried(chat(face)) == [(FIRST, "RateLimitError 429"), (SECOND, None)]
    assert tried(chat(face)) == [(SECOND, None)]
    time.sleep(1.2)
    assert tried(chat(face)) == [(FIRST, None)]


def test_when_all_are_told_to_wait_the_soonest_is_waited_for(face, provider):
    provider.faults[FIRST] = ["429 retry-after=5"]
    provider.faults[SECOND] = ["503 retry-after=0.7"]
    began = time.monotonic()
    answer = chat(face)
    assert [model for model, _ in tried(answer)] == [FIRST, SECOND, SECOND]
    assert 0.7 <= time.monotonic() - began < 4


def test_but_not_beyond_the_deadline(face, provider):
    provider.faults[FIRST], provider.faults[SECOND] = ["429 retry-after=5"], ["429 retry-after=5"]
    began = time.monotonic()
    with pytest.raises(AllAttemptsFailed):
        chat(face, timeout=1)
    with pytest.raises(AllAttemptsFailed, match="asks to be left alone"):
        chat(face, timeout=1)
    assert time.monotonic() - began < 0.9
    assert len(provider.received) == 2


@pytest.mark.parametrize("fault", ["hang", "drip", "drip-head", "slow=5"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_attempt_outlives_the_deadline(make_face, provider, fault, stream):
    provider.faults[FIRST] = provider.faults[SECOND] = [fault, "*"]
    face = make_face()
    chat(face, model=FIRST + "!")  # so that a connection is open, and reused
    began = time.monotonic()
    with pytest.raises(AllAttemptsFailed, match="before the deadline") as raised:
        chat(face, timeout=0.5, stream=stream)
    assert 0.45 < time.monotonic() - began < 2
    assert len(raised.value.attempts) == 1


def test_time_spent_waiting_for_a_connection_counts(provider, router):
    """Of one connection, which another request holds for most of the time there is."""
    provider.faults[FIRST + "!"], provider.faults[FIRST] = ["slow=0.4"], ["drip-head"]
    own = http.Client(limits=http.Limits(max_connections=1, max_keepalive_connections=0))
    with RoutedOpenAI(
        base_url=provider.url, api_key="k", router=router, http_client=own, max_retries=0
    ) as client:
        create = client.chat.completions.create
        messages = [{"role": "user", "content": MATHS}]
        other = Thread(target=create, kwargs={"model": FIRST + "!", "messages": messages})
        other.start()
        while not provider.received:
            time.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(AllAttemptsFailed, match="deadline"):
            create(model="auto", messages=messages, timeout=0.6)
        assert 0.55 < time.monotonic() - began < 2
        other.join()


def test_what_is_left_of_the_deadline_is_the_next_attempt_s(make_face, provider):
    provider.faults[FIRST] = provider.faults[SECOND] = ["drip", "*"]
    face = make_face(attempt_timeout_s=0.5)
    with pytest.raises(AllAttemptsFailed) as raised:
        chat(face, timeout=0.8)
    first, second = (attempt.duration_s for attempt in raised.value.attempts)
    assert first > 0.45
    assert 0.1 < second < first


@pytest.mark.parametrize("ask", [chat, respond])
def test_the_deadline_bounds_a_stream_after_its_first_token(make_face, provider, ask):
    provider.faults[FIRST] = ["stall"]
    face = make_face()
    began = time.monotonic()
    stream = ask(face, stream=True, timeout=0.5)
    chunks, error = face.read(stream)
    assert 0.45 < time.monotonic() - began < 2
    assert isinstance(error, openai.APITimeoutError)
    assert "I " in str(chunks)
    assert stream.routing.error == "APITimeoutError"
    assert provider.models() == [FIRST]


@pytest.mark.parametrize("ask", [chat, respond])
def test_an_attempt_s_time_is_only_for_its_first_token(face, provider, ask):
    provider.faults[FIRST] = ["stall=0.8"]
    chunks, error = face.read(ask(face, stream=True))
    assert error is None
    assert "am " in str(chunks)


def test_cancelling_a_task_ends_its_attempt(make_face, provider):
    face = make_face()
    if isinstance(face, AsyncFace):
        provider.faults[FIRST] = ["hang"]

        async def give_up():
            asked = face.client.responses.create(model="auto", input=MATHS)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked, 0.2)

        face.run(give_up())
    assert tried(chat(face)) == [(FIRST, None)]
    assert SECOND not in provider.models()


def test_the_client_s_own_timeout_bounds_every_call(make_face, provider):
    provider.faults[FIRST] = ["hang", "*"]
    face = make_face(timeout=0.3)
    with pytest.raises(AllAttemptsFailed, match="deadline"):
        chat(face)


def test_a_timeout_of_phases_is_no_deadline(make_face, provider):
    provider.faults[FIRST] = provider.faults[SECOND] = ["drip", "hang"]
    face = make_face(attempt_timeout_s=0.3, max_retries=0)
    with pytest.raises(AllAttemptsFailed, match="2 attempts"):
        chat(face, timeout=openai.Timeout(5, read=0.2))


def test_a_model_that_keeps_failing_is_passed_over(face, provider):
    provider.faults[FIRST] = ["500"] * 5
    for _ in range(5):
        assert len(tried(chat(face))) == 2
    assert tried(chat(face)) == [(SECOND, None)]


def test_but_tried_rather_than_nobody(face, provider):
    provider.faults[FIRST] = ["500"] * 5
    for _ in range(5):
        chat(face)
    provider.faults[SECOND] = ["404"]
    assert tried(chat(face)) == [(SECOND, "NotFoundError 404"), (FIRST, None)]


def test_concurrent_requests_share_a_circuit(face, provider):
    provider.faults[FIRST] = ["500"] * 20
    messages = [{"role": "user", "content": MATHS}]
    create = face.client.chat.completions.create
    answers = face.many(lambda _: create(model="auto", messages=messages), 20)
    assert {answer.model for answer in answers} <= {FIRST, SECOND}
    assert tried(chat(face)) == [(SECOND, None)]
