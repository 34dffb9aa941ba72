import math

import pytest

from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.words import amount, dollars, number, percent


@pytest.mark.parametrize(
    ("write", "figure", "words"),
    [
        (percent, Figure(0.9421, 0.9346, 0.9496), "94.2% (93.5–95.0%)"),
        (percent, Figure(math.nan, math.nan, math.nan), "–"),
        (number, Figure(0.9414, 0.9346, 1.0), ".941 (.935–1.000)"),
        (number, None, "–"),
        (amount, Figure(-0.0395, -0.0469, 0.0323), "−US$0.0395 (−0.0469–0.0323)"),
        (amount, Figure(1234.5, 999, 2000), "US$1,234.50 (999.00–2,000.00)"),
        (amount, None, "–"),
    ],
)
def test_figures_in_words(write, figure, words):
    assert write(figure) == words


def test_dollars():
    assert [dollars(one) for one in (0, 0.0214, -2.5)] == ["US$0.00", "US$0.0214", "−US$2.50"]
