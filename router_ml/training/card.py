"""The model card that an artifact carries."""

from __future__ import annotations

from collections.abc import Sequence

from router_ml.artifact import Config
from router_ml.evaluation import Evaluation
from router_ml.training.recipe import Recipe


def model_card(
    recipe: Recipe, config: Config, evaluations: Sequence[Evaluation], parity: float
) -> str:
    """Return the card as Markdown: what it is, its data, its measurements, its limits."""
    parts = [
        f"# {config.name}",
        "A router-ml classifier: one ONNX graph from "
        + ("raw UTF-8 bytes" if config.input.kind == "bytes" else "tokens")
        + " to a calibrated probability for each label.",
        *_extends(config),
        *_data(config),
        *_how(recipe, config, parity),
        "## Measured",
        *(_measured(evaluation) for evaluation in evaluations),
        *_slices(evaluations),
        *(_mistakes(evaluations) if recipe.quote_mistakes and recipe.data.test else []),
        recipe.notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _extends(config: Config) -> list[str]:
    """Say whose labels it has besides those that the rest of the card is about."""
    extended = config.trained.get("extends")
    if extended is None:
        return []
    return [
        f"It decides the labels {', '.join(extended['labels'])} exactly as the artifact "
        f"`{extended['name']}` does, in whose card they are measured (SHA-256 of its graph: "
        f"`{extended['sha256']}`). What follows is of the labels beside them; `(none)` is what "
        "carries none of these. Measured is the most probable; beside the others a label holds "
        "from its threshold."
    ]


def _data(config: Config) -> list[str]:
    data = config.trained["data"]
    counts = [f"| {label} | {count} |" for label, count in data["labels"].items()]
    table = ["| label | rows |", "|---|---|", *counts, f"| (none) | {data['without_label']} |"]
    return [
        "## Data",
        f"{data['rows']} rows. Left out: {data['duplicates_dropped']} duplicates, "
        f"{data['conflicts_dropped']} rows with conflicting labels, "
        f"{data['test_duplicates_dropped']} duplicates of test rows, and "
        f"{data['without_judgeable_text']} rows whose words alone need not say their labels (an "
        f"image or audio part decides). {_parts(config)} SHA-256 of the rows: `{data['sha256']}`.",
        "\n".join(table),
    ]


def _parts(config: Config) -> str:
    data = config.trained["data"]
    if config.calibration["on"] == "cross-validation":
        return (
            "All are learned from; what is measured, calibration and thresholds come from "
            "classifiers that were trained without the row they judge and its near-duplicates."
        )
    if config.calibration["on"] == "unseen sources":
        return (
            "All are learned from; calibration and thresholds come from classifiers that were "
            "trained without the source of the row they judge."
        )
    return (
        f"{data['train']} are learned from, {data['calibration']} calibrate and choose "
        f"thresholds, {data['test']} measure; near-duplicates never straddle."
    )


def _how(recipe: Recipe, config: Config, parity: float) -> list[str]:
    thresholds = ", ".join(f"{label} {value:g}" for label, value in config.thresholds.items())
    encoder = ", ".join(f"{key} {value}" for key, value in config.trained["encoder"].items())
    libraries = ", ".join(f"{n} {v}" for n, v in config.trained["libraries"].items())
    return [
        "## How it was made",
        f"Encoder: {encoder}. Head: {recipe.head.classifier}. Calibration: "
        f"{recipe.calibration}. Seed: {recipe.seed}. Thresholds: {thresholds}. The graph and the "
        f"trained pipeline differ by at most {parity:.1e}. {libraries}.",
    ]


def _measured(evaluation: Evaluation) -> str:
    head = (
        f"### {evaluation.name[0].upper()}{evaluation.name[1:]}\n\n"
        f"{evaluation.rows} rows: route accuracy {evaluation.accuracy:.4f}, "
        f"the mean over sources {evaluation.macro_source_accuracy:.4f}, "
        f"macro-F1 {evaluation.macro_f1:.4f}"
    )
    if evaluation.calibration_error is not None:
        head += f", calibration error {evaluation.calibration_error:.4f}"
    rows = ["| label | precision | recall | F1 | rows |", "|---|---|---|---|---|"]
    rows += [
        f"| {label} | {s.precision:.3f} | {s.recall:.3f} | {s.f1:.3f} | {s.support} |"
        for label, s in evaluation.labels.items()
    ]
    return head + ".\n\n" + "\n".join(rows)


def _slices(evaluations: Sequence[Evaluation]) -> list[str]:
    """Show the last classifier's slices: those of the test files where there are any."""
    evaluation = _last(evaluations)
    rows = ["| slice | route accuracy | rows |", "|---|---|---|"]
    rows += [f"| {name} | {s.accuracy:.3f} | {s.rows} |" for name, s in evaluation.slices.items()]
    return [f"### Slices of the {evaluation.name}", "\n".join(rows)]


def _mistakes(evaluations: Sequence[Evaluation]) -> list[str]:
    evaluation = _last(evaluations)
    rows = ["| request | route | given | confidence |", "|---|---|---|---|"]
    rows += [
        f"| {_cell(m.text)} | {m.true_route} | {m.given_route} | {m.confidence:.2f} |"
        for m in evaluation.mistakes
    ]
    return [f"### The surest mistakes on the {evaluation.name}", "\n".join(rows)]


def _last(evaluations: Sequence[Evaluation]) -> Evaluation:
    return [e for e in evaluations if e.calibration_error is not None][-1]


def _cell(text: str, most: int = 160) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= most else line[:most] + "…"
