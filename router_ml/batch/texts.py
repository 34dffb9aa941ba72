"""What the classifier reads of many prompts at once: `router_ml.request.model_text`, by column.

Short prompts lie in an Arrow column as the classifier wants them, one behind another with
their offsets; of a long ASCII one the pieces are gathered by their positions. Only long
prompts of other scripts, whose positions count characters, are cut one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from router_ml.classifier import SPARE, PackedTexts, byte_row
from router_ml.request import (
    CLEAN,
    HEAD,
    TURN_BYTES,
    WINDOW,
    WINDOWS,
    ModelText,
    Request,
    Turn,
    model_text,
)

_SPEAKING = np.zeros(256, bool)
"""First bytes after which a text says something, whatever follows: no space begins with them."""
_SPEAKING[33:] = True
_SPEAKING[[0xC2, 0xE1, 0xE2, 0xE3]] = False


class Texts(NamedTuple):
    """What is read of n requests.

    Attributes:
        packed: the bytes the classifier reads.
        speaks: bool [n], whether there is anything to judge.
        tokens: int64 [n], as `router_ml.request.approximate_tokens` counts them.

    """

    packed: PackedTexts
    speaks: NDArray[np.bool_]
    tokens: NDArray[np.int64]


def texts_of_prompts(prompts: pa.Array) -> Texts:
    """Return what is read of plain prompts: Arrow strings [n], none of them null."""
    column = prompts.cast(pa.large_string())
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset :][: len(column) + 1]
    buffer = column.buffers()[2]
    raw = b"" if buffer is None else buffer.to_pybytes()
    starts, lengths = offsets[:-1].copy(), np.diff(offsets)
    tokens = lengths // 4
    long = np.flatnonzero(lengths > TURN_BYTES)
    pieces = _cut_long(raw, starts[long], lengths[long])
    sizes = np.array([len(piece) for piece in pieces], np.int64)
    starts[long] = len(raw) + np.cumsum(sizes) - sizes
    lengths = lengths.copy()
    lengths[long] = sizes
    packed = _pack(raw.translate(CLEAN), pieces, starts, lengths)
    return Texts(packed, _speaks(packed), tokens)


def texts_of_requests(requests: Sequence[Request], tokens: Iterable[int]) -> Texts:
    """Return what is read of requests of any kind, one by one."""
    found = [model_text(request) for request in requests]
    pieces = [byte_row(text) for text in found]
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    starts = np.cumsum(lengths) - lengths
    return Texts(
        _pack(b"", pieces, starts, lengths),
        np.array([text.says_something for text in found], bool),
        np.fromiter(tokens, np.int64, len(found)),
    )


def joined(parts: Sequence[tuple[NDArray[np.int64], Texts]], size: int) -> Texts:
    """Return the texts of parts of a batch in its order; each part with its row numbers."""
    if len(parts) == 1:
        return parts[0][1]
    starts, lengths, tokens = (np.zeros(size, np.int64) for _ in range(3))
    speaks = np.zeros(size, bool)
    behind = 0
    for rows, texts in parts:
        starts[rows] = texts.packed.starts + behind
        lengths[rows], tokens[rows] = texts.packed.lengths, texts.tokens
        speaks[rows] = texts.speaks
        behind += len(texts.packed.data)
    data = np.concatenate([texts.packed.data for _, texts in parts])
    return Texts(PackedTexts(data, starts, lengths), speaks, tokens)


def _pack(
    data: bytes, pieces: Sequence[bytes], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> PackedTexts:
    whole = b"".join((data, *pieces, bytes(SPARE)))
    return PackedTexts(np.frombuffer(whole, np.uint8), starts, lengths)


def _cut_long(raw: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
    """Cut prompts of more bytes than the classifier reads."""
    return [
        _cut(raw, start, length)
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    ]


def _cut(raw: bytes, start: int, length: int) -> bytes:
    text = raw[start : start + length]
    if not text.isascii():
        return model_text(Request((Turn("user", text.decode()),))).turn
    gap = (length - 2 * HEAD - WINDOW) / (WINDOWS + 1)
    middle = (int(HEAD + gap * number) for number in range(1, WINDOWS + 1))
    windows = (text[at : at + WINDOW] for at in middle)
    return b"\n".join((text[:HEAD], *windows, text[-HEAD:])).translate(CLEAN)


def _speaks(packed: PackedTexts) -> NDArray[np.bool_]:
    """Say which texts are more than white space; few need to be looked at as a whole."""
    speaks = _SPEAKING[packed.data[packed.starts]] & (packed.lengths > 0)
    for row in np.flatnonzero(~speaks & (packed.lengths > 0)).tolist():
        start = int(packed.starts[row])
        turn = packed.data[start : start + int(packed.lengths[row])].tobytes()
        speaks[row] = ModelText(turn).says_something
    return speaks
