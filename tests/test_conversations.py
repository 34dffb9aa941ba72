import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_ml import Decision, Reason
from router_ml.conversations import Conversations, Sticky


class Clock:
    """A monotonic clock that stands until it is moved."""

    now = 0.0

    def __call__(self):
        return self.now


def turn(route, confidence=0.95, reason=Reason.CLASSIFIED, model="m"):
    return Decision(route, model, (), (), {}, reason, {}, confidence)


MATH, GENERAL = turn("math"), turn("general")
UNSURE = turn("general", 0.6)
DOUBT = turn("math", 0.4, Reason.LOW_CONFIDENCE)
EMPTY = turn("general", 1.0, Reason.EMPTY)
IMAGE = turn("vision", 1.0, Reason.IMAGE)
TAG = turn("batch", 1.0, Reason.TAG)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def conversations(clock):
    sticky = Sticky(("math", "vision"), idle_s=60, leave_after=2, capacity=3)
    return Conversations(sticky, clock)


def stays(conversations, *turns, key="a"):
    found = [conversations.stay(key, decision) for decision in turns]
    return [stay and stay.route for stay in found]


def test_only_named_routes_hold(conversations):
    assert stays(conversations, GENERAL, MATH, UNSURE, MATH, EMPTY) == [
        None,
        None,
        "math",
        None,
        "math",
    ]
    assert stays(conversations, GENERAL, key="b") == [None]


def test_confident_turns_in_a_row_end_it(conversations):
    assert stays(conversations, MATH, GENERAL, GENERAL) == [None, "math", None]
    assert len(conversations) == 0
    assert stays(conversations, UNSURE) == [None]


@pytest.mark.parametrize("between", [UNSURE, EMPTY, MATH, DOUBT])
def test_they_must_be_in_a_row(conversations, between):
    found = stays(conversations, MATH, GENERAL, between, GENERAL)
    assert (found[1], found[3]) == ("math", "math")


def test_leaving_for_another_stronger_route(conversations):
    vision = turn("vision")
    assert stays(conversations, MATH, vision, vision, GENERAL) == [None, "math", None, "vision"]


def test_idle_for_too_long(conversations, clock):
    stays(conversations, MATH)
    clock.now = 60
    assert stays(conversations, UNSURE) == ["math"]
    clock.now = 120
    assert stays(conversations, UNSURE) == ["math"]
    clock.now = 180.5
    assert stays(conversations, UNSURE) == [None]


def test_it_stays_with_the_model_of_its_last_turn_there(conversations):
    stays(conversations, turn("math", model="strong"), UNSURE)
    assert conversations.stay("a", UNSURE).model == "strong"
    stays(conversations, turn("math", 0.6, model="stronger"))
    assert conversations.stay("a", DOUBT).model == "stronger"


def test_doubt_begins_nothing_but_stays(conversations):
    assert stays(conversations, DOUBT, GENERAL) == [None, None]
    assert stays(conversations, MATH, DOUBT) == [None, "math"]


def test_a_fact_goes_its_own_way(conversations):
    assert stays(conversations, MATH, TAG, UNSURE) == [None, None, "math"]
    assert stays(conversations, IMAGE, UNSURE) == [None, "vision"]


def test_the_longest_silent_is_forgotten_first(conversations):
    for key in "abc":
        stays(conversations, MATH, key=key)
    stays(conversations, UNSURE, key="a")
    stays(conversations, MATH, key="d")
    assert len(conversations) == 3
    assert [stays(conversations, UNSURE, key=key)[0] for key in "abcd"] == [
        "math",
        None,
        "math",
        "math",
    ]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([MATH, GENERAL, UNSURE, IMAGE]))))
def test_memory_is_bounded_and_turns_stand_alone_by_conversation(turns):
    """Each conversation gets what it would get without the others, while all are remembered."""
    together = Conversations(Sticky(("math",)), Clock())
    alone = {key: Conversations(Sticky(("math",)), Clock()) for key in range(10)}
    tight = Conversations(Sticky(("math",), capacity=2), Clock())
    for key, decision in turns:
        assert together.stay(str(key), decision) == alone[key].stay("x", decision)
        tight.stay(str(key), decision)
        assert len(tight) <= 2


def test_threads_share_it():
    conversations = Conversations(Sticky(("math",), capacity=50))
    failures = []

    def talk(number):
        try:
            for at in range(300):
                key = f"{number} {at % 20}"
                stays(conversations, MATH, UNSURE, key=key)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(conversations) == 50
