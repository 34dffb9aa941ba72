"""`router-ml label`: label a log with few answers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.catalog import Catalog
from router_ml.cli.console import err, needs, one_sentence, warn
from router_ml.cli.files import beside
from router_ml.cli.options import (
    ApiKeyOption,
    ArtifactOption,
    BaseUrlOption,
    CatalogOption,
    names_in,
)
from router_ml.cli.prelabel import Prelabeller, prelabel
from router_ml.cli.progress import progress
from router_ml.errors import DataError
from router_ml.plurals import counted
from router_ml.tables import out

if TYPE_CHECKING:
    from router_ml.labelling.log import Log
    from router_ml.labelling.questions import Question
    from router_ml.labelling.server import LabelServer
    from router_ml.labelling.session import Session
    from router_ml.labelling.setting import Setting

_SHOWN_BROKEN = 5

AnswersOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="The answers; those there are kept.")
]
MultiOption = Annotated[
    bool | None, typer.Option("--multi/--single", help="Whether several labels may hold.")
]


def label(
    log: Annotated[Path, typer.Argument(help="Rows with prompt or messages, JSON Lines.")],
    output: AnswersOption = None,
    labels: Annotated[str, typer.Option(help="What to choose from, by commas.")] = "",
    multi: MultiOption = None,
    annotator: Annotated[str, typer.Option("--as", envvar="USER", help="Who answers.")] = "me",
    artifact: ArtifactOption = None,
    guideline: Annotated[Path | None, typer.Option(help="What each label means; is shown.")] = None,
    most: Annotated[int, typer.Option("--rows", min=1, help="A sample of so many.")] = 10_000,
    terminal: Annotated[bool, typer.Option("--terminal", help="Ask here, on no page.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0: a free one.")] = 0,
    browse: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
    with_llm: Annotated[str | None, typer.Option(help="Ask this model first.")] = None,
    base_url: BaseUrlOption = None,
    api_key: ApiKeyOption = None,
    cap_usd: Annotated[float, typer.Option(min=0, help="The most that the model may cost.")] = 1,
    confirm: Annotated[int, typer.Option(min=0, help="How many of its labels to check.")] = 50,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it costs.")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Label a log with few answers, on a local page or here; each is saved at once."""
    with one_sentence(), needs("train", "Labelling"):
        from router_ml.labelling.answers import AnswersFile
        from router_ml.labelling.session import Session
        from router_ml.labelling.setting import find_setting, read_guideline

        told = read_guideline(guideline) if guideline else ""
        target = _answers_path(output, log)
        questions = _questions(log, most)
        with AnswersFile(target) as answers:
            setting = find_setting(
                questions, answers.answers, names_in(labels), multi=multi, artifact=artifact
            )
            if with_llm is not None:
                models = Catalog.load(catalog)
                llm = Prelabeller(with_llm, base_url, api_key, cap_usd, yes, models)
                _add_voice(llm, questions, setting, told, log)
            session = Session(
                questions,
                answers,
                setting.labels,
                single=setting.single,
                annotator=annotator.strip() or "me",
                voices=setting.voices,
                confirm=confirm if with_llm else 0,
            )
            _ask(session, told, port, terminal=terminal, browse=browse)
        if target.exists():
            out.print(f"Answers are in {target}: router-ml train {target} -o models/mine")


def _answers_path(output: Path | None, log: Path) -> Path:
    target = output or beside(log, "labels")
    if target.exists() and target.samefile(log):
        raise DataError(target, None, "is the log: the answers need another file.")
    return target


def _questions(path: Path, most: int) -> list[Question]:
    """Read what is to be labelled, and say which rows are not."""
    from router_ml.labelling.log import read_log
    from router_ml.labelling.questions import make_questions

    log = read_log(path, most)
    _show_log(path, log)
    return make_questions(log.rows, progress=progress)


def _show_log(path: Path, log: Log) -> None:
    for error in log.broken[:_SHOWN_BROKEN]:
        warn("skipped", error, "yellow")
    counts = {"unreadable": len(log.broken), "with parts or without words": log.passed_over}
    for why, rows in counts.items():
        if rows:
            err.print(f"{path}: {counted(rows, 'row')} passed over, {why}.", soft_wrap=True)
    if log.usable > len(log.rows):
        err.print(f"{path}: a sample of {len(log.rows):,} of {log.usable:,} rows.", soft_wrap=True)


def _add_voice(
    llm: Prelabeller, questions: list[Question], setting: Setting, guideline: str, log: Path
) -> None:
    """Let an LLM propose labels before anyone else does."""
    from router_ml.labelling.voices import answers_voice

    said = prelabel(llm, questions, setting, guideline, log)
    setting.voices.insert(0, answers_voice(llm.model, said, questions))


def _ask(session: Session, guideline: str, port: int, *, terminal: bool, browse: bool) -> None:
    """Ask the person in the terminal, or on a page and sum up here what was said there."""
    from router_ml.labelling.server import LabelServer
    from router_ml.labelling.terminal import run_terminal, summary

    if terminal:
        run_terminal(session, out)
    else:
        _serve(LabelServer(session, port=port, guideline=guideline), browse)
        out.print(summary(session.state()))


def _serve(server: LabelServer, browse: bool) -> None:
    """Serve the page until the person stops it."""
    import webbrowser

    with server:
        err.print(f"Label at {server.url} until Ctrl-C; every answer is saved.", soft_wrap=True)
        if browse:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
