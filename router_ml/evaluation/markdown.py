"""A report as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router_ml.evaluation.facts import Report
from router_ml.evaluation.quotes import Quote
from router_ml.evaluation.sections import Grid, Section, sections

_QUOTE = 300
"""So many characters of a row are quoted."""
_SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#~"} | {"&": "&amp;"})


def markdown(report: Report) -> str:
    """Return a report as GitHub-flavoured Markdown; what rows say is escaped."""
    return "\n".join(line for section in sections(report) for line in _section(section))


def _section(section: Section) -> Iterator[str]:
    yield f"## {_escaped(section.title)}\n"
    for sentence in section.text:
        yield f"- {_escaped(sentence)}"
    yield ""
    for grid in section.grids:
        yield from _table(grid)
    for quote in section.quotes:
        yield _quote(quote)
    if section.quotes:
        yield ""


def _table(grid: Grid) -> Iterator[str]:
    if grid.title:
        yield f"**{_escaped(grid.title)}**\n"
    yield _row(grid.columns)
    yield f"|---{'|--:' * (len(grid.columns) - 1)}|"
    for row in grid.rows:
        yield _row(row)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _quote(quote: Quote) -> str:
    sure = "" if quote.confidence is None else f", confidence {quote.confidence:.2f}"
    about = f" ({_escaped(quote.about)})" if quote.about else ""
    went = f"{quote.true_route} → {quote.given_route}"
    text = quote.text if len(quote.text) <= _QUOTE else f"{quote.text[:_QUOTE]}…"
    return f"- {_escaped(went)}{sure}{about}, {_escaped(quote.where)}: {_escaped(text)}"


def _escaped(text: str) -> str:
    """Let nothing in a text be read as markup, a mention of somebody, or a line's end."""
    return " ".join(text.split()).translate(_SPECIAL).replace("@", "@\u200b")
