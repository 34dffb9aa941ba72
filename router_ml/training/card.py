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
        *_data(config),
        *_how(recipe, config, parity),
        "## Measured",
        *(_measured(evaluation) for evaluation in evaluations),
        recipe.notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(config: Config) -> list[str]:
    data = config.trained["data"]
    counts = [f"| {label} | {count} |" for label, count in data["labels"].items()]
    table = ["| label | rows |", "|---|---|", *counts, f"| (none) | {data['without_label']} |"]
    return [
        "## Data",
        f"{data['rows']} rows after {data['duplicates_dropped']} duplicates and "
        f"{data['conflicts_dropped']} rows with conflicting labels were dropped and "
        f"{data['without_judgeable_text']} rows were left out whose words alone need not say "
        f"their labels (an image or audio part decides); {data['train']} to learn from, "
        f"{data['calibration']} to calibrate and to choose thresholds, {data['test']} to "
        f"measure. Near-duplicates never straddle. SHA-256 of the rows: `{data['sha256']}`.",
        "\n".join(table),
    ]


def _how(recipe: Recipe, config: Config, parity: float) -> list[str]:
    thresholds = ", ".join(f"{label} {value:g}" for label, value in config.thresholds.items())
    encoder = ", ".join(f"{key} {value}" for key, value in config.trained["encoder"].items())
    libraries = ", ".join(f"{n} {v}" for n, v in config.trained["libraries"].items())
    return [
        "## How it was made",
        f"Encoder: {encoder}. Head: {recipe.head.classifier}. Calibration: "
        f"{recipe.calibration}. Seed: {recipe.seed}. Thresholds: {thresholds}. The graph and the "
        f"trained pipeline differ by at most {parity:.1e} on held-out rows. {libraries}.",
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
