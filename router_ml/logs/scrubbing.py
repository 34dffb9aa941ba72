"""Personal data and secrets taken out of what requests say, before anything keeps it.

Phone numbers are found by `phonenumbers`, the port of the library that Android uses: by
patterns of our own every long number would be one. E-mail addresses, keys and card numbers have
a form of their own (cards a check digit, too), for which the libraries that find them bring
spaCy, NLTK or scikit-learn along. Names and postal addresses stay: nothing here finds those.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from router_ml.errors import DataError, MissingExtra
from router_ml.logs.mapping import FIELDS
from router_ml.logs.row import Row

Scrub = Callable[[str], str]

_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----.{0,8000}?-----END [A-Z ]{0,20}PRIVATE KEY-----"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # a JSON Web Token
    r"|\b(?:sk|pk|rk)[-_][\w-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}"  # Amazon, Google
    r"|\bgh[oprsu]_\w{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|\bhf_\w{30,}|\bnpm_\w{36}|\bpypi-[\w-]{50,}"
    r"|\b[Bb]earer +[\w.~+/-]{16,}=*",
    re.S,
)
_NAMED_KEY = re.compile(
    r"((?:api[_ -]?key|access[_ -]?key|secret|token|password|passwd|pwd)[\"']?\s{0,3}[:=]\s{0,3})"
    r"[\"']?[^\s\"',;]{6,}",
    re.I,
)
_EMAIL = re.compile(r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.]?\d)")


def make_scrub(country: str) -> Scrub:
    """Return a function that replaces personal data in a text: `[email]`, `[phone]`, ….

    Args:
        country: two letters; phone numbers are found as they are dialled there, and in
            international form.

    Raises:
        DataError: there is no such country.
        MissingExtra: phonenumbers is not installed.

    """
    try:
        import phonenumbers
    except ModuleNotFoundError as error:
        raise MissingExtra("scrub", "Scrubbing") from error
    if country not in phonenumbers.SUPPORTED_REGIONS:
        raise DataError(f"--scrub {country}", None, "must be a country's two letters, such as US.")

    def scrub(text: str) -> str:
        text = _NAMED_KEY.sub(r"\1[key]", _KEY.sub("[key]", text))
        text = _CARD.sub(_card, _EMAIL.sub("[email]", text))
        for match in reversed(list(phonenumbers.PhoneNumberMatcher(text, country))):
            text = f"{text[: match.start]}[phone]{text[match.end :]}"
        return text

    return scrub


def scrub_row(row: Row, scrub: Scrub) -> Row:
    """Scrub what a row says; of the rest, only what the project knows is kept."""
    kept = {field: row.data[field] for field in FIELDS if field in row.data}
    for field in ("prompt", "messages"):
        if field in kept:
            kept[field] = _scrubbed(kept[field], scrub)
    return row._replace(data=kept)


def _scrubbed(value: Any, scrub: Scrub) -> Any:
    if isinstance(value, str):
        return value if value.startswith("data:") else scrub(value)  # an image says nothing
    if isinstance(value, list):
        return [_scrubbed(item, scrub) for item in value]
    if isinstance(value, dict):
        return {key: _scrubbed(item, scrub) for key, item in value.items()}
    return value


def _card(match: re.Match[str]) -> str:
    """Replace digits that pass the check of card numbers (Luhn 1960); leave others."""
    digits = [int(digit) for digit in match[0] if digit.isdecimal()][::-1]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return "[card]" if (sum(digits[::2]) + sum(doubled)) % 10 == 0 else match[0]
