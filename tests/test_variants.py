from random import Random

from hypothesis import given
from hypothesis import strategies as st

from router_ml.training.variants import _AFTER_CHINESE, _BEFORE_CHINESE, vary


@given(st.text(max_size=300), st.text(max_size=50), st.integers(0, 99))
def test_the_context_stays_and_chance_decides(turn, context, seed):
    turn = turn.replace("\x1e", "")
    found = vary(f"{turn}\x1e{context}", Random(seed))
    assert found.endswith(f"\x1e{context}")
    assert found == vary(f"{turn}\x1e{context}", Random(seed))


def varied(text, times=400):
    return {vary(text, Random(seed)) for seed in range(times)}


def test_chinese_is_put_around_chinese_alone():
    chinese = (*_BEFORE_CHINESE, *_AFTER_CHINESE)
    found = {text: varied(text) for text in ("how tall is it", "高さはどのくらい", "这座塔有多高")}
    framed = {text: any(mark in v for v in vs for mark in chinese) for text, vs in found.items()}
    assert framed == {"how tall is it": False, "高さはどのくらい": False, "这座塔有多高": True}


def test_a_request_is_framed_recased_and_mistyped():
    text = "Prove that the root of two is irrational"
    found = varied(text)
    assert text.lower() in found
    assert text.upper() in found
    assert any(text in v and v != text for v in found)
    slips = [v for v in found if text not in v and text.lower() != v.lower()]
    assert slips
    assert all(abs(len(v) - len(text)) <= 1 for v in slips)
