"""What people wrote in a chat, apart from what their tools put around it.

Coding agents put reminders into the user's turns, and the Messages API carries what a tool
returned in a turn of the user's. Neither is the user's word: a page that a tool fetched must
not decide which model goes on with the task. And a "yes" or "continue" asks for what was
asked before. The classifier has learned from what people write and ask for, so all of this
is sorted out before it reads a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from router_ml.request import Request, Turn, read_request

_REMINDERS = (
    "system-reminder",
    "environment_context",
    "environments_instructions",
    "user_instructions",
    "recommended_plugins",
)
"""Tags in which coding agents (Claude Code, Codex) wrap what the user did not write."""

_LONGEST = 300_000
"""A longer text is a paste, in which no reminder is looked for, so that the time is bounded."""

_SAID = """
    y|yes|yes please|yeah|yep|yup|sure|ok|okay|right|fine|sounds good|please|please do|do it|
    do that|go|go on|go ahead|continue|please continue|carry on|keep going|proceed|next|more|
    no|nope|是|是的|对|对的|好|好的|可以|行|嗯|继续|请继续|接着|接着说|下一步|不|不是|不用|
    はい|続けて|続けてください|次|いいえ|네|예|계속|계속해|계속해줘|아니요|
    sí|si|claro|vale|sigue|continúa|oui|continuez|vas-y|non|ja|weiter|mach weiter|nein|sim|
    continua|pode continuar|não|sì|да|продолжай|продолжайте|дальше|нет|
    نعم|أكمل|استمر|لا|हाँ|जारी रखें|नहीं
"""
_ASSENTS = frozenset(word.strip() for word in _SAID.split("|"))
"""What says only whether to go on with what was asked before."""


def read_chat(request: Any) -> Request:
    """Read what `read_request` reads, and sort out what is not the user's own request.

    What tools returned in a turn of the user's becomes a turn of theirs, reminders are taken
    away, and a last turn that only assents says nothing, so that the one before it decides.
    The Messages API's `system` is read too. A Request comes back as it is.
    """
    if isinstance(request, str | Request):
        return read_request(request)
    read = read_request(_with_turns_of_tools(request))
    turns = [_without_reminders(turn) for turn in read.turns]
    _pass_over_assents(turns)
    return read._replace(turns=tuple(turns))


def _with_turns_of_tools(request: Any) -> Any:
    if _is_list(request):
        return list(_split_messages(request))
    if not isinstance(request, Mapping) or not _is_list(request.get("messages")):
        return request
    messages = list(_split_messages(request["messages"]))
    if request.get("system"):
        messages.insert(0, {"role": "system", "content": request["system"]})
    return {**request, "messages": messages}


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _split_messages(messages: Sequence[Any]) -> Iterator[Any]:
    """Yield the messages, what tools returned apart from what the user says beside it."""
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if _is_list(content) else ()
        returned = [part for part in parts if _is_returned(part)]
        if returned:
            yield {"role": "tool", "content": returned}
            yield {**message, "content": [part for part in parts if not _is_returned(part)]}
        else:
            yield message


def _is_returned(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "tool_result"


def _without_reminders(turn: Turn) -> Turn:
    """Take every complete reminder from a turn of the user's; what is around them stays."""
    text = turn.text
    if turn.role != "user" or len(text) > _LONGEST or "</" not in text:
        return turn
    for name in _REMINDERS:
        text = _without(text, f"<{name}>", f"</{name}>")
    return turn._replace(text=text)


def _without(text: str, opening: str, closing: str) -> str:
    """Cut from each opening to the next closing; the scan only goes forward, so it is linear."""
    kept, at = [], 0
    while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start)) >= 0:
        kept.append(text[at:start])
        at = end + len(closing)
    return "".join((*kept, text[at:]))


def _pass_over_assents(turns: list[Turn]) -> None:
    """Empty the last turns of the user's that only assent, if one before them says more."""
    spoken = [at for at, turn in enumerate(turns) if turn.role == "user" and _says(turn)]
    while len(spoken) > 1 and _assents(turns[spoken[-1]].text):
        at = spoken.pop()
        turns[at] = turns[at]._replace(text="")


def _says(turn: Turn) -> bool:
    return bool(turn.text) and not turn.text.isspace()


def _assents(text: str) -> bool:
    return len(text) < 40 and text.strip(" \n\t.,!?。，！？…").casefold() in _ASSENTS
