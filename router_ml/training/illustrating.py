"""Requests that also point at a figure: augmentation for what only looking can answer.

Wording that points at something shown asks for a model that sees, whatever else the request
says. In labelled data such words come from few sources, and a classifier leans on what those
are about; under a request of any kind they mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.request import ModelText, model_text, read_request
from router_ml.training.variants import is_chinese

_ASK_BYTES = 1000
"""Of longer texts a phrase in the middle would not be read."""
_FORMAL = 3
"""A formal request, where figures are usual, is chosen so many times as often as another."""
_TRADITIONAL = 0.2

_PAUSE = re.compile(r"(?=[,.;:?!)](?:\s|$))|(?=[，。；：？])")


class Wording(NamedTuple):
    """Phrases that point at something shown, by where in a request they stand."""

    head: tuple[str, ...]
    inside: tuple[str, ...]
    tail: tuple[str, ...]


ENGLISH = Wording(
    head=(
        "As shown in the figure, ",
        "As shown below, ",
        "In the figure below, ",
        "In the diagram, ",
        "In the drawing at right, ",
        "In the accompanying sketch, ",
        "Refer to the figure. ",
        "Refer to the diagram above.\n",
        "The figure shows the situation. ",
        "Look at the picture. ",
        "Look at the chart: ",
        "Study the graph, then answer. ",
        "Use the graph below.\n",
        "Consider the diagram at left. ",
        "Based on the attached image: ",
        "From the picture: ",
        "pic attached. ",
        "see screenshot - ",
        "The table in the image gives the numbers. ",
        "Here's the photo. ",
    ),
    inside=(
        " as shown",
        ", as shown in the diagram",
        ", as in the picture",
        " as pictured",
        " as drawn",
        " shown below",
        " shown at right",
        " in the figure",
        " in the picture",
        " (see figure)",
        " (see picture)",
        " (see diagram)",
        " (see the drawing)",
        " (Figure 1)",
        " (pictured)",
        " (shown)",
        ", marked in the sketch",
        ", shaded in the figure",
        " in the graph above",
        " as illustrated",
    ),
    tail=(
        " See the figure.",
        " See the attached picture.",
        " (See diagram.)",
        "\n(The figure is attached.)",
        " The diagram shows it.",
        " The graph is given below.",
        " pic below",
        " photo attached",
        " I've attached the drawing.",
        " (image attached)",
        "\nUse the chart above.",
        " It is all in the picture.",
    ),
)

SIMPLIFIED = Wording(
    head=(
        "如图，",
        "如图所示，",
        "如下图，",
        "如右图所示，",
        "如图1，",
        "如图甲所示，",
        "如图1-2所示，",
        "下图中，",
        "图中，",
        "右图是示意图。",
        "观察下图，",
        "读图，",
        "读下图，回答问题。",
        "据图回答：",
        "看图，",
        "看图回答：",
        "根据下图，",
        "根据图中信息，",
        "结合示意图，",
        "题目见图。",
        "图如下：\n",
        "见附图：",
    ),
    inside=(
        "（如图）",
        "（如图所示）",
        "（见图）",
        "（见下图）",
        "（如图乙）",
        "，如图",
        "，如图所示",
        "，如右图",
        "（图中阴影部分）",
        "，其图像如图",
        "（图示）",
        "，见图2",
    ),
    tail=(
        "（见附图）",
        "（如图）",
        "图已附上。",
        "图见下方。",
        "\n（图如下）",
        "\n题图如上。",
        "看一下图。",
        "我把图发上来了。",
    ),
)

TRADITIONAL = Wording(
    head=("如圖，", "如圖所示，", "如下圖，", "右圖中，", "看圖，", "根據下圖，", "見附圖："),
    inside=("（如圖）", "（見圖）", "，如圖所示", "（如右圖）"),
    tail=("（見附圖）", "圖已附上。", "（如圖）"),
)


class Illustrated(NamedTuple):
    """New texts, for each the row it was made from, and its own targets."""

    texts: list[ModelText]
    rows: NDArray[np.intp]
    targets: NDArray[np.float32]

    @classmethod
    def none(cls, targets: NDArray[np.float32]) -> Illustrated:
        """Return no new texts beside rows with these targets."""
        return cls([], np.zeros(0, np.intp), targets[:0])


def illustrate(
    texts: Sequence[ModelText],
    targets: NDArray[np.float32],
    vision: int,
    formal: int,
    share: float,
    seed: int,
) -> Illustrated:
    """Point at a figure in requests that show nothing, English and Chinese.

    Args:
        texts: n of them.
        targets: 0 or 1, [n, labels].
        vision: the column that the made texts have set.
        formal: the column of requests that are chosen more often, such as maths problems.
        share: how many to make, as a share of n.
        seed: of the draw.

    """
    fit = np.array([_fits(text) for text in texts], bool) & (targets[:, vision] == 0)
    chances = fit * np.where(targets[:, formal], _FORMAL, 1)
    count = min(int(share * len(texts)), int(fit.sum()))
    if not count:
        return Illustrated.none(targets)
    draw = np.random.default_rng(seed)
    rows = draw.choice(len(texts), count, replace=False, p=chances / chances.sum())
    own = targets[rows].copy()
    own[:, vision] = 1
    return Illustrated([_point(texts[row], draw) for row in rows], rows, own)


def _fits(text: ModelText) -> bool:
    return not text.context and len(text.turn) <= _ASK_BYTES and bool(_wordings(text))


def _wordings(text: ModelText) -> tuple[Wording, ...]:
    """Return the phrases of a text's language; none if it is another or cannot be told."""
    turn = text.turn.decode("utf-8", "ignore")
    if is_chinese(turn):
        return SIMPLIFIED, TRADITIONAL
    return (ENGLISH,) if turn.isascii() else ()


def _point(text: ModelText, draw: np.random.Generator) -> ModelText:
    turn = text.turn.decode("utf-8", "ignore")
    wordings = _wordings(text)
    wording = wordings[int(len(wordings) > 1 and draw.random() < _TRADITIONAL)]
    pauses = [match.start() for match in _PAUSE.finditer(turn)]
    place = draw.choice(3, p=(0.4, 0.4, 0.2))
    phrase = str(draw.choice(wording[place]))
    if place == 0:
        made = phrase + turn
    elif place == 1 and pauses:
        at = int(draw.choice(pauses))
        made = turn[:at] + phrase + turn[at:]
    else:
        made = turn + phrase
    return model_text(read_request(made))
