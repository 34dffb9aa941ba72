"""What rows of logs look like, by name, and where each keeps its request.

A row that says `prompt` or `messages` as the project does is taken as it is. The others are
told apart by the keys they have; the first layout that fits counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

from router_ml.logs.mapping import Mapping, decoded, look_up
from router_ml.logs.row import Row

TEXT_COLUMNS = ("text", "query", "question", "utterance", "message", "sentence", "content")
LABEL_COLUMNS = ("label", "category", "intent", "class", "route", "topic")
"""What tables call a text and its label, lower case; only one of each may be there, beside
`prompt` and `label` none. The columns say which, not what a row has in them."""

_NO_DECISION = tuple(name for name in LABEL_COLUMNS if name != "route")
"""Beside `prompt` or `messages` a route is what a router decided, and no label."""

_OURS = ("prompt", "messages", "label", "labels")
_KINDS = {"label": "labels", "labels": "label"}
"""Of these a row has one: the one that a mapping names takes the other's place."""

Data = dict[str, Any]


class Layout(NamedTuple):
    """A kind of row.

    Attributes:
        name: for people.
        fits: whether a row is of this kind.
        request: finds the payload: a text, a list of messages, or an object with either.
        absent: what to say where there is none.

    """

    name: str
    fits: Callable[[Data], bool]
    request: Callable[[Data], Any]
    absent: str = "has no request in it."


def recognise(row: Row, mapping: Mapping) -> Row:
    """Return a row as the project says it, by a mapping and by its layout."""
    found = {field: look_up(row.data, place) for field, place in mapping.items()}
    row = row._replace(data=_in_our_case(row.data))
    missing = next((field for field, value in found.items() if value is None), None)
    if missing in {"prompt", "messages"}:
        return row._replace(problem=f"has nothing at {mapping[missing]!r}, its `{missing}`.")
    if "prompt" in found or "messages" in found:
        data = {**_without_request(row.data), **_label(row)}
        known = row._replace(layout="mapped", data=data)
    else:
        known = _by_layout(row)
    data = _without(known.data, {_KINDS.get(field) for field in found})
    data |= {field: _cell(value) for field, value in found.items()}
    return known._replace(data=_with_lists(data))


def _in_our_case(data: Data) -> Data:
    """Name `Prompt` and `LABELS` as we do; what is named so already comes first."""
    named = ((_our_name(key), key, value) for key, value in data.items())
    return {ours: value for ours, key, value in named if ours == key or ours not in data}


def _our_name(key: str) -> str:
    return key.lower() if key.lower() in _OURS else key


def _without(data: Data, keys: Collection[str | None]) -> Data:
    return {key: value for key, value in data.items() if key not in keys}


def _without_request(data: Data) -> Data:
    return _without(data, {"prompt", "messages"})


def _cell(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


def _with_lists(data: Data) -> Data:
    """Read the lists that a table keeps as text: `messages` as JSON, `labels` also as a;b."""
    for key in ("messages", "labels"):
        if isinstance(data.get(key), str):
            data[key] = decoded(data[key])
    labels = data.get("labels")
    if isinstance(labels, str):
        data["labels"] = [label.strip() for label in labels.split(";") if label.strip()]
    return data


def _by_layout(row: Row) -> Row:
    data = row.data
    if _says_it_as_we_do(data):
        return row._replace(layout=_own_name(data), data={**data, **_label(row)})
    layout = next((layout for layout in LAYOUTS if layout.fits(data)), None)
    if layout is None:
        return _of_table(row)
    said = _said(layout.request(data))
    if said is None:
        return row._replace(layout=layout.name, problem=f"{layout.name}: {layout.absent}")
    return row._replace(layout=layout.name, data={**_without_request(data), **said})


def said_once(row: Row) -> Data:
    """Return what a recognised row says without a table's own names for its text and label."""
    if row.layout != _TABLE:
        return row.data
    known = dict.fromkeys(TEXT_COLUMNS, row.data.get("prompt"))
    known |= dict.fromkeys(LABEL_COLUMNS, row.data.get("label"))
    own = {key for key in row.data if key != "label" and key.lower() in known}
    said = {key for key in own if known[key.lower()] == row.data[key]}
    return {key: value for key, value in row.data.items() if key not in said}


def _says_it_as_we_do(data: Data) -> bool:
    messages = decoded(data.get("messages"))
    return data.get("prompt") is not None or (isinstance(messages, list) and bool(messages))


def _own_name(data: Data) -> str:
    if "attempts" in data and "reason" in data:
        return "router-ml decision log"
    if "call_type" in data:
        return "LiteLLM log"
    return "Chat Completions requests" if "model" in data else "router-ml rows"


def _unknown(row: Row, texts: Sequence[str]) -> str:
    if len(texts) > 1:
        named = " and ".join(texts)
        return f"{named} may each be its request: say which with --map prompt={texts[0]}."
    within = next((key for key, value in row.data.items() if _holds_rows(value)), None)
    if within is not None and len(row.data) < 4:
        return f"its {within!r} is a list of rows: make lines of them with jq -c '.{within}[]'."
    keys = ", ".join(sorted(row.columns or row.data)[:8]) or "none"
    return (
        f"a row needs either `prompt` or `messages`, or a known layout; this one has {keys}. "
        "Say where its request is with --map prompt=PLACE."
    )


def _holds_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _has(*keys: str) -> Callable[[Data], bool]:
    return lambda data: all(key in data for key in keys)


def _at(*places: str) -> Callable[[Data], Any]:
    """Return what is at the first of these places that has something."""

    def find(data: Data) -> Any:
        found = (decoded(look_up(data, place)) for place in places)
        return next((value for value in found if value), None)

    return find


def _is_langfuse(data: Data) -> bool:
    marks = ("traceId", "trace_id", "sessionId", "session_id", "projectId", "project_id")
    return "input" in data and "output" in data and any(mark in data for mark in marks)


def _of_table(row: Row) -> Row:
    """Read a row by the one column that is called what texts are called."""
    there = [key for key, value in row.data.items() if value is not None]
    columns = _columns(row.columns or there, "prompt", TEXT_COLUMNS)
    if len(columns) != 1:
        return row._replace(problem=_unknown(row, columns))
    text = row.data.get(columns[0])
    if not isinstance(text, str) or not text:
        problem = "is empty" if text in (None, "") else "is no string"
        return row._replace(layout=_TABLE, problem=f"its text, {columns[0]!r}, {problem}.")
    said = _said(text) or {"prompt": text}
    data = {**_without_request(row.data), **_label(row, LABEL_COLUMNS), **said}
    return row._replace(layout=_TABLE, data=data)


def _label(row: Row, called: Sequence[str] = _NO_DECISION) -> Data:
    """Return the label where one column is called what labels are called."""
    names = row.columns or tuple(row.data)
    columns = _columns(names, "label", called)
    if _columns(names, "labels") or len(columns) != 1 or columns[0] not in row.data:
        return {}
    return {"label": row.data[columns[0]]}


def _columns(names: Iterable[str], ours: str, others: Sequence[str] = ()) -> list[str]:
    """Return the columns that are called like this: ours alone where it is there."""
    known = (ours, *others)
    found = [_our_name(name) for name in names if name.lower() in known]
    return [ours] if ours in found else found


def _said(payload: Any) -> Data | None:
    """Return a payload's `prompt` or `messages`; None if it has neither."""
    payload = decoded(payload)
    if isinstance(payload, str):
        return {"prompt": payload} if payload else None
    if isinstance(payload, list):
        return {"messages": payload} if payload else None
    if not isinstance(payload, dict):
        return None
    if "role" in payload and "content" in payload:
        return {"messages": [payload]}
    said = next(
        (s for key in ("messages", "input", "prompt") if (s := _said(payload.get(key)))), None
    )
    return said and _with_instructions(said, payload.get("instructions") or payload.get("system"))


def _with_instructions(said: Data, instructions: Any) -> Data:
    if not isinstance(instructions, str):
        return said
    turns = said.get("messages") or [{"role": "user", "content": said["prompt"]}]
    return {"messages": [{"role": "system", "content": instructions}, *turns]}


_TABLE = "a table with a text column"

LAYOUTS = (
    Layout(
        "router-ml decision log",
        _has("sha256", "characters", "route"),
        lambda data: None,
        "it was written without what requests say; write it with DecisionLog(text=True).",
    ),
    Layout(
        "OpenAI batch output",
        _has("custom_id", "response"),
        lambda data: None,
        "it has answers alone; the requests are in the batch's input file.",
    ),
    Layout("OpenAI batch file", _has("custom_id", "body"), _at("body")),
    Layout(
        "Helicone export",
        lambda data: "request_body" in data or "helicone_user" in data,
        _at("request_body"),
        "it was exported without bodies; export it with --include-body.",
    ),
    Layout(
        "LiteLLM log",
        _has("call_type"),
        _at("messages", "proxy_server_request.body", "proxy_server_request"),
        "it was kept without prompts; LiteLLM keeps them with store_prompts_in_spend_logs.",
    ),
    Layout("Langfuse export", _is_langfuse, _at("input"), "its input is no request."),
    Layout("request/response pairs", _has("request"), _at("request.body", "request")),
    Layout("Responses requests", _has("input"), lambda data: data),
)
