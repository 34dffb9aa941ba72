"""The classifier plugin, asked as LiteLLM asks it; LiteLLM itself is in test_litellm.py."""

import asyncio
import copy
import json
import time
from statistics import median
from types import SimpleNamespace

import msgspec
import pytest

from router_ml import Policy, Router
from router_ml.conversations import Sticky
from router_ml.integrations import decision_log
from router_ml.integrations.litellm import TierClassifier
from router_ml.policy import Uncertain

PROOF = "Prove that the square root of 2 is irrational"
PLAIN = "Recommend three books about gardening"
KEY = "sk-of-the-test"


def user(content):
    return [{"role": "user", "content": content}]


def context(messages, **metadata):
    return SimpleNamespace(structured_messages=messages, metadata=metadata)


def classify(plugin, messages, **metadata):
    return asyncio.run(plugin.classify(context(messages, **metadata)))


def test_the_tier_is_the_route_the_model_or_what_it_maps_to(router):
    assert classify(TierClassifier(router), user(PROOF)) == "math"
    assert classify(TierClassifier(router, by="model"), user(PROOF)) == "moonshot-k2.5"
    mapped = TierClassifier(router, tiers={"math": "REASONING"})
    assert classify(mapped, user(PROOF)) == "REASONING"
    assert classify(mapped, user(PLAIN)) == "general"


@pytest.mark.parametrize("messages", [[], user(None), user(""), [None], user([])])
def test_what_says_nothing_is_declined(router, messages):
    assert classify(TierClassifier(router), messages) is None


def changed(**changes):
    """The shipped router with another part of its policy."""
    return Router.load(policy=msgspec.structs.replace(Policy.load(), **changes))


def test_low_confidence_is_declined():
    assert (
        classify(
            TierClassifier(changed(uncertain=Uncertain(below=1.0, route="general"))), user(PROOF)
        )
        is None
    )


def test_copies_share_one_session(router):
    plugin = TierClassifier(router)
    assert copy.deepcopy([plugin])[0] is plugin


def test_conversations_stay_by_the_session_and_the_caller():
    router = changed(sticky=Sticky(("math",), capacity=10))
    plugin = TierClassifier(router)
    assert classify(plugin, user(PROOF), session_id="s", user_api_key_hash="a") == "math"
    assert classify(plugin, user(PLAIN), session_id="s", user_api_key_hash="a") == "math"
    assert classify(plugin, user(PLAIN), session_id="s", user_api_key_hash="b") == "general"
    assert classify(plugin, user(PLAIN)) == "general"
    made_up = {"session_id": "s", "user_api_key_hash": "a", "litellm_session_id_generated": True}
    assert classify(plugin, user(PLAIN), **made_up) == "general"
    for number in range(100):
        classify(plugin, user(PROOF), session_id=str(number))
    assert len(router.conversations) == 10


def test_the_record_says_why_and_never_who(router, caplog):
    caplog.set_level("INFO", "router_ml.decisions")
    metadata = {"user_api_key": KEY, "user_api_key_hash": KEY, "session_id": "s", "trace_id": "t"}
    classify(TierClassifier(router), user(PROOF), **metadata)
    (line,) = caplog.messages
    record = json.loads(line)
    decision = router.route(user(PROOF))
    assert record["answer"] == record["route"] == "math"
    assert (record["reason"], record["call"]) == ("classified", "t")
    assert record["probabilities"]["math"] == pytest.approx(
        decision.probabilities["math"], abs=1e-3
    )
    assert record["artifact"] == decision_log.version_of(router)
    assert KEY not in line
    assert PROOF not in line


@pytest.mark.parametrize(
    "messages",
    [
        user("x y " * 2_500_000),
        user("中文字 " * 2_500_000),
        user("<system-reminder>" * 600_000),
        [message for at in range(1_000) for message in user(f"Book {at}?")],
    ],
    ids=["10 MB", "30 MB of Chinese", "10 MB of tags", "1,000 messages"],
)
def test_a_long_prompt_does_not_hold_up_the_event_loop(router, messages):
    """The most that is done between two turns of the loop, on this thread's own clock."""

    async def longest():
        worst, done = 0.0, False

        async def watch():
            nonlocal worst
            last = time.thread_time()
            while not done:
                await asyncio.sleep(0)
                now = time.thread_time()
                worst, last = max(worst, now - last), now

        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await TierClassifier(router).classify(context(messages))
        done = True
        await watcher
        return worst

    assert median(asyncio.run(longest()) for _ in range(15)) < 0.001
