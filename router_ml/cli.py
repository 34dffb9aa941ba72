"""The command line. The only place that reads the environment."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from router_ml.artifact import find_artifact, load_artifact
from router_ml.catalog import Catalog
from router_ml.classifier import check_replay
from router_ml.errors import DataError, MissingExtra, RecipeError, RouterMLError
from router_ml.evaluation import evaluate, evaluate_keywords
from router_ml.evaluation.latency import bench
from router_ml.examples import Example, read_examples, request_of
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
from router_ml.policy import FACTS, Policy
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
        _err.print(Text.assemble(("error:", "red"), " ", sentence), soft_wrap=True)
        raise typer.Exit(1) from error


def _sentence(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}."


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
            typer.echo(msgspec.json.encode(decision).decode())
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


@app.command("evaluate")
def evaluate_command(
    files: Annotated[list[str], typer.Argument(metavar="LOG...", help=_LOG)],
    mapping: MapOption = None,
    skip_broken: SkipOption = False,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare routing with labels: accuracy, confusion, calibration, and the keyword rules."""
    with _one_sentence(), _broken_rows(skip_broken) as broken:
        router = Router.load(artifact, policy=policy, catalog=catalog)
        labels, places = router.classifier.labels, read_mapping(mapping or ())
        read = (read_examples([path], mapping=places, broken=broken) for path in files)
        known = (_known(path, some, labels) for path, some in zip(files, read, strict=True))
        examples = list(chain.from_iterable(known))
        found = [evaluate(router.classifier, router.policy, examples, name="classifier")]
        if "math" in labels:
            found.append(evaluate_keywords(router.policy, examples, labels))
        if as_json:
            typer.echo(msgspec.json.encode({e.name: e for e in found}).decode())
        else:
            show_evaluations(found)


def _known(path: str, examples: list[Example], labels: Sequence[str]) -> list[Example]:
    """Refuse a label that no route can follow from."""
    known = {*labels, *FACTS}
    unknown = sorted({name for example in examples for name in example.labels if name not in known})
    if unknown:
        raise DataError(
            path,
            None,
            f"the label {unknown[0]!r} is none that the artifact knows: "
            f"it knows {', '.join(sorted(known))}.",
        )
    return examples


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
    with _one_sentence(), _needs_training(), _broken_rows(skip_broken) as broken:
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
        _err.print(Text.assemble(("skipped:", "yellow"), " ", str(error)), soft_wrap=True)
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
    with _one_sentence(), _needs_training(), _broken_rows(skip_broken) as broken:
        from router_ml.training import Recipe, check
        from router_ml.training.recipe import DataRecipe

        recipe = Recipe(data=DataRecipe(folds=_FOLDS))
        rows = read_log(source, mapping=read_mapping(mapping or ()), broken=broken)
        found = check(rows, recipe, broken, _progress)
        if as_json:
            typer.echo(msgspec.json.encode(found).decode())
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
    as_json: JsonOption = False,
) -> None:
    """Say how right a recipe is on sources it has not seen: train without each, judge it."""
    with _one_sentence(), _needs_training():
        from router_ml.training import clean, evaluate_unseen, judge_unseen, read_data

        recipe = _recipe(source, None)
        cleaned = clean(recipe, read_data(recipe, Path(source).parent, public_data), _progress)
        found = evaluate_unseen(recipe, judge_unseen(recipe, cleaned, folds, _progress))
        if as_json:
            typer.echo(msgspec.json.encode({e.name: e for e in found}).decode())
        else:
            show_evaluations(found)
            show_sources(found[0])


@contextmanager
def _needs_training() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra("train", "Training") from error


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
def _progress(stage: str, total: int) -> Iterator[Any]:
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_err) as bar:
        task = bar.add_task(stage, total=total)
        yield lambda rows: bar.advance(task, rows)


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
            typer.echo(msgspec.json.encode(found).decode())
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
            typer.echo(msgspec.json.encode(_catalog_facts(models, problems)).decode())
        else:
            show_catalog(models)
            for problem in problems:
                _err.print(Text.assemble(("problem:", "red"), " ", problem), soft_wrap=True)
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
