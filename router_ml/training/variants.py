"""A request as others would have typed it: framed, in another case, or mistyped.

What a request needs is the same under a greeting, inside a template or with a slip of the
finger. A classifier that has seen each request in one dress only leans on the dress.
"""

from __future__ import annotations

from random import Random

_SEPARATOR = "\x1e"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_HAN = range(0x4E00, 0xA000)
_KANA = range(0x3040, 0x3100)
_SLIP_EVERY = 60
"""Characters to a slip of the finger, after the first."""

_BEFORE = (
    "Hello! ",
    "hi, ",
    "hey so ",
    "ok next: ",
    "quick one - ",
    "I was wondering, ",
    "Please help: ",
    "Can you help me with this?\n",
    "Here is my request:\n",
    "Question: ",
    "Q: ",
    "User: ",
    "Task: ",
    "Instruction: ",
    "### Instruction:\n",
    "[INST] ",
    "You are a helpful assistant. ",
    "Answer the following: ",
    "Respond to the following prompt.\n",
    "Read carefully and respond.\n\n",
)
_AFTER = (
    " Thanks!",
    " thx",
    " pls",
    " asap",
    "\n\nThank you in advance.",
    "\nTake your time.",
    " Think carefully.",
    " Be concise.",
    "\nKeep it short.",
    "\nPlease explain your answer.",
    "\nAnswer:",
    "\nA:",
    "\n\nAssistant:",
    "\n\n### Response:",
    " [/INST]",
)
_BEFORE_CHINESE = (
    "你好，",
    "您好！",
    "请问",
    "請問",
    "麻烦了，",
    "帮我看一下：",
    "问题：",
    "题目：\n",
    "題目：",
    "指令：",
    "请回答下面的问题：",
    "请认真阅读并回答。\n",
)
_AFTER_CHINESE = (
    "谢谢！",
    "謝謝",
    "，急",
    "\n答案：",
    "\n回答：",
    "\n请简要回答。",
    "\n请给出理由。",
)


def vary(text: str, draw: Random) -> str:
    """Return a text that asks for the same: its turn framed, in another case or mistyped.

    Args:
        text: a turn, or a turn, 0x1E and its context, which stays as it is.
        draw: where chance comes from.

    """
    turn, separator, context = text.partition(_SEPARATOR)
    way = draw.choices((_frame, _recase, _slip), (11, 4, 5))[0]
    return way(turn, draw) + separator + context


def _frame(turn: str, draw: Random) -> str:
    """Put a greeting or a template around it; Chinese only around Chinese."""
    chinese = is_chinese(turn) and draw.random() < 0.8
    before = _BEFORE_CHINESE if chinese else _BEFORE
    after = _AFTER_CHINESE if chinese else _AFTER
    sides = draw.choice(((True, False), (True, False), (False, True), (True, True)))
    return (
        (draw.choice(before) if sides[0] else "") + turn + (draw.choice(after) if sides[1] else "")
    )


def is_chinese(turn: str) -> bool:
    """Say whether a text has Chinese characters, and none of Japanese alone."""
    codes = set(map(ord, turn))
    return any(code in _HAN for code in codes) and not any(code in _KANA for code in codes)


def _recase(turn: str, draw: Random) -> str:
    return turn.upper() if draw.random() < 0.2 else turn.lower()


def _slip(turn: str, draw: Random) -> str:
    """Swap, drop, double or replace a character here and there."""
    for _ in range(1 + len(turn) // _SLIP_EVERY):
        place = draw.randrange(max(1, len(turn) - 1))
        pair = turn[place : place + 2]
        slips = (pair[::-1], pair[:1], pair[:1] + pair, draw.choice(_LETTERS) + pair[1:])
        turn = turn[:place] + draw.choices(slips, (7, 6, 4, 3))[0] + turn[place + 2 :]
    return turn
