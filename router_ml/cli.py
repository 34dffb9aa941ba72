"""The command line. The only place that reads the environment."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice, zip_longest
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text
from typer.core import TyperCommand

from router_ml.artifact import find_artifact, load_artifact
from router_ml.catalog import Catalog
from router_ml.classifier import check_replay
from router_ml.errors import (
    DataError,
    MissingExtra,
    PolicyError,
    RecipeError,
    ReplayError,
    RouterMLError,
    TargetError,
)
from router_ml.evaluation.drift import measure_drift, measure_label_drift
from router_ml.evaluation.facts import encode_report
from router_ml.evaluation.findings import (
    chosen_section,
    drift_section,
    frontier_chart,
    frontier_section,
    label_drift_section,
    outcomes_section,
)
from router_ml.evaluation.floors import read_floor
from router_ml.evaluation.frontier import Frontier, choose
from router_ml.evaluation.judging import Judge
from router_ml.evaluation.label_errors import doubted_rows, doubts
from router_ml.evaluation.latency import bench
from router_ml.evaluation.markdown import markdown as as_markdown
from router_ml.evaluation.outcome_evaluation import evaluate_outcomes
from router_ml.evaluation.outcomes import read_outcomes
from router_ml.evaluation.page import page, section_page
from router_ml.evaluation.policy_text import policy_with
from router_ml.evaluation.report import VOLUME, make_report
from router_ml.evaluation.sections import Section
from router_ml.evaluation.systems import find_system
from router_ml.evaluation.targets import parse_target
from router_ml.evaluation.thresholds import Chosen
from router_ml.evaluation.traffic import read_shares
from router_ml.examples import request_of
from router_ml.logs import (
    Broken,
    Mapping,
    Row,
    Skipped,
    find_files,
    read_log,
    read_mapping,
    refuse,
    scan,
    split_table,
)
from router_ml.policy import SHIPPED_POLICY, Policy
from router_ml.problems import find_problems, find_unreachable
from router_ml.request import Request
from router_ml.router import Router, default_policy
from router_ml.tables import (
    out,
    show_bench,
    show_catalog,
    show_contest,
    show_decision,
    show_evaluations,
    show_list,
    show_merged,
    show_report,
    show_section,
    show_sources,
)
from router_ml.types import Decision

app = typer.Typer(
    help="Decide which LLM gets a request, before it is sent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_err = Console(stderr=True, markup=False, emoji=False)
_CHUNK = 4096
_SHOWN_BROKEN = 5
_PRINT = "-"
_FOLDS = 5

ArtifactOption = Annotated[str | None, typer.Option(help="Artifact directory or shipped name.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy file (TOML).")]
CatalogOption = Annotated[Path | None, typer.Option(help="Catalog file (TOML).")]
_LOG = (
    "A file, a directory or a glob: JSON Lines, JSON, CSV (also .gz, .zst), Parquet, SQLite, "
    "DuckDB (FILE::TABLE)."
)
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=PLACE", help="Where rows keep it: prompt=body.text."),
]
SkipOption = Annotated[
    bool, typer.Option("--skip-broken", help="Pass over rows that cannot be read, and count them.")
]
ScrubOption = Annotated[
    str,
    typer.Option(
        metavar="COUNTRY",
        help="Take out e-mail addresses, phone numbers (as dialled in US, DE …), keys and card "
        "numbers before anything else is done.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn every error of ours, or of a file, into its sentence and a non-zero exit."""
    try:
        yield
    except BrokenPipeError:  # the reader has had enough; typer ends quietly
        raise
    except (RouterMLError, OSError) as error:
        sentence = _sentence(error) if isinstance(error, OSError) else str(error)
        _warn("error", sentence)
        raise typer.Exit(1) from error


def _sentence(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}."


def _print_json(found: Any) -> None:
    typer.echo(msgspec.json.encode(found).decode())


def _warn(word: str, sentence: object, colour: str = "red") -> None:
    """Say a sentence on standard error, after a word that says what it is about."""
    _err.print(Text.assemble((f"{word}:", colour), " ", str(sentence)), soft_wrap=True)


@contextmanager
def _needs(extra: str, what: str) -> Iterator[None]:
    """Name the extra that something needs, where a module of it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(extra, what) from error


@app.command()
def route(
    prompt: Annotated[str, typer.Argument(help="The request's text; - reads standard input.")],
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide on one request."""
    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        text = sys.stdin.buffer.read().decode("utf-8", "replace") if prompt == "-" else prompt
        decision = router.route(text)
        if as_json:
            _print_json(decision)
        else:
            show_decision(decision, router)


@app.command()
def classify(
    source: Annotated[str, typer.Argument(metavar="LOG", help=_LOG)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write.")] = None,
    mapping: MapOption = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Decide on every row of a log, in order; exit 1 if any row could not be read."""
    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        places = read_mapping(mapping or ())
        with _sink(output) as sink:
            bad = _classify(router, find_files(source), places, sink)
        if bad:
            raise DataError(source, None, f"{bad} lines could not be read; each has its error.")


@contextmanager
def _sink(output: Path | None) -> Iterator[BinaryIO]:
    """Open what is written to: standard output, a device or pipe, else a file, made whole."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        through = output.exists() and not output.is_file()
        with output.open("wb") if through else _whole_file(output) as sink:
            yield sink
    except BrokenPipeError:
        raise
    except OSError as error:  # name what the user gave, not the temporary file
        raise OSError(error.errno, error.strerror, str(output)) from error


@contextmanager
def _whole_file(output: Path) -> Iterator[BinaryIO]:
    """Write beside the file and move it there at the end: it appears whole or not at all."""
    target = Path(os.path.realpath(output))  # a link stays: what it points to is replaced
    partial = target.with_name(f".router-ml-{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as sink:
            yield sink
        if target.exists():
            shutil.copymode(target, partial)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _classify(router: Router, files: list[Path], mapping: Mapping, sink: BinaryIO) -> int:
    rows = (row for path in files for row in scan(path, mapping))
    bad = 0
    while chunk := list(islice(rows, _CHUNK)):
        answers = _classify_chunk(router, chunk, name_files=len(files) > 1)
        sink.writelines(msgspec.json.encode(answer) + b"\n" for answer in answers)
        bad += sum("error" in answer for answer in answers)
    return bad


def _classify_chunk(router: Router, rows: list[Row], name_files: bool) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    requests: list[Request] = []
    for row in rows:
        answer: dict[str, Any] = {"id": row.data["id"]} if "id" in row.data else {}
        answers.append(answer)
        try:
            requests.append(request_of(*_readable(row)))
        except DataError as error:
            answer.update(error=error.problem, line=row.number)
            answer |= {"file": error.path} if name_files else {}
    decisions = iter(router.route_many(requests))
    for answer in answers:
        if "error" not in answer:
            answer.update(_answer(next(decisions)))
    return answers


def _readable(row: Row) -> tuple[Path | str, int, dict[str, Any]]:
    if row.problem is not None:
        raise row.error()
    return row.path, row.number, row.data


def _answer(decision: Decision) -> dict[str, Any]:
    return {
        "route": decision.route,
        "model": decision.model,
        "labels": decision.labels,
        "probabilities": {label: round(p, 6) for label, p in decision.probabilities.items()},
        "reason": decision.reason,
    }


class _JsonToFile(TyperCommand):
    """A command whose `--json` prints, or writes to the file named after it.

    What does not end in `.json` after it is no such file: a log is not overwritten that
    somebody names there.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--json` the value that stands for printing."""
        found: list[str] = []
        for arg, following in zip_longest(args, args[1:], fillvalue=""):
            found.append(arg)
            if arg == "--json" and not following.endswith(".json"):
                found.append(_PRINT)
        return super().parse_args(ctx, found)


@app.command("evaluate", cls=_JsonToFile)
def evaluate_command(
    files: Annotated[list[str], typer.Argument(metavar="LOG...", help=_LOG)],
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SYSTEM",
            help="keywords, litellm, module:function, predictions.jsonl, policy.toml or an "
            "artifact; may be repeated. By default the keyword rules.",
        ),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Slice by a field of the rows too.")
    ] = None,
    volume: Annotated[int, typer.Option(min=1, help="Requests a month.")] = VOLUME,
    traffic: Annotated[
        str | None, typer.Option(help="`classic`, or shares: general=0.9,math=0.1.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown.")] = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="[FILE.json]", help="Print or write JSON.")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(metavar="FIGURE=FLOOR", help="Exit with 3 below it: accuracy=0.95."),
    ] = None,
) -> None:
    """Say how right routing is, what it costs and saves, and whether it is better than others."""
    with _one_sentence(), _broken_rows(skip_broken) as broken:
        router = Router.load(artifact, policy=policy, catalog=catalog)
        floors = [read_floor(text) for text in fail_under or ()]
        shares = None if traffic is None else read_shares(traffic)
        systems = [find_system(name, router) for name in _others(against, router)]
        to_file = None if json in {None, _PRINT} else Path(str(json))
        with _sinks(report, markdown, to_file) as sinks:
            with _progress("Deciding", None, transient=True) as done:
                found = make_report(
                    files,
                    router,
                    systems,
                    by=by or (),
                    mapping=read_mapping(mapping or ()),
                    broken=broken,
                    volume=volume,
                    traffic=shares,
                    policy_name=_policy_source(router.policy, policy),
                    catalog_name="shipped" if catalog is None else str(catalog),
                    done=done,
                )
            missed = [miss for floor in floors if (miss := floor.missed_by(found))]
            for sink, make in zip(sinks, (page, as_markdown, encode_report), strict=True):
                if sink is not None:
                    sink.write(make(found).encode("utf-8", "replace"))
        if json == _PRINT:
            typer.echo(encode_report(found))
        else:
            show_report(found)
        for sentence in missed:
            _warn("below", sentence)
        if missed:
            raise typer.Exit(3)


@contextmanager
def _sinks(*outputs: Path | None) -> Iterator[list[BinaryIO | None]]:
    """Open all that is to be written before the work is done; None stays None."""
    with ExitStack() as stack:
        yield [None if path is None else stack.enter_context(_sink(path)) for path in outputs]


def _others(against: list[str] | None, router: Router) -> list[str]:
    """Return what to compare with: the keyword rules, where nothing else is asked for."""
    if against is None:
        return ["keywords"] if "math" in router.classifier.labels else []
    return against


PublicDataOption = Annotated[
    Path | None,
    typer.Option(envvar="ROUTER_ML_PUBLIC_DATA", help="Where a recipe's public: files lie."),
]


@app.command()
def train(
    source: Annotated[
        str, typer.Argument(metavar="RECIPE_OR_LOG", help="A recipe (TOML), or a labelled log.")
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The artifact.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="`ngrams`, `shipped`, or a sentence-transformers model, name or path."),
    ] = None,
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    scrub: ScrubOption = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a better artifact too.")] = False,
    public_data: PublicDataOption = None,
) -> None:
    """Train a classifier, say how good it is and beside what, and write it as an artifact."""
    with _one_sentence(), _needs("train", "Training"), _broken_rows(skip_broken) as broken:
        from router_ml.training import train as run

        recipe = _recipe(source, output.name if output else None, encoder, mapping, scrub)
        place = output or Path("models") / recipe.name
        trained = run(
            recipe,
            place,
            base=Path(source).parent,
            public_data=public_data,
            progress=_progress,
            broken=broken,
            force=force,
        )
        _show_trained(trained)


def _show_trained(trained: Any) -> None:
    found = trained.cross_validation
    if found is None:
        show_evaluations(trained.evaluations)
    else:
        title = f"cross-validation: {found.folds} folds, {found.repeats} times"
        show_contest(found.scores, title)
        show_list("What to do next:", trained.advice)
    out.print(f"Wrote {trained.path}; the graph agrees to {trained.parity:.1e}.")


@contextmanager
def _broken_rows(skip: bool) -> Iterator[Broken]:
    """Refuse broken rows, or pass over them and say at the end which they were."""
    skipped = Skipped()
    yield skipped if skip else refuse
    for error in skipped.first:
        _warn("skipped", error, "yellow")
    if skipped.count:
        _err.print(f"Broken rows that were skipped: {skipped.count}.")


@app.command()
def check(
    source: Annotated[list[str], typer.Argument(metavar="LOG...", help=_LOG)],
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which labels of a log are wrong or too few, row by row; exit 1 if any are."""
    with _one_sentence(), _needs("train", "Training"), _broken_rows(skip_broken) as broken:
        from router_ml.training import Recipe, check
        from router_ml.training.recipe import DataRecipe

        recipe = Recipe(data=DataRecipe(folds=_FOLDS))
        rows = read_log(source, mapping=read_mapping(mapping or ()), broken=broken)
        found = check(rows, recipe, broken, _progress)
        if as_json:
            _print_json(found)
        else:
            _show_findings(found)
        if not found.clean:
            raise typer.Exit(1)


def _show_findings(found: Any) -> None:
    layouts = ", ".join(f"{name} {count:,}" for name, count in found.layouts.items())
    out.print(f"{found.rows:,} rows of {len(found.labels)} labels ({layouts}).", soft_wrap=True)
    out.print(f"{found.repeated:,} repeat another; training leaves them out.")
    small = [f"{name}: {count}" for name, count in found.small.items()]
    show_list("Labels with too few distinct rows to learn:", small)
    for title, some in (
        ("The same words under different labels:", found.conflicts),
        ("The same words in more than one file:", found.leaks),
    ):
        show_list(title, [f"{one.text}: {'; '.join(map(_place, one.rows))}" for one in some])
    suspects = [f"{_place(one.row)}, {_said(one.said)}: {one.text}" for one in found.suspects]
    show_list("Labels that are probably wrong, the surest first:", suspects)
    if found.unjudged:
        out.print(f"Wrong labels were not looked for: {found.unjudged}", soft_wrap=True)


def _place(row: Any) -> str:
    return f"{row.file}:{row.line} {'+'.join(row.labels) or '(none)'}"


def _said(probabilities: dict[str, float]) -> str:
    return ", ".join(f"{label} {p:.2f}" for label, p in probabilities.items())


@app.command()
def unseen(
    source: Annotated[
        str, typer.Argument(metavar="RECIPE_OR_LOG", help="A recipe (TOML), or a labelled log.")
    ],
    folds: Annotated[int, typer.Option(help="How many parts the sources are divided into.")] = 10,
    public_data: PublicDataOption = None,
    doubted: Annotated[
        Path | None,
        typer.Option("--doubts", help="Write rows whose labels are probably wrong, JSON Lines."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how right a recipe is on sources it has not seen: train without each, judge it."""
    with _one_sentence(), _needs("train", "Training"):
        from router_ml.training import clean, evaluate_unseen, judge_unseen, read_data

        recipe = _recipe(source, None)
        cleaned = clean(recipe, read_data(recipe, Path(source).parent, public_data), _progress)
        judged = judge_unseen(recipe, cleaned, folds, _progress)
        found = evaluate_unseen(recipe, judged)
        if doubted is not None:
            _write_doubts(recipe, judged, doubted)
        if as_json:
            _print_json({e.name: e for e in found})
        else:
            show_evaluations(found)
            show_sources(found[0])


def _write_doubts(recipe: Any, judged: Any, target: Path) -> None:
    """Write the rows whose labels the classifiers that did not see them doubt."""
    from router_ml.training.unseen import judged_unseen

    data = judged.data
    probabilities = judged_unseen(recipe, judged).probabilities
    given = data.targets.astype(bool)
    found = doubts(probabilities, given, data.labels, single_label=data.single_label)
    _write_rows(target, doubted_rows(data.cleaned.examples, found))


@app.command()
def label(
    log: Annotated[Path, typer.Argument(help="Rows with prompt or messages, JSON Lines.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The answers; those there are kept.")
    ] = None,
    labels: Annotated[str, typer.Option(help="What to choose from, by commas.")] = "",
    multi: Annotated[
        bool | None, typer.Option("--multi/--single", help="Whether several labels may hold.")
    ] = None,
    annotator: Annotated[str, typer.Option("--as", envvar="USER", help="Who answers.")] = "me",
    artifact: ArtifactOption = None,
    guideline: Annotated[Path | None, typer.Option(help="What each label means; is shown.")] = None,
    most: Annotated[int, typer.Option("--rows", min=1, help="A sample of so many.")] = 10_000,
    terminal: Annotated[bool, typer.Option("--terminal", help="Ask here, on no page.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0: a free one.")] = 0,
    browse: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
    with_llm: Annotated[str | None, typer.Option(help="Ask this model first.")] = None,
    base_url: Annotated[str | None, typer.Option(envvar="OPENAI_BASE_URL")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Is never written.")
    ] = None,
    cap_usd: Annotated[float, typer.Option(min=0, help="The most that the model may cost.")] = 1,
    confirm: Annotated[int, typer.Option(min=0, help="How many of its labels to check.")] = 50,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it costs.")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Label a log with few answers, on a local page or here; each is saved at once."""
    with _one_sentence(), _needs("train", "Labelling"):
        from router_ml.labelling.answers import AnswersFile
        from router_ml.labelling.log import read_log
        from router_ml.labelling.questions import make_questions
        from router_ml.labelling.server import LabelServer
        from router_ml.labelling.session import Session
        from router_ml.labelling.setting import find_setting, read_guideline
        from router_ml.labelling.terminal import run_terminal, summary
        from router_ml.labelling.voices import answers_voice

        told = read_guideline(guideline) if guideline else ""
        target = output or _beside(log, "labels")
        if target.exists() and target.samefile(log):
            raise DataError(target, None, "is the log: the answers need another file.")
        found = read_log(log, most)
        _show_log(log, found)
        questions = make_questions(found.rows, progress=_progress)
        names = [name.strip() for name in labels.split(",") if name.strip()]
        with AnswersFile(target) as answers:
            setting = find_setting(
                questions, answers.answers, names, multi=multi, artifact=artifact
            )
            if with_llm is not None:
                ask = _Prelabel(with_llm, base_url, api_key, cap_usd, yes, Catalog.load(catalog))
                said = _prelabel(ask, questions, setting, told, log)
                setting.voices.insert(0, answers_voice(with_llm, said, questions))
            session = Session(
                questions,
                answers,
                setting.labels,
                single=setting.single,
                annotator=annotator.strip() or "me",
                voices=setting.voices,
                confirm=confirm if with_llm else 0,
            )
            if terminal:
                run_terminal(session, out)
            else:
                _serve(LabelServer(session, port=port, guideline=told), browse)
                out.print(summary(session.state()))
        if target.exists():
            out.print(f"Answers are in {target}: router-ml train {target} -o models/mine")


def _beside(log: Path, kind: str) -> Path:
    """Return `log.labels.jsonl` for `log.jsonl` and `log.jsonl.gz`."""
    return log.with_name(f"{log.name.removesuffix('.gz').removesuffix('.jsonl')}.{kind}.jsonl")


def _show_log(path: Path, log: Any) -> None:
    for error in log.broken[:_SHOWN_BROKEN]:
        _warn("skipped", error, "yellow")
    counts = {"could not be read": len(log.broken), "have parts or no words": log.passed_over}
    for what, rows in counts.items():
        if rows:
            _err.print(f"{path}: {rows:,} rows {what} and are passed over.", soft_wrap=True)
    if log.usable > len(log.rows):
        _err.print(f"{path}: a sample of {len(log.rows):,} of {log.usable:,} rows.", soft_wrap=True)


def _serve(server: Any, browse: bool) -> None:
    """Serve the page until the person stops it."""
    import webbrowser

    with server:
        _err.print(f"Label at {server.url} until Ctrl-C; every answer is saved.", soft_wrap=True)
        if browse:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


class _Prelabel(NamedTuple):
    """What `--with-llm` and its companions say."""

    model: str
    base_url: str | None
    api_key: str | None
    cap_usd: float
    yes: bool
    catalog: Catalog


def _prelabel(
    ask: _Prelabel, questions: Any, setting: Any, guideline: str, log: Path
) -> dict[str, tuple[str, ...]]:
    """Ask an LLM for labels, if the person agrees to what it costs; return what it said."""
    with _needs("replay", "Asking an LLM for labels"):
        from router_ml.labelling.prelabel import MAX_TOKENS, Prelabelling
        from router_ml.replay import Budget, Endpoint, make_client

    with _results(_beside(log, "llm-results")) as results:
        client = make_client(ask.base_url, ask.api_key, 60)
        budget = Budget(ask.cap_usd, results.spent)
        endpoint = Endpoint(client, ask.catalog, budget, max_tokens=MAX_TOKENS)
        prepared = Prelabelling(
            questions,
            ask.model,
            endpoint,
            results,
            labels=setting.labels,
            single=setting.single,
            guideline=guideline,
        )
        cost = prepared.cost()
        where = ask.base_url or "api.openai.com"
        _err.print(
            f"{cost.requests:,} requests to {ask.model} at {where}, about US${cost.expected:.4f}, "
            f"at most US${cost.most:.4f}; US${results.spent:.4f} of the cap of US${ask.cap_usd:g} "
            "is spent. Their texts leave this machine.",
            soft_wrap=True,
        )
        if cost.requests and (ask.yes or typer.confirm("Send them?", err=True)):
            try:
                _replay(prepared.replay, 8, budget.spent)
            except ReplayError as error:  # what was said so far is of use
                _warn("warning", error, "yellow")
    said = prepared.said()
    target = _beside(log, "llm")
    _write_rows(target, prepared.labelled_rows(said))
    _err.print(f"{ask.model} labelled {len(said):,} of {len(questions):,}: {target}")
    return said


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="Answers of several people.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.")],
    disputed: Annotated[
        Path | None, typer.Option(help="Where to write the rows they disagree on, to be settled.")
    ] = None,
    trust_first: Annotated[
        bool, typer.Option("--trust-first", help="Without a majority, the first file is right.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Join the answers of several people; list disagreements, measure agreement."""
    with _one_sentence():
        from router_ml.labelling.merge import merge_answers

        found = merge_answers(files, trust_first=trust_first)
        _write_rows(output, found.rows)
        if disputed is not None:
            _write_rows(disputed, [{**d.row, "answers": d.answers} for d in found.disagreements])
        if as_json:
            facts = {"rows": len(found.rows), "agreements": found.agreements}
            facts["disagreements"] = found.disagreements
            _print_json(facts)
        else:
            show_merged(found)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with _sink(path) as sink:
        sink.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def _recipe(
    source: str,
    name: str | None,
    encoder: str | None = None,
    mapping: list[str] | None = None,
    scrub: str = "",
) -> Any:
    """Load a recipe, or make the default one for a labelled log."""
    from router_ml.training import Recipe, load_recipe
    from router_ml.training.recipe import DataRecipe, EncoderRecipe

    if source.endswith(".toml"):
        if encoder or mapping or scrub:
            raise RecipeError(
                "--encoder, --map and --scrub go with a log; a recipe says all that itself."
            )
        return load_recipe(Path(source))
    files = find_files(source)
    if not any(Path(split_table(str(path))[0]).exists() for path in files):
        raise DataError(source, None, "cannot be read: no such file.")
    data = DataRecipe(
        files=tuple(glob.escape(str(path.absolute())) for path in files),
        folds=_FOLDS,
        map=read_mapping(mapping or ()),
        scrub=scrub,
    )
    known = {None: "ngrams", "ngrams": "ngrams", "shipped": "shipped"}
    kind: Any = known.get(encoder, "transformer")
    model = encoder if kind == "transformer" else None
    named = name or Path(source).name.split(".")[0]
    return Recipe(name=named, data=data, encoder=EncoderRecipe(kind=kind, model=model))


@contextmanager
def _progress(stage: str, total: int | None, *, transient: bool = False) -> Iterator[Any]:
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn())
    hidden = transient and not _err.is_terminal  # where nothing can be erased again
    with Progress(
        *columns, TimeRemainingColumn(), console=_err, transient=transient, disable=hidden
    ) as bar:
        task = bar.add_task(stage, total=total)
        yield lambda rows: bar.advance(task, rows)


SeedOption = Annotated[
    int, typer.Option(min=0, max=2**32, help="Of the draw that divides or samples rows.")
]


@app.command()
def thresholds(
    files: Annotated[list[Path], typer.Argument(help="A log, JSON Lines; labelled if need be.")],
    target: Annotated[
        str | None,
        typer.Option(help="As in `at most 5% of traffic to moonshot-k2.5`; none: the frontier."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A policy file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page.")] = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Choose thresholds for a target on one half of a log, measure them on the other.

    \b
    at most 5% of traffic to MODEL               needs no labelled rows
    at most 5% of traffic to ROUTE by LABEL      says whose threshold moves
    recall of LABEL >= 0.99
    precision of LABEL >= 0.9
    cheapest with accuracy >= 0.95
    """
    with _one_sentence():
        judge = Judge(Router.load(artifact, policy=policy, catalog=catalog))
        wanted = None
        if target is not None:
            wanted = parse_target(target, judge.router.policy, judge.labels)
        elif output is not None:
            raise TargetError("There is no policy to write without a --target.")
        source = _policy_text(judge.router.policy, policy) if output else ""
        with _sinks(report, output) as (to_page, to_policy):
            chosen, drawn = choose(judge, files, wanted, seed)
            parts = _parts(chosen, drawn)
            if to_page is not None:
                to_page.write(section_page("Thresholds", parts).encode())
            if to_policy is not None and chosen is not None:
                to_policy.write(policy_with(source, chosen.thresholds).encode())
        if as_json:
            _print_json({"chosen": chosen, "frontier": drawn})
        else:
            for section, _ in parts:
                show_section(section)


def _policy_text(loaded: Policy, given: Path | None) -> str:
    """Return the TOML of the policy that is loaded."""
    if given is None and loaded != Policy.load():
        raise PolicyError("The artifact has labels of its own: write a policy, and pass --policy.")
    return (given or SHIPPED_POLICY).read_text(encoding="utf-8")


def _parts(chosen: Chosen | None, drawn: Frontier | None) -> list[tuple[Section, str]]:
    """Return what there is to say, each section with its chart."""
    parts = [(chosen_section(chosen), "")] if chosen else []
    return [*parts, (frontier_section(drawn), frontier_chart(drawn))] if drawn else parts


@app.command()
def outcomes(
    files: Annotated[list[Path], typer.Argument(help="Outcome data, as `replay` writes them.")],
    by: Annotated[
        str | None, typer.Option(help="The label whose probability asks for the strong model.")
    ] = None,
    weak: Annotated[str | None, typer.Option(help="Of two models, the cheap one.")] = None,
    strong: Annotated[str | None, typer.Option(help="And the good one.")] = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a policy by what models really answered: quality and cost beside each of them."""
    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        rows = read_outcomes(files)
        found = evaluate_outcomes(router, rows, by=by, weak=weak, strong=strong)
        if as_json:
            _print_json(found)
        else:
            show_section(outcomes_section(found))


@app.command()
def replay(
    prompts: Annotated[Path, typer.Argument(help="Rows with prompt or messages, JSON Lines.")],
    models: Annotated[str, typer.Option(help="Whom to ask: ids in the catalog, by commas.")],
    output: Annotated[Path, typer.Option("-o", "--out", help="Results; those there are kept.")],
    cap_usd: Annotated[float, typer.Option(min=0, help="The most that all results may cost.")],
    base_url: Annotated[str | None, typer.Option(envvar="OPENAI_BASE_URL")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Is never written.")
    ] = None,
    scorer: Annotated[
        str,
        typer.Option(
            help="exact, regex, numeric, json_schema[=FILE], judge=FILE or module:function."
        ),
    ] = "exact",
    judge_model: Annotated[str | None, typer.Option(help="Which model judges.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many prompts.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 1024,
    concurrency: Annotated[int, typer.Option(min=1, help="Prompts under way at once.")] = 8,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Of one attempt.")] = 120,
    catalog: CatalogOption = None,
    seed: SeedOption = 0,
) -> None:
    """Send a sample of prompts to several models, score the answers, keep within a cap."""
    with _one_sentence(), _needs("replay", "Replaying prompts"), _results(output) as results:
        from router_ml.replay import Budget, Endpoint, Replay, make_client, make_scorer, sample_rows

        client = make_client(base_url, api_key, timeout_s)
        budget = Budget(cap_usd, results.spent)
        endpoint = Endpoint(client, Catalog.load(catalog), budget, max_tokens=max_tokens)
        judge = make_scorer(scorer, endpoint, judge_model)
        rows, left_out = sample_rows(prompts, sample, seed)
        if left_out:
            _err.print(f"{left_out:,} rows with an image or audio part are left out.")
        names = [name.strip() for name in models.split(",") if name.strip()]
        _replay(Replay(rows, names, endpoint, judge, results), concurrency, budget.spent)


def _replay(prepared: Any, concurrency: int, spent: float) -> None:
    import asyncio

    done = prepared.summary
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("US${task.fields[spent]:.4f}"))
    with Progress(*columns, TimeRemainingColumn(), console=_err) as bar:
        task = bar.add_task("", total=len(prepared.pairs), spent=spent)
        try:
            asyncio.run(
                prepared.run(concurrency, lambda usd: bar.update(task, advance=1, spent=usd))
            )
        except KeyboardInterrupt:
            bar.stop()
            _err.print("Stopped; the same command goes on from here.")
            raise typer.Exit(130) from None
        finally:
            bar.stop()
            _err.print(
                f"{done.answered:,} answered now, {done.before:,} before; {done.failed:,} failed."
            )
    if done.failed:
        raise ReplayError(
            f"{done.failed:,} answers are missing; the file says why, and the same command "
            "asks for them again."
        )


@contextmanager
def _results(path: Path) -> Iterator[Any]:
    from router_ml.replay import ResultsFile

    with ResultsFile(path) as results:
        yield results


@app.command()
def drift(
    files: Annotated[list[Path], typer.Argument(help="The log, JSON Lines.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="An earlier log; none: the artifact's label counts.")
    ] = None,
    new: Annotated[
        Path | None, typer.Option(help="Where to write the new rows, to be labelled.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="How many of them at most.")] = 200,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether traffic has changed: routes, confidence, what is said; and what is new."""
    with _one_sentence():
        judge = Judge(Router.load(artifact, policy=policy, catalog=catalog))
        if not against:
            if new is not None:
                raise DataError(new, None, "new rows need a log to differ from: --against FILE.")
            _label_drift(judge, files, as_json)
            return
        with _sinks(new) as (to_label,):
            found = measure_drift(judge, files, against, most)
            if to_label is not None:
                to_label.writelines(msgspec.json.encode(row.row) + b"\n" for row in found.new)
        if as_json:
            _print_json(found)
        else:
            show_section(drift_section(found))


def _label_drift(judge: Judge, files: list[Path], as_json: bool) -> None:
    found = measure_label_drift(judge, files)
    if as_json:
        _print_json(found)
    else:
        show_section(label_drift_section(found))


@app.command("bench")
def bench_command(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    calls: Annotated[int, typer.Option(min=100, help="Decisions for each length.")] = 2000,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast this machine decides: one at a time, in batches, from a cold start."""
    with _one_sentence():
        found = bench(Router.load(artifact, policy=policy, catalog=catalog), calls)
        if as_json:
            _print_json(found)
        else:
            show_bench(found)


@app.command("catalog")
def catalog_command(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the models by price, and all that is wrong with a policy; exit 1 if anything is."""
    with _one_sentence():
        models = Catalog.load(catalog)
        labels = load_artifact(find_artifact(artifact)).config.labels
        rules = default_policy(labels) if policy is None else Policy.read(policy)
        problems = [*find_problems(rules, labels, models), *find_unreachable(rules)]
        if as_json:
            _print_json(_catalog_facts(models, problems))
        else:
            show_catalog(models)
            for problem in problems:
                _warn("problem", problem)
        if problems:
            raise typer.Exit(1)


def _catalog_facts(catalog: Catalog, problems: list[str]) -> dict[str, Any]:
    models = {name: catalog.models[name] for name in catalog.rank("cheapest")}
    return {"baseline": catalog.baseline, "models": models, "problems": problems}


@app.command()
def info(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is loaded, and whether it answers here as it did where it was made."""
    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        rows = router.artifact.golden()
        difference = router.classifier.replay(rows)
        facts = {
            **_versions(),
            **_facts(router),
            "policy": _policy_source(router.policy, policy),
            "catalog": "shipped" if catalog is None else str(catalog),
            "golden": {"rows": len(rows), "largest_difference": difference},
        }
        encoded = msgspec.json.encode(facts).decode()
        if as_json:
            typer.echo(encoded)
        else:
            out.print_json(encoded)
        check_replay(router.artifact, difference)


@app.command("serve")
def serve_command(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8790,
    token: Annotated[
        str | None,
        typer.Option(envvar="ROUTER_ML_TOKEN", help="The bearer token that callers must have."),
    ] = None,
    body_bytes: Annotated[int, typer.Option(min=1, help="The longest body.")] = 8_000_000,
    at_once: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 64,
) -> None:
    """Decide over HTTP, for gateways in any language; files that change are taken up."""
    with _one_sentence():
        with _needs("serve", "Serving"):
            from router_ml.service.app import Limits, Service
            from router_ml.service.server import serve as run
        from router_ml.reload import ReloadingRouter

        with ReloadingRouter.load(artifact, policy=policy, catalog=catalog) as router:
            service = Service(router, token=token or None, limits=Limits(body_bytes, at_once))
            run(service, host, port, lambda url: _err.print(f"Deciding on {url}"))


@app.command("conformance")
def conformance_command(
    url: Annotated[
        str | None,
        typer.Argument(help="A service that answers a posted payload with a `route`; none: ours."),
    ] = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Check how chats of every shape are decided on; exit 1 if any is decided otherwise."""
    from router_ml.conformance import ask_over_http, ask_router, failures, read_cases

    with _one_sentence():
        if url is None:
            ask = ask_router(Router.load(artifact, policy=policy, catalog=catalog))
        else:
            ask = ask_over_http(url)
        failed = list(failures(ask))
        for case, answer in failed:
            out.print(f"{case.id}: {answer.route} ({answer.reason}), not {case.route}")
        cases = len(read_cases())
        out.print(f"{cases - len(failed)} of {cases} cases are as expected.")
        if failed:
            raise typer.Exit(1)


@app.command("litellm-config")
def litellm_config_command(
    policy: Annotated[Path, typer.Argument(help="Policy file (TOML).")],
    artifact: ArtifactOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Print a configuration of LiteLLM's proxy that routes by a policy."""
    with _one_sentence():
        with _needs("litellm", "Writing LiteLLM's configuration"):
            from router_ml.integrations.litellm_config import configuration
        router = Router.load(artifact, policy=policy, catalog=catalog)
        files = {
            "POLICY": policy,
            "CATALOG": catalog,
            "ARTIFACT": artifact and find_artifact(artifact),
        }
        environment = {
            f"ROUTER_ML_{name}": str(Path(file).absolute()) for name, file in files.items() if file
        }
        typer.echo(configuration(router, environment), nl=False)


def _versions() -> dict[str, str]:
    import onnxruntime

    from router_ml import __version__

    return {"version": __version__, "onnxruntime": onnxruntime.__version__}


def _facts(router: Router) -> dict[str, Any]:
    config = router.artifact.config
    return {
        "artifact": str(router.artifact.path),
        "name": config.name,
        "thresholds": config.thresholds,
        "input": config.input,
        "trained": config.trained,
        "routes": list(dict.fromkeys(rule.route for rule in router.policy.rules)),
        "baseline": router.catalog.baseline,
    }


def _policy_source(loaded: Policy, given: Path | None) -> str:
    if given is not None:
        return str(given)
    return "shipped" if loaded == Policy.load() else "one route a label"


if __name__ == "__main__":
    app()
