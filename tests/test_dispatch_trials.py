"""Shadow and canary: a second router beside the live one."""

import logging

import msgspec
import pytest
from faces import FIRST, chat
from hypothesis import given
from hypothesis import strategies as st

from router_ml import Policy, Router
from router_ml.dispatch import RoutedOpenAI
from router_ml.dispatch.trials import Canary, canary_key
from router_ml.errors import DispatchError
from router_ml.request import read_request

OTHER = "deepseek-v4-pro"


@pytest.fixture(scope="module")
def other():
    rules = tuple(
        msgspec.structs.replace(rule, models=(OTHER,)) if rule.route == "math" else rule
        for rule in Policy.load().rules
    )
    return Router.load(policy=msgspec.structs.replace(Policy.load(), rules=rules))


class Broken:
    catalog = None

    def route(self, request, *, tags=None, conversation=None):
        raise RuntimeError("broken")


def test_a_shadow_s_disagreement_is_logged_and_touches_nothing(make_face, provider, other, caplog):
    face = make_face(shadow=other)
    with caplog.at_level(logging.INFO, "router_ml.dispatch"):
        chat(face)
        chat(face, messages=[{"role": "user", "content": "Write a poem"}])
    assert provider.models()[0] == FIRST
    disagreements = [one for one in caplog.records if "disagrees" in one.getMessage()]
    assert len(disagreements) == 1
    assert OTHER in disagreements[0].getMessage()
    shadows = [one.routing["shadow"] for one in caplog.records if hasattr(one, "routing")]
    assert [shadow["agrees"] for shadow in shadows] == [False, True]


def test_a_shadow_that_breaks_touches_nothing_either(make_face, provider, caplog):
    assert chat(make_face(shadow=Broken())).model == FIRST
    assert "The shadow router failed" in caplog.text


@pytest.mark.parametrize(("share", "model"), [(0, FIRST), (1, OTHER)])
def test_a_canary_takes_its_share(make_face, provider, other, share, model):
    answer = chat(make_face(canary=(other, share)))
    assert answer.model == model
    assert answer.routing.canary is (share == 1)


def test_the_same_conversation_always_gets_the_same_router(make_face, other):
    face = make_face(canary=(other, 0.5))
    for key in map(str, range(20)):
        asked = [chat(face, extra_body={"routing": {"conversation": key}}) for _ in range(3)]
        assert len({answer.routing.canary for answer in asked}) == 1


def test_a_share_is_about_that_large(other):
    taken = sum(Canary(other, 0.2).takes(f"conversation {n}") for n in range(5000))
    assert 900 < taken < 1100


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_takes_all_that_a_smaller_takes(key, one, other):
    small, large = sorted((one, other))
    if Canary(Broken(), small).takes(key):
        assert Canary(Broken(), large).takes(key)


def test_without_a_key_it_is_drawn_by_what_the_user_said_first():
    first = [{"role": "system", "content": "s"}, {"role": "user", "content": "hello"}]
    later = [*first, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]
    assert canary_key(read_request(first), None) == canary_key(read_request(later), None) == "hello"
    assert canary_key(read_request(first), "k") == "k"
    assert canary_key(read_request(None), None) == ""


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(router, share):
    with pytest.raises(DispatchError, match="share must be between 0 and 1"):
        RoutedOpenAI(api_key="k", router=router, canary=(router, share)).close()
