"""200 requests at once, three in ten of which meet a fault: all are answered, or raise.

pytest -m soak
"""

import random
import time

import openai
import pytest
from faces import AsyncFace, routing_of

from router_ml.dispatch import AllAttemptsFailed

REQUESTS, SHARE = 200, 0.3
FAULTS = (
    "500", "503", "429 retry-after=0.1", "404", "400 code=context_length_exceeded",
    "drop", "hang", "drip", "drip-head", "slow=0.2", "malformed", "html", "error",
)  # fmt: skip
OF_STREAMS = ("cut", "cut-head", "error-event")
PROMPTS = (
    "Prove that √2 is irrational",
    "Write a poem about the sea",
    "如何做红烧肉",
    "def f(x): fix it",
)


class Lottery:
    """A fault for three requests in ten, whichever model they ask for."""

    def __init__(self, seed):
        self.random, self.drawn = random.Random(seed), 0

    def __getitem__(self, model):
        if self.random.random() >= SHARE:
            return []
        self.drawn += 1
        return [self.random.choice(FAULTS + OF_STREAMS)]


def outcome_of(text, stream):
    """Say how a request ended: answered whole, or broken after its first token."""
    routing = routing_of(stream)
    if routing.error:
        return f"broken: {routing.error}"
    assert text == f"I am {routing.model}."
    return "answered"


def ask_sync(client, number):
    prompt = f"{PROMPTS[number % len(PROMPTS)]} {number}"
    if number % 2:
        answer = client.responses.create(model="auto", input=prompt)
        return outcome_of(answer.output_text, answer)
    stream = client.responses.create(model="auto", input=prompt, stream=True)
    said = []
    try:
        said += [event.delta for event in stream if event.type == "response.output_text.delta"]
    except openai.APIError:
        assert routing_of(stream).error
    return outcome_of("".join(said), stream)


async def ask_async(client, number):
    prompt = f"{PROMPTS[number % len(PROMPTS)]} {number}"
    if number % 2:
        answer = await client.responses.create(model="auto", input=prompt)
        return outcome_of(answer.output_text, answer)
    stream = await client.responses.create(model="auto", input=prompt, stream=True)
    said = []
    try:
        said += [e.delta async for e in stream if e.type == "response.output_text.delta"]
    except openai.APIError:
        assert routing_of(stream).error
    return outcome_of("".join(said), stream)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_answered_or_raises_one_honest_error(make_face, provider, seed):
    provider.faults = lottery = Lottery(seed)
    face = make_face(attempt_timeout_s=2.0)
    ask = ask_async if isinstance(face, AsyncFace) else ask_sync
    began = time.monotonic()
    done = face.many(lambda number: ask(face.client, number), REQUESTS)
    took_s = time.monotonic() - began

    failed = [one for one in done if isinstance(one, AllAttemptsFailed)]
    broken = [one for one in done if isinstance(one, str) and one.startswith("broken")]
    answered = done.count("answered")
    print(
        f"{answered} answered, {len(broken)} broken after their first token, {len(failed)} failed; "
        f"{lottery.drawn} faults in {len(provider.received)} requests, {took_s:.1f} s"
    )
    assert answered + len(broken) + len(failed) == REQUESTS, [
        one for one in done if isinstance(one, Exception) and one not in failed
    ]
    assert all(error.attempts for error in failed)
    assert answered > 0.9 * REQUESTS
    assert lottery.drawn > 0.2 * REQUESTS
