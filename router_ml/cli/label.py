"""`router-ml label`: label a log with few answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_ml.catalog import Catalog
from router_ml.cli.console import err, needs, one_sentence, warn
from router_ml.cli.files import beside, check_unread
from router_ml.cli.options import (
    ApiKeyOption,
    ArtifactOption,
    BaseUrlOption,
    CatalogOption,
    LogsArgument,
    MapOption,
    ScrubOption,
    names_in,
)
from router_ml.cli.prelabel import Prelabeller, prelabel
from router_ml.cli.progress import progress
from router_ml.errors import DataError
from router_ml.logs import Mapping, find_files, read_mapping
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
    log: LogsArgument,
    output: AnswersOption = None,
    mapping: MapOption = None,
    scrub: ScrubOption = "",
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
        named = _named_after(log, output)
        target = output or beside(named, "labels")
        check_unread(target, find_files(*log))
        questions = _questions(log, most, read_mapping(mapping or ()), scrub)
        with AnswersFile(target) as answers:
            check_unread(target, find_files(*log))  # of a directory, now that it is there
            setting = find_setting(
                questions, answers, names_in(labels), multi=multi, artifact=artifact
            )
            if with_llm is not None:
                models = Catalog.load(catalog)
                llm = Prelabeller(with_llm, base_url, api_key, cap_usd, yes, models)
                _add_voice(llm, questions, setting, told, named)
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


def _named_after(log: Sequence[str], output: Path | None) -> Path:
    """Return the file by which others are named: the log or, of several files, the answers."""
    if find_files(*log) == [Path(log[0])]:
        return Path(log[0])
    if output is None:
        what = "is a directory, a glob or one of several files"
        raise DataError(log[0], None, f"{what}: say where the answers go with -o.")
    return output


def _questions(sources: Sequence[str], most: int, mapping: Mapping, scrub: str) -> list[Question]:
    """Read what is to be labelled, and say which rows are not."""
    from router_ml.labelling.log import read_log
    from router_ml.labelling.questions import make_questions

    log = read_log(sources, most, mapping=mapping, scrub=scrub)
    _show_log(log)
    return make_questions(log.rows, progress=progress)


def _show_log(log: Log) -> None:
    for error in log.broken[:_SHOWN_BROKEN]:
        warn("skipped", error, "yellow")
    counts = {"unreadable": len(log.broken), "with parts or without words": log.passed_over}
    for why, rows in counts.items():
        if rows:
            err.print(f"{counted(rows, 'row')} passed over, {why}.")
    if log.usable > len(log.rows):
        err.print(f"To be labelled: a sample of {len(log.rows):,} of {log.usable:,} rows.")


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
