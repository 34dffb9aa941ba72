"""The command line. The only place that reads the environment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from router_ml.errors import DataError, MissingExtra, RouterMLError
from router_ml.evaluation import Evaluation, evaluate, evaluate_keywords
from router_ml.examples import parse_row, read_examples, read_lines, request_of
from router_ml.router import Router
from router_ml.types import Decision

app = typer.Typer(
    help="Decide which LLM gets a request, before it is sent.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_out, _err = Console(), Console(stderr=True)
_CHUNK = 4096

ArtifactOption = Annotated[str | None, typer.Option(help="Artifact directory or shipped name.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy file (TOML).")]
CatalogOption = Annotated[Path | None, typer.Option(help="Catalog file (TOML).")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn every error of ours into its sentence and a non-zero exit."""
    try:
        yield
    except RouterMLError as error:
        _err.print(f"[red]error:[/red] {error}", highlight=False, markup=True, soft_wrap=True)
        raise typer.Exit(1) from error


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
            _show_decision(decision, router)


def _show_decision(decision: Decision, router: Router) -> None:
    known = router.catalog.models.get(decision.model or "")
    price = f"  (${known.output_price:.2f} per million output tokens)" if known else ""
    lines = {
        "route": decision.route,
        "model": f"{decision.model or '-'}{price}",
        "fallbacks": ", ".join(decision.fallbacks) or "-",
        "labels": ", ".join(decision.labels) or "(none)",
        "reason": f"{decision.reason}, confidence {decision.confidence:.2f}",
        "parameters": ", ".join(f"{k}={v}" for k, v in decision.parameters.items()) or "-",
    }
    table = Table(show_header=False, box=None)
    for name, value in lines.items():
        table.add_row(f"[bold]{name}[/bold]", value)
    for label, p in decision.probabilities.items():
        table.add_row(f"  {label}", f"{p:.3f} {'█' * round(20 * p)}")
    _out.print(table)


@app.command()
def classify(
    source: Annotated[Path, typer.Argument(help="JSON Lines with prompt or messages; .gz too.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write.")] = None,
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Decide on every line of a file, in order; exit 1 if any line could not be read."""
    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        partial = output.with_name(f".{output.name}.part") if output else None
        try:
            with partial.open("wb") if partial else _stdout() as sink:
                bad = _classify(router, source, sink)
        except BaseException:
            if partial:
                partial.unlink(missing_ok=True)
            raise
        if partial and output:
            partial.replace(output)
        if bad:
            raise DataError(source, None, f"{bad} lines could not be read; each has its error.")


@contextmanager
def _stdout() -> Iterator[Any]:
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _classify(router: Router, source: Path, sink: Any) -> int:
    bad, chunk = 0, []
    for numbered in read_lines(source):
        chunk.append(numbered)
        if len(chunk) == _CHUNK:
            bad += _classify_chunk(router, source, chunk, sink)
            chunk = []
    return bad + _classify_chunk(router, source, chunk, sink)


def _classify_chunk(router: Router, source: Path, chunk: list[tuple[int, bytes]], sink: Any) -> int:
    rows: list[dict[str, Any]] = []
    requests: list[Any] = []
    for number, line in chunk:
        try:
            row = parse_row(source, number, line)
            request_of(source, number, row)
            requests.append(row.get("prompt", row.get("messages")))
            rows.append({"id": row["id"]} if "id" in row else {})
        except DataError as error:
            rows.append({"error": error.problem, "line": number})
    decisions = iter(router.route_many(requests))
    for row in rows:
        if "error" not in row:
            row.update(_answer(next(decisions)))
        sink.write(msgspec.json.encode(row) + b"\n")
    return sum("error" in row for row in rows)


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
    files: Annotated[list[Path], typer.Argument(help="Labelled JSON Lines.")],
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare routing with labels: accuracy, confusion, calibration, and the keyword rules."""
    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        examples = read_examples(files)
        labels = router.classifier.labels
        found = [evaluate(router.classifier, router.policy, examples, name="classifier")]
        if "math" in labels:
            found.append(evaluate_keywords(router.policy, examples, labels))
        if as_json:
            typer.echo(msgspec.json.encode({e.name: e for e in found}).decode())
        else:
            _show_evaluations(found)


def _show_evaluations(evaluations: list[Evaluation]) -> None:
    table = Table(title=f"{evaluations[0].rows} rows")
    for column in ("", "route accuracy", "mean over sources", "macro-F1", "calibration error"):
        table.add_column(column, justify="left" if not column else "right")
    for e in evaluations:
        error = "-" if e.calibration_error is None else f"{e.calibration_error:.4f}"
        figures = (f"{e.accuracy:.4f}", f"{e.macro_source_accuracy:.4f}", f"{e.macro_f1:.4f}")
        table.add_row(e.name, *figures, error)
    _out.print(table)
    for e in evaluations:
        _show_confusion(e)
    _show_labels(evaluations[0])


def _show_confusion(evaluation: Evaluation) -> None:
    table = Table(title=f"{evaluation.name}: true route (down), given route (across)")
    table.add_column("")
    for name in evaluation.routes:
        table.add_column(name, justify="right")
    for name, row in zip(evaluation.routes, evaluation.confusion, strict=True):
        table.add_row(name, *map(str, row))
    _out.print(table)


def _show_labels(evaluation: Evaluation) -> None:
    table = Table(title=f"{evaluation.name}: labels")
    for column in ("label", "precision", "recall", "F1", "rows"):
        table.add_column(column, justify="left" if column == "label" else "right")
    for label, s in evaluation.labels.items():
        figures = (f"{s.precision:.3f}", f"{s.recall:.3f}", f"{s.f1:.3f}")
        table.add_row(label, *figures, str(s.support))
    _out.print(table)


@app.command()
def train(
    source: Annotated[Path, typer.Argument(help="A recipe (TOML), or labelled JSON Lines.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The artifact.")] = None,
    public_data: Annotated[
        Path | None,
        typer.Option(envvar="ROUTER_ML_PUBLIC_DATA", help="Where a recipe's public: files lie."),
    ] = None,
) -> None:
    """Train a classifier and write it as an artifact."""
    with _one_sentence():
        try:
            from router_ml.training import Recipe, load_recipe
            from router_ml.training import train as run
            from router_ml.training.recipe import DataRecipe
        except ImportError as error:
            raise MissingExtra("train", "Training") from error
        if source.suffix == ".toml":
            recipe, base = load_recipe(source), source.parent
        else:
            name = output.name if output else source.name.split(".")[0]
            data = DataRecipe(files=(str(source.absolute()),))
            recipe, base = Recipe(name=name, data=data), source.parent
            if not source.is_file():
                raise DataError(source, None, "cannot be read: no such file.")
        place = output or Path("models") / recipe.name
        trained = run(recipe, place, base=base, public_data=public_data, progress=_progress)
        _show_evaluations(trained.evaluations)
        _out.print(f"Wrote {trained.path}; the graph agrees to {trained.parity:.1e}.")


@contextmanager
def _progress(stage: str, total: int) -> Iterator[Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=_err) as bar:
        task = bar.add_task(stage, total=total)
        yield lambda rows: bar.advance(task, rows)


@app.command()
def info(
    artifact: ArtifactOption = None,
    policy: PolicyOption = None,
    catalog: CatalogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is loaded: artifact, labels, thresholds, policy, versions."""
    from router_ml import __version__

    with _one_sentence():
        router = Router.load(artifact, policy=policy, catalog=catalog)
        config = router.artifact.config
        facts = {
            "version": __version__,
            "artifact": str(router.artifact.path),
            "name": config.name,
            "thresholds": config.thresholds,
            "input": config.input,
            "trained": config.trained,
            "routes": list(dict.fromkeys(rule.route for rule in router.policy.rules)),
            "baseline": router.catalog.baseline,
        }
        encoded = msgspec.json.encode(facts)
        if as_json:
            typer.echo(encoded.decode())
        else:
            _out.print_json(encoded.decode())


if __name__ == "__main__":
    app()
