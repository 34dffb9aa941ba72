"""A session in the terminal: a line an answer."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from router_ml.errors import LabellingError
from router_ml.evaluation.thresholds import Share
from router_ml.labelling.log import plain
from router_ml.labelling.session import Session
from router_ml.labelling.view import Shown, State
from router_ml.plurals import counted

_HELP = (
    "Enter takes what is proposed; else numbers or names of labels, by commas; +name adds one; "
    "- none of them; s skips, u takes the last answer back, q stops."
)


def run_terminal(session: Session, console: Console) -> None:
    """Ask until nothing is left, or the person has had enough; every answer is saved at once.

    Raises:
        OSError: an answer could not be saved.

    """
    console.print(_HELP, style="dim")
    while (state := session.state()).question is not None:
        _show(state, state.question, console)
        try:
            said = console.input("> ").strip()
            if said == "q":
                break
            _act(session, state, state.question, said)
        except (EOFError, KeyboardInterrupt):
            console.print()
            break
        except LabellingError as error:
            console.print(Text(str(error), "red"))
    console.print(summary(session.state()))


def _act(session: Session, state: State, question: Shown, said: str) -> None:
    if said == "s":
        session.skip(question.key)
    elif said == "u":
        session.undo()
    else:
        session.answer(question.key, _chosen(said, state, question))


def _chosen(said: str, state: State, question: Shown) -> Sequence[str]:
    if said == "-":
        return []
    if said:
        return [_label(part.strip(), state.labels) for part in said.split(",") if part.strip()]
    if question.proposed is None:
        raise LabellingError(f"Nothing is proposed. {_HELP}")
    return question.proposed


def _label(said: str, labels: Sequence[str]) -> str:
    """Read a number, a name or its beginning, or with + a new name."""
    if said.startswith("+"):
        return said[1:]
    if said in labels:
        return said
    if said.isdecimal() and 1 <= int(said) <= len(labels):
        return labels[int(said) - 1]
    found = [label for label in labels if label.casefold().startswith(said.casefold())]
    if len(found) == 1:
        return found[0]
    raise LabellingError(f"{said!r} names {len(found) or 'none'} of the labels. {_HELP}")


def _show(state: State, question: Shown, console: Console) -> None:
    console.rule(summary(state))
    for role, text in question.turns:
        console.print(Text.assemble((f"{plain(role)}: ", "bold cyan"), plain(text)))
    if question.cut:
        console.print("(cut)", style="dim")
    if question.rows > 1:
        console.print(f"One answer for {question.rows:,} rows that say nearly the same.")
        for text in question.alike[:3]:
            console.print(Text(f"  {plain(text)[:100]}", "dim"))
    for number, label in enumerate(state.labels, 1):
        console.print(f"{number:>3} {plain(label)}", highlight=False)
    if question.proposed is not None:
        labels = ", ".join(map(plain, question.proposed)) or "none of the labels"
        console.print(Text(f"Proposed by {plain(question.by)}: {labels}", "green"))


def summary(state: State) -> str:
    """Say in one line where a session stands."""
    parts = [
        counted(state.answers, "answer"),
        f"{state.rows_labelled:,} of {counted(state.rows, 'row')}",
        *_share("proposals right", state.proposals),
        *_share("learned", state.learned),
    ]
    return " · ".join(parts)


def _share(name: str, found: Share) -> list[str]:
    if not found.rows:
        return []
    return [f"{name} {found.value:.0%} ({found.low:.0%}–{found.high:.0%} of {found.rows} drawn)"]
