"""How good an answer is: by its text, a number in it, its JSON, another model, or your own code.

    exact                the answer is `expected`, but for case and space; or one of a list
    regex                the regular expression `expected` is found in the answer
    numeric              the answer's last number is `expected`
    json_schema          the answer is JSON that the schema `expected` allows   [extra: replay]
    json_schema=FILE     … that the schema in the file allows
    judge=FILE           a model reads the prompt in the file and ends with a number in [0, 1];
                         {prompt}, {answer} and {expected} are filled in
    module:function      your function of (row, answer), to a bool or a number in [0, 1]

`expected` is a key of the row.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from router_ml.errors import MissingExtra, ReplayError
from router_ml.replay.endpoint import Endpoint, Purse, Unanswered

Row = Mapping[str, Any]
Verdict = bool | float

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_CLOSE = 1e-6
"""How far a number may be off, relative to what is expected."""


class Scorer(Protocol):
    """Says how good an answer is."""

    def check(self, row: Row) -> str:
        """Say what a row lacks to be scored; "" if nothing."""

    async def score(self, row: Row, answer: str, purse: Purse) -> Verdict:
        """Return whether an answer is right, or how good in [0, 1].

        Raises:
            Unanswered: a judge did not answer, or not with a number.
            CapReached: it could not be asked.

        """


class PlainScorer:
    """A scorer that is a function of a row and an answer."""

    def __init__(
        self,
        function: Callable[[Row, str], Verdict],
        check: Callable[[Row], str] = lambda row: "",
    ) -> None:
        self._function, self.check = function, check

    async def score(self, row: Row, answer: str, purse: Purse) -> Verdict:
        """Return what the function says; what it raises or says amiss is an error of the row."""
        try:
            verdict = self._function(row, answer)
        except Exception as error:  # whatever a user's code, or a schema, raises
            raise Unanswered(f"The scorer raised {type(error).__name__}: {error}") from error
        return _verdict(verdict)


class JudgeScorer:
    """A scorer that is a model with a prompt."""

    def __init__(self, endpoint: Endpoint, model: str, template: str) -> None:
        self._endpoint, self._model, self._template = endpoint, model, template

    def check(self, row: Row) -> str:
        """Say whether the template asks for an `expected` that the row lacks."""
        return _needs_expected(row) if "{expected}" in self._template else ""

    async def score(self, row: Row, answer: str, purse: Purse) -> Verdict:
        """Ask the model, and return the last number that it writes."""
        content = fill(self._template, {**row, "prompt": _asked(row), "answer": answer})
        said = await self._endpoint.ask(self._model, [{"role": "user", "content": content}], purse)
        number = last_number(said.text)
        if number is None:
            raise Unanswered(f"The judge wrote no number: {said.text[-100:]!r}.")
        return _verdict(number)


def fill(template: str, values: Row) -> str:
    """Put values in the places of a template, each once: what they say is no place of its own."""
    return re.sub(
        r"\{(prompt|answer|expected)\}", lambda place: str(values.get(place[1], "")), template
    )


def _asked(row: Row) -> str:
    return row["prompt"] if "prompt" in row else json.dumps(row["messages"], ensure_ascii=False)


def _verdict(verdict: Any) -> Verdict:
    if isinstance(verdict, bool):
        return verdict
    if isinstance(verdict, int | float) and 0 <= verdict <= 1:
        return float(verdict)
    raise Unanswered(f"The scorer gave {verdict!r}, which is neither a bool nor in [0, 1].")


def make_scorer(spec: str, endpoint: Endpoint, judge_model: str | None = None) -> Scorer:
    """Make a scorer of its name, as at the top of this module.

    Args:
        spec: the name.
        endpoint: asks the judge.
        judge_model: which model judges.

    Raises:
        ReplayError: there is no such scorer, or its file or function cannot be used.
        MissingExtra: it needs jsonschema, which is not installed.

    """
    name, _, argument = spec.partition("=")
    if spec in _PLAIN:
        return PlainScorer(*_PLAIN[spec])
    if name == "json_schema":
        return _schema_scorer(Path(argument) if argument else None)
    if name == "judge" and argument:
        if judge_model is None:
            raise ReplayError("The judge needs a model: name it with --judge-model.")
        endpoint.check([judge_model])
        return JudgeScorer(endpoint, judge_model, _read(Path(argument)))
    if ":" in spec:
        return PlainScorer(_import(spec))
    raise ReplayError(
        f"There is no scorer {spec!r}: say {', '.join(_PLAIN)}, json_schema, json_schema=FILE, "
        "judge=FILE or module:function."
    )


def _needs_expected(row: Row) -> str:
    return "" if row.get("expected") is not None else "it has no `expected`"


def exact(row: Row, answer: str) -> bool:
    """Say whether an answer is what is expected, but for case and space."""
    expected = row["expected"]
    wanted = expected if isinstance(expected, list) else [expected]
    return _folded(answer) in [_folded(str(one)) for one in wanted]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def regex(row: Row, answer: str) -> bool:
    """Say whether the expected regular expression is found in an answer."""
    return re.search(row["expected"], answer) is not None


def _check_regex(row: Row) -> str:
    try:
        re.compile(row.get("expected", ""))
    except (re.error, TypeError) as error:
        return f"its `expected` is no regular expression ({error})"
    return _needs_expected(row)


def numeric(row: Row, answer: str) -> bool:
    """Say whether the last number of an answer is the expected one."""
    number, expected = last_number(answer), last_number(str(row["expected"]))
    if number is None or expected is None:
        return False
    return math.isclose(number, expected, rel_tol=_CLOSE, abs_tol=1e-12)


def _check_number(row: Row) -> str:
    if last_number(str(row.get("expected"))) is None:
        return "it has no number as `expected`"
    return ""


def last_number(text: str) -> float | None:
    """Return the last number of a text; commas between its digits are passed over."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def _schema_scorer(path: Path | None) -> PlainScorer:
    try:
        from jsonschema import Draft202012Validator, SchemaError
    except ModuleNotFoundError as error:
        raise MissingExtra("replay", "The scorer json_schema") from error

    def allows(row: Row, answer: str) -> bool:
        fenced = _FENCE.fullmatch(answer)
        try:
            value = json.loads(fenced[1] if fenced else answer)
        except ValueError:
            return False
        return bool(Draft202012Validator(schema_of(row)).is_valid(value))

    def check(row: Row) -> str:
        try:
            Draft202012Validator.check_schema(schema_of(row))
        except SchemaError as error:
            return f"its `expected` is no JSON schema ({error.message})"
        return ""

    def schema_of(row: Row) -> Any:
        return row.get("expected") if path is None else schema

    schema = None if path is None else _read_schema(path)
    return PlainScorer(allows, check)


def _read_schema(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise ReplayError(f"{path} is no JSON: {error}.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ReplayError(f"{path} cannot be read: {why}.") from error


def _import(spec: str) -> Callable[[Row, str], Verdict]:
    module, _, name = spec.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ReplayError(f"The scorer {spec!r} cannot be imported: {error}.") from error
    if not callable(function):
        raise ReplayError(f"The scorer {spec!r} is no function.")
    found: Callable[[Row, str], Verdict] = function
    return found


_PLAIN: dict[str, tuple[Callable[[Row, str], Verdict], Callable[[Row], str]]] = {
    "exact": (exact, _needs_expected),
    "regex": (regex, _check_regex),
    "numeric": (numeric, _check_number),
}
