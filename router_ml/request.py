"""What a request says: its text, its turns, and the parts that are not text.

Training and serving both call `read_request` and `model_text`, so the classifier
never sees in production a text that differs from the one it was trained on. The
way from a request to that text has a version, `TEXT_VERSION`, which the artifact
records: a change here that alters any text must raise it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, AnyStr, NamedTuple

TEXT_VERSION = 2

TURN_BYTES = 512
"""How much of the turn that decides is read, in UTF-8 bytes."""
CONTEXT_BYTES = 384
"""How much of the turns before it is read, in UTF-8 bytes."""

HEAD, WINDOW, WINDOWS = 176, 52, 3
"""A long text is read as a head, windows spaced evenly, and a tail as long as the head."""

_TEXT_PARTS = {"text", "input_text", "output_text", "summary_text", "refusal"}
_AUDIO_PARTS = {"input_audio", "audio", "audio_url"}
_IMAGE_PARTS = {
    "image",
    "image_url",
    "image_file",
    "input_image",
    "computer_screenshot",
    "video",
    "video_url",
    "input_video",
}
_FILE_PARTS = {"file", "input_file", "document"}
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".heic", ".tif", ".tiff")
_AUDIO_SUFFIXES = (".wav", ".mp3", ".m4a", ".ogg", ".flac", ".opus", ".aac")
_SYSTEM_ROLES = {"system", "developer"}

_DEPTH = 32
"""How deep tool results are read inside tool results; nobody nests them, but JSON can."""

# C0 controls separate nothing a person wrote, and NUL pads batches: all become a space.
CLEAN = bytes(9 if b == 9 else 10 if b in (10, 13) else 32 if b < 32 else b for b in range(256))
"""A table for `bytes.translate`."""


class Turn(NamedTuple):
    """One message: who spoke and what they said."""

    role: str
    text: str


class Request(NamedTuple):
    """What a request says.

    Attributes:
        turns: the messages in order; a plain string is one user turn.
        has_image: whether any message carries an image or a video.
        has_audio: whether any message carries audio.
        readable: False if it is neither a string, nor messages, nor a payload.
        has_tools: whether the payload offers the model any tools.
        metadata: the payload's `metadata`, tags of the caller's; None without any.

    """

    turns: tuple[Turn, ...]
    has_image: bool = False
    has_audio: bool = False
    readable: bool = True
    has_tools: bool = False
    metadata: Mapping[str, Any] | None = None


class ModelText(NamedTuple):
    """The bytes the classifier reads.

    Attributes:
        turn: UTF-8 of the turn that decides, at most `TURN_BYTES`, without controls.
        context: UTF-8 of the turns before it, newest first, at most `CONTEXT_BYTES`.
        truncated: whether anything of them was left out.

    """

    turn: bytes
    context: bytes = b""
    truncated: bool = False

    @property
    def says_something(self) -> bool:
        """Whether the turn is more than white space, in Unicode's sense; if not, none is judged."""
        turn = self.turn
        if turn[:1].isalnum():  # of ASCII; nearly every text ends here, without being decoded
            return True
        return bool(turn.decode("utf-8", "ignore").strip())


_UNREADABLE = Request((), readable=False)


def read_request(request: Any) -> Request:
    """Read a string, a list of messages, or a Chat Completions or Responses payload.

    A message is a mapping, or an object with `model_dump()`, as the openai client returns
    them. A Request comes back as it is.

    Never raises: what cannot be read comes back with `readable=False`, and a part of
    an unknown type is passed over.
    """
    if isinstance(request, str):
        return Request((Turn("user", request),))
    if isinstance(request, Request):
        return request
    if isinstance(request, Mapping):
        return _read_payload(request)
    if isinstance(request, Sequence) and not isinstance(request, bytes | bytearray):
        return _read_messages(request)
    return _UNREADABLE


def _read_payload(payload: Mapping[str, Any]) -> Request:
    for key in ("messages", "input", "prompt"):
        body = payload.get(key)
        if isinstance(body, str | Sequence) and not isinstance(body, bytes | bytearray):
            read = read_request(body)
            return _with_facts(_with_instructions(read, payload.get("instructions")), payload)
    return _UNREADABLE


def _with_facts(read: Request, payload: Mapping[str, Any]) -> Request:
    tools, metadata = payload.get("tools"), payload.get("metadata")
    if tools is None and metadata is None:
        return read
    return read._replace(
        has_tools=isinstance(tools, Sequence) and len(tools) > 0,
        metadata=metadata if isinstance(metadata, Mapping) else None,
    )


def _with_instructions(read: Request, instructions: Any) -> Request:
    if not isinstance(instructions, str) or not instructions:
        return read
    return read._replace(turns=(Turn("system", instructions), *read.turns))


def _read_messages(messages: Sequence[Any]) -> Request:
    turns: list[Turn] = []
    kinds: set[str] = set()
    for given in messages:
        message = given if isinstance(given, Mapping) else _dumped(given)
        if message is None:
            return _UNREADABLE
        texts: list[str] = []
        for field in ("content", "output"):
            _read_content(message.get(field), texts, kinds)
        turns.append(Turn(_role(message), "\n".join(texts)))
    return Request(tuple(turns), "image" in kinds, "audio" in kinds)


def _dumped(message: Any) -> Mapping[str, Any] | None:
    """Return what a message object says of itself; None if it is none."""
    try:
        found = message.model_dump()
    except Exception:  # whatever the object's own code raises
        return None
    return found if isinstance(found, Mapping) else None


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if isinstance(role, str):
        return role
    # Responses items without a role are tool traffic or the model's own reasoning.
    kind = message.get("type")
    return "tool" if isinstance(kind, str) and kind.endswith("_output") else "assistant"


def _read_content(content: Any, texts: list[str], kinds: set[str], depth: int = 0) -> None:
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, Mapping):
        _read_part(content, texts, kinds, depth)
    elif isinstance(content, Sequence):
        for part in content:
            if isinstance(part, str):
                texts.append(part)
            elif isinstance(part, Mapping):
                _read_part(part, texts, kinds, depth)


def _read_part(part: Mapping[str, Any], texts: list[str], kinds: set[str], depth: int) -> None:
    kind = part.get("type")
    if kind is not None and not isinstance(kind, str):
        return  # a list, say, cannot even be looked up
    if kind in _TEXT_PARTS or (kind is None and "text" in part):
        text = part.get("text", part.get("refusal"))
        if isinstance(text, str):
            texts.append(text)
    elif kind in _IMAGE_PARTS:
        kinds.add("image")
    elif kind in _AUDIO_PARTS:
        kinds.add("audio")
    elif kind in _FILE_PARTS:
        kinds.add(_file_kind(part))
    elif kind == "tool_result" and depth < _DEPTH:
        _read_content(part.get("content"), texts, kinds, depth + 1)


def _file_kind(part: Mapping[str, Any]) -> str:
    """Judge a file part by its media type or name; anything else is a document."""
    inner = part.get("file")
    fields = (*part.values(), *(inner.values() if isinstance(inner, Mapping) else ()))
    for field in fields:
        if not isinstance(field, str):
            continue
        start, end = field[:40].lower(), field[-8:].lower()
        if start.startswith(("data:image/", "image/")) or end.endswith(_IMAGE_SUFFIXES):
            return "image"
        if start.startswith(("data:audio/", "audio/")) or end.endswith(_AUDIO_SUFFIXES):
            return "audio"
    return "file"


def approximate_tokens(request: Request) -> int:
    """Estimate how many tokens the text of a request's turns has: a quarter of its UTF-8 bytes.

    Over many prompts that is 0.97 to 0.99 of what GPT-4o's and DeepSeek's tokenizers count
    in English (single prompts: 0.72 to 1.23), 0.86 to 1.01 in Chinese, and 0.6 to 0.95 in
    other languages of the Latin script; `benchmarks/tokens.py` measures it. Images, audio
    and tools are not counted.
    """
    return sum(_utf8_length(turn.text) for turn in request.turns) // 4


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def user_turns(request: Request) -> int:
    """Count the turns in which the user spoke: tool traffic makes no conversation longer."""
    return sum(turn.role == "user" for turn in request.turns)


def model_text(request: Request) -> ModelText:
    """Choose and cut the text the classifier reads (text version 2).

    The turn that decides is the last user turn; without one, the last turn that says
    anything. Its context is every other turn before it, newest first, and the system
    turns last.
    """
    turns = request.turns
    if len(turns) == 1:
        data, cut = _clip(turns[0].text, TURN_BYTES)
        return ModelText(data, b"", cut)
    at = _deciding_turn(turns)
    if at is None:
        return ModelText(b"")
    data, cut = _clip(turns[at].text, TURN_BYTES)
    context, context_cut = _context(turns, at)
    return ModelText(data, context, cut or context_cut)


def _deciding_turn(turns: Sequence[Turn]) -> int | None:
    spoken = [at for at, turn in enumerate(turns) if turn.text and not turn.text.isspace()]
    user = [at for at in spoken if turns[at].role == "user"]
    asked = [at for at in spoken if turns[at].role not in _SYSTEM_ROLES]
    return next((found[-1] for found in (user, asked, spoken) if found), None)


def _context(turns: Sequence[Turn], at: int) -> tuple[bytes, bool]:
    earlier = [turn.text for turn in reversed(turns[:at]) if turn.role not in _SYSTEM_ROLES]
    system = [turn.text for turn in turns[:at] if turn.role in _SYSTEM_ROLES]
    return _join((text for text in (*earlier, *system) if text), CONTEXT_BYTES)


def _join(texts: Iterable[str], budget: int) -> tuple[bytes, bool]:
    """Join texts by newlines, no one of them above half the budget, until it is spent."""
    pieces: list[bytes] = []
    left, cut = budget, False
    for text in texts:
        if left <= 0:
            return b"\n".join(pieces), True
        data = _encode(text[: budget // 2])
        head = data[: min(budget // 2, left)]
        cut = cut or len(head) < len(data) or len(text) > budget // 2
        pieces.append(head)
        left -= len(head) + 1
    return b"\n".join(pieces), cut


def _clip(text: str, budget: int) -> tuple[bytes, bool]:
    """Encode a text, or of a long one its head, evenly spaced windows, and its tail.

    A question in the middle of a paste is seen, and the cost is bounded: no more than
    `budget` bytes are read, and no more characters encoded, be the text 1 kB or 10 MB.
    """
    if len(text) > budget:
        return _sample(text), True
    data = _encode(text)
    return (data, False) if len(data) <= budget else (_sample(data), True)


def _sample(text: str | bytes) -> bytes:
    """Cut head, windows and tail; positions count characters of a str, bytes of bytes."""
    if isinstance(text, bytes):
        return b"\n".join(_slices(text))
    if text.isascii():  # as most are: of one byte a character, so that no piece is too long
        return _encode("\n".join(_slices(text)))
    *rest, tail = [piece.encode("utf-8", "replace") for piece in _slices(text)]
    sizes = (HEAD, *([WINDOW] * WINDOWS))
    pieces = [piece[:size] for piece, size in zip(rest, sizes, strict=True)]
    whole = b"\n".join((*pieces, tail[-HEAD:]))  # the tail's end ends the text
    return whole.translate(CLEAN)


def _slices(text: AnyStr) -> Iterator[AnyStr]:
    yield text[:HEAD]
    gap = (len(text) - 2 * HEAD - WINDOW) / (WINDOWS + 1)
    for number in range(1, WINDOWS + 1):
        start = int(HEAD + gap * number)
        yield text[start : start + WINDOW]
    yield text[-HEAD:]


def _encode(text: str) -> bytes:
    """UTF-8 without controls; a lone surrogate, which UTF-8 cannot say, becomes '?'."""
    return text.encode("utf-8", "replace").translate(CLEAN)
