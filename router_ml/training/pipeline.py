"""From labelled requests to a verified artifact, in the order it happens."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from router_ml.artifact import MODEL, SCHEMA_VERSION, Artifact, Config, find_artifact, load_artifact
from router_ml.classifier import Classifier
from router_ml.errors import RecipeError, TrainingError
from router_ml.evaluation import (
    Evaluation,
    Judged,
    compare,
    evaluate,
    evaluate_keywords,
    keywords_apply,
)
from router_ml.evaluation.contest import OURS
from router_ml.examples import Example, read_examples
from router_ml.logs import Broken, refuse
from router_ml.request import ModelText, Request
from router_ml.router import default_policy
from router_ml.training import rounding
from router_ml.training.advice import advise
from router_ml.training.artifact_files import check_output, golden_rows, write_artifact
from router_ml.training.card import model_card
from router_ml.training.cross_validation import CrossValidation, cross_validate
from router_ml.training.encoders import check_encoder
from router_ml.training.extension import Extension, extend
from router_ml.training.fit import Fitted, fit
from router_ml.training.former import LEARNED_FROM, check_better, find_former, fingerprints
from router_ml.training.head_export import attach
from router_ml.training.heads import (
    Calibration,
    calibrate,
    calibrated,
    choose_thresholds,
    new_estimator,
)
from router_ml.training.prepare import Data, account, clean, data_facts, divide, read_data
from router_ml.training.progress import Progress, silent
from router_ml.training.recipe import Recipe, expand
from router_ml.training.unseen import Unseen, evaluate_unseen, judge_unseen, judged_unseen

PARITY = 1e-4
"""How far a served probability may be from the trained pipeline's."""

_COMPARED = 1000
"""On so many rows an extended artifact is compared with its parts."""

_LIBRARIES = ("numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")
_TORCH = ("torch", "sentence-transformers")


class Trained(NamedTuple):
    """What training made.

    Attributes:
        path: the artifact.
        evaluations: on held-out rows: the classifier, and the keyword rules where the
            labels are those they know.
        parity: the largest difference between the graph and the trained pipeline.
        cross_validation: how good it is beside others, if the recipe has `folds`.
        advice: what to do next.
        account: what became of the rows that were read.

    """

    path: Path
    evaluations: list[Evaluation]
    parity: float
    cross_validation: CrossValidation | None = None
    advice: Sequence[str] = ()
    account: Sequence[str] = ()


class Learned(NamedTuple):
    """A classifier with all that its artifact needs but golden rows and card.

    Attributes:
        fitted: the encoder and the calibrated head.
        config: complete but for the files' hashes.
        classifier: the exported graph, as it will be served.
        files: name -> content.

    """

    fitted: Fitted
    config: Config
    classifier: Classifier
    files: dict[str, bytes]


def train(
    recipe: Recipe,
    output: Path,
    *,
    base: Path = Path(),
    public_data: Path | None = None,
    progress: Progress = silent,
    broken: Broken = refuse,
    force: bool = False,
) -> Trained:
    """Train a classifier and write it as an artifact.

    Args:
        recipe: what decides the result.
        output: the artifact's directory; replaced as a whole, and only at the end.
        base: what the recipe's paths are relative to.
        public_data: where files named `public:…` lie; None leaves them out.
        progress: called with a stage and how many rows it takes; a context manager
            that gives a function to tell of finished rows.
        broken: told of rows to learn from that cannot be read; by default the first is raised.
        force: whether to replace an artifact that is better.

    Raises:
        DataError: a file cannot be read, or what `broken` raises.
        RecipeError: the recipe cannot be followed.
        TrainingError: no classifier can be learned from this data, or the artifact in the
            output's place is better.

    """
    check_output(output)
    _check_recipe(recipe)
    recipe, data, test, extension, said = _prepare(recipe, base, public_data, broken, progress)
    found = _cross_validate(recipe, data, output, force, progress) if recipe.data.folds else None
    unseen = found.unseen if found else _judge_unseen(recipe, data, progress)
    with tempfile.TemporaryDirectory() as scratch:
        learned = learn(recipe, data, unseen, Path(scratch), progress)
        parity = _check_parity(learned, data.texts(data.held_out()), progress)
        by_unseen = _evaluate(recipe, unseen) if unseen else []
        evaluations = [*by_unseen, *_measure(learned.classifier, data, test)]
        learned.config.trained.update(_figures(found, evaluations))
        if extension:
            learned = _extended(extension, learned, data, Path(scratch))
        golden = golden_rows(learned.classifier, _golden_candidates(recipe, base))
    card = model_card(recipe, learned.config, evaluations, parity)
    write_artifact(output, learned.config, learned.files, golden, card)
    advice = advise(recipe, found) if found else ()
    return Trained(output, evaluations, parity, found, advice, said)


class _Prepared(NamedTuple):
    """What there is to learn from, and to measure on.

    Attributes:
        recipe: of the labels to be learned: the new ones alone, if others are kept.
        data: cleaned and divided.
        test: the rows of the recipe's `test` files.
        extension: joins the new labels to those that are kept, if the recipe has `extend`.
        account: what became of the rows that were read.

    """

    recipe: Recipe
    data: Data
    test: list[Example]
    extension: Extension | None
    account: Sequence[str]


def _prepare(
    recipe: Recipe, base: Path, public_data: Path | None, broken: Broken, progress: Progress
) -> _Prepared:
    examples = read_data(recipe, base, public_data, broken)
    test = read_examples(expand(recipe.data.test, base, public_data))
    extension, read = None, len(examples)
    if recipe.extend is not None:
        extension, recipe, examples = extend(recipe, examples, base)
        test = extension.rows(test)
    cleaned = clean(recipe, examples, progress, test)
    data = divide(recipe, cleaned, len(examples))
    said = account(examples, data, len(examples) - read)
    return _Prepared(recipe, data, test, extension, said)


def _judge_unseen(recipe: Recipe, data: Data, progress: Progress) -> Unseen | None:
    folds = recipe.data.unseen_folds
    return judge_unseen(recipe, data.cleaned, folds, progress) if folds else None


def _extended(extension: Extension, learned: Learned, data: Data, scratch: Path) -> Learned:
    config, files = extension.join(learned.config, learned.files)
    classifier = Classifier(Artifact(scratch, config, files[MODEL]))
    extension.check(classifier, learned.classifier, data.texts(data.held_out()[:_COMPARED]))
    return learned._replace(config=config, classifier=classifier, files=files)


def _cross_validate(
    recipe: Recipe, data: Data, output: Path, force: bool, progress: Progress
) -> CrossValidation:
    former = find_former(output, data)
    found = cross_validate(recipe, data, progress, former.known if former else None)
    if former and not force:
        check_better(output, former, found)
    return found


def _evaluate(recipe: Recipe, unseen: Unseen) -> list[Evaluation]:
    if not recipe.data.folds:
        return evaluate_unseen(recipe, unseen)
    data, found = unseen.data, judged_unseen(recipe, unseen)
    own = np.flatnonzero(data.own)
    judged = Judged(found.probabilities[own], [found.given[row] for row in own])
    policy = default_policy(data.labels)
    return [compare("cross-validation", data.examples(own), judged, data.labels, policy)]


def _figures(
    found: CrossValidation | None, evaluations: Sequence[Evaluation]
) -> dict[str, dict[str, Any]]:
    """Return what the artifact says of how right it is."""
    validated = {"cross_validation": _measured(found)} if found else {}
    return validated | {"metrics": _metrics(evaluations)}


def _measured(found: CrossValidation) -> dict[str, Any]:
    accuracy = found.scores[OURS].accuracy
    return {
        "folds": found.folds,
        "repeats": found.repeats,
        "accuracy": round(accuracy.value, 4),
        "low": round(accuracy.low, 4),
        "high": round(accuracy.high, 4),
    }


def _check_recipe(recipe: Recipe) -> None:
    """Refuse what can be told without any row."""
    check_encoder(recipe.encoder)
    new_estimator(recipe.head, recipe.seed)
    data = recipe.data
    if not (data.test_share or data.test or data.unseen_folds or data.folds):
        raise RecipeError(
            "Nothing would be measured: `test_share`, `folds` and `unseen_folds` are 0, and there "
            "are no `test` files."
        )


def learn(
    recipe: Recipe, data: Data, unseen: Unseen | None, scratch: Path, progress: Progress
) -> Learned:
    """Train encoder and head, calibrate, choose thresholds, and join all in one graph.

    Args:
        recipe: what decides the result.
        data: of `divide`.
        unseen: what to calibrate on; None: the held-out rows of `data`.
        scratch: a directory for what the encoder needs beside its graph.
        progress: told of rows as they are done.

    """
    fitted = fit(recipe, data, scratch, progress)
    if unseen:
        raw, targets = unseen.raw, unseen.data.targets
    else:
        rows = data.split.calibration
        raw, targets = fitted.raw(data.texts(rows), progress), data.targets[rows]
    kind, single = recipe.calibration, data.single_label
    calibration, thresholds = calibrate(kind, raw, targets, single)
    if recipe.extend is not None:  # beside other labels none wins by being the most probable
        probabilities = calibrated(raw, calibration, single)
        thresholds = choose_thresholds(probabilities, targets, single_label=False)
    fitted = fitted._replace(head=fitted.head._replace(calibration=calibration))
    encoder, head = fitted.encoder, fitted.head
    width = int(head.models[0].n_features_in_)
    body = encoder.graph()
    model = attach(body, head, width).SerializeToString()
    config = _config(recipe, data, fitted, calibration, thresholds)
    if rounding.rounds(body):
        config = msgspec.structs.replace(config, golden_tolerance=rounding.TOLERANCE)
    classifier = Classifier(Artifact(scratch, config, model))
    files = {**encoder.files, MODEL: model, LEARNED_FROM: _learned_from(data)}
    return Learned(fitted, config, classifier, files)


def _learned_from(data: Data) -> bytes:
    return np.unique(fingerprints(data.examples(data.split.train))).tobytes()


def _config(
    recipe: Recipe,
    data: Data,
    fitted: Fitted,
    calibration: Calibration,
    thresholds: Sequence[float],
) -> Config:
    slope, intercept = calibration
    return Config(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        labels=data.labels,
        thresholds=dict(zip(data.labels, thresholds, strict=True)),
        single_label=data.single_label,
        input=fitted.encoder.input,
        calibration={
            "method": recipe.calibration,
            "on": _calibrated_on(recipe),
            "slope": [round(float(value), 6) for value in slope],
            "intercept": [round(float(value), 6) for value in intercept],
        },
        files={},
        trained={
            "seed": recipe.seed,
            "data": data_facts(data),
            "encoder": fitted.encoder.about,
            "head": {"classifier": recipe.head.classifier, **recipe.head.parameters},
            "libraries": _libraries(recipe),
        },
    )


def _calibrated_on(recipe: Recipe) -> str:
    if recipe.data.folds:
        return "cross-validation"
    return "unseen sources" if recipe.data.unseen_folds else "held-out rows"


def _libraries(recipe: Recipe) -> dict[str, str]:
    torch = recipe.encoder.kind not in {"ngrams", "shipped"}
    return {name: version(name) for name in (*_LIBRARIES, *(_TORCH if torch else ()))}


def _check_parity(learned: Learned, texts: Sequence[ModelText], progress: Progress) -> float:
    """Compare the graph with the trained pipeline on every held-out row."""
    encoder, head, _ = learned.fitted
    with progress("Checking the export", len(texts)) as done:
        trained = head.predict_proba(encoder.reference(texts))
        served = learned.classifier.probabilities_many(texts)
        done(len(texts))
    worst = float(np.abs(trained - served).max())
    if not worst <= PARITY:
        raise TrainingError(
            f"The exported graph differs from the trained pipeline by {worst:.2g} in probability "
            f"(at most {PARITY:g} is allowed): nothing was written."
        )
    return worst


def _measure(classifier: Classifier, data: Data, test: Sequence[Example]) -> list[Evaluation]:
    policy = default_policy(data.labels)
    held = data.examples(data.split.test[data.own[data.split.test]])
    found = []
    for name, examples in (("held-out rows", held), ("test files", test)):
        if examples:
            found.append(evaluate(classifier, policy, examples, name=name))
            if keywords_apply(data.labels):
                found.append(evaluate_keywords(policy, examples, data.labels, name))
    return found


def _metrics(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    return {
        e.name: {
            "rows": e.rows,
            "route_accuracy": round(e.accuracy, 4),
            "macro_source_accuracy": round(e.macro_source_accuracy, 4),
            "macro_f1": round(e.macro_f1, 4),
            "calibration_error": round(e.calibration_error, 4),
        }
        for e in evaluations
        if e.calibration_error is not None
    }


def _golden_candidates(recipe: Recipe, base: Path) -> list[Example]:
    """Golden rows are copied into the artifact: those the recipe names, or the shipped ones.

    Nobody agreed that what they wrote in a log be handed on with an artifact.
    """
    if recipe.data.golden:
        return read_examples(expand(recipe.data.golden, base, None))
    shipped = load_artifact(find_artifact()).golden()
    texts = (ModelText(row.turn.encode(), row.context.encode()) for row in shipped)
    return [Example(Request(()), text, (), single=False) for text in texts]
