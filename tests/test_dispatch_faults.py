import time
from email.utils import formatdate
from json import JSONDecodeError

import openai
import pytest
from faces import http

from router_ml.dispatch.faults import LONGEST_S, Fault, fault_of, name_of, retry_after_s

REQUEST = http.Request("POST", "http://x/v1/chat/completions")


def status_error(status, message="", headers=None, **body):
    response = http.Response(status, request=REQUEST, headers=headers)
    return openai.APIStatusError(message, response=response, body={"message": message, **body})


def in_stream(**body):
    return openai.APIError("in a stream", REQUEST, body=body)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (status_error(401), Fault.CALLER),
        (status_error(400, "Invalid value for temperature"), Fault.CALLER),
        (status_error(402), Fault.CALLER),
        (status_error(429), Fault.PASSING),
        (status_error(529), Fault.PASSING),
        (status_error(404), Fault.GONE),
        (status_error(400, "Model does not exist. Please check it carefully."), Fault.GONE),
        (status_error(403, "No access", code="model_not_found"), Fault.GONE),
        (status_error(400, "This model's maximum context length is 8192 tokens"), Fault.UNFIT),
        (status_error(400, "prompt is too long: 9 tokens > 8 maximum"), Fault.UNFIT),
        (status_error(400, "input length and `max_tokens` exceed context limit"), Fault.UNFIT),
        (status_error(400, "image_url is only supported by certain models"), Fault.UNFIT),
        (status_error(422, "unknown variant `image_url`, expected `text`"), Fault.UNFIT),
        (status_error(400, "qwen3 is not a multimodal model"), Fault.UNFIT),
        (status_error(400, "At most 0 image(s) may be provided in one request"), Fault.UNFIT),
        (status_error(400, "Could not download the image"), Fault.CALLER),
        (status_error(413), Fault.UNFIT),
        (openai.APITimeoutError(request=REQUEST), Fault.PASSING),
        (openai.APIConnectionError(request=REQUEST), Fault.PASSING),
        (JSONDecodeError("no", "x", 0), Fault.PASSING),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), Fault.PASSING),
        (in_stream(code="overloaded"), Fault.PASSING),
        (in_stream(code=429), Fault.PASSING),
        (in_stream(code=401), Fault.CALLER),
        (in_stream(type="invalid_request_error"), Fault.CALLER),
        (in_stream(type="invalid_request_error", code="context_length_exceeded"), Fault.UNFIT),
        (ValueError("the caller's own"), Fault.CALLER),
        (KeyboardInterrupt(), Fault.CALLER),
    ],
    ids=repr,
)
def test_whom_an_error_speaks_of(error, fault):
    assert fault_of(error) is fault


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1e99"}, LONGEST_S),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after": "Thu, 99 Xxx 99999 00:00:00 GMT"}, None),
    ],
)
def test_how_long_to_leave_it_alone(headers, seconds):
    assert retry_after_s(status_error(429, headers=headers)) == seconds


def test_until_a_date():
    asked = retry_after_s(status_error(503, headers={"retry-after": formatdate(time.time() + 60)}))
    assert 58 < asked <= 60
    assert retry_after_s(openai.APIConnectionError(request=REQUEST)) is None


def test_an_error_s_name_quotes_nobody():
    error = status_error(401, "Incorrect API key provided: sk-secret")
    assert name_of(error) == "APIStatusError 401"
    assert name_of(openai.APITimeoutError(request=REQUEST)) == "APITimeoutError"
