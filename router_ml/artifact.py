"""An artifact on disk: find it, read its config, verify its files.

A directory with `model.onnx`, `config.json`, `golden.jsonl`, `README.md` and, where
the encoder reads tokens, `tokenizer.json`. Nothing here executes what it loads.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from router_ml.errors import ArtifactCorrupt, ArtifactNotFound, ArtifactUnsupported
from router_ml.request import TEXT_VERSION

SCHEMA_VERSION = 1
SHIPPED = "default"
MODEL, CONFIG, GOLDEN, CARD = "model.onnx", "config.json", "golden.jsonl", "README.md"
TOKENIZER = "tokenizer.json"

Threshold = Annotated[float, msgspec.Meta(ge=0, le=1)]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in bytes and SHA-256 (hex) of one file."""

    sha256: str
    size: int


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a request becomes the graph's input.

    Attributes:
        kind: "bytes" (`bytes`, uint8 [batch, 1, length]: the raw UTF-8 of the turn, then,
            if there is any, 0x1E and the context; zeros fill up) or "tokens"
            (`input_ids` and `attention_mask`, int64 [batch, length]).
        text_version: the way from a request to its text, `router_ml.request.TEXT_VERSION`.
        max_tokens: for "tokens", where a text is cut.

    """

    kind: Literal["bytes", "tokens"]
    text_version: int
    max_tokens: int | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`config.json`: everything the runtime must know beside the graph.

    Attributes:
        labels: names in the order of the graph's output.
        thresholds: label -> probability in [0, 1] from which it holds.
        single_label: whether exactly one label is chosen (the most probable).
        calibration: how probabilities were calibrated; information, the graph does it.
        files: name -> hash and size.
        trained: data hash, counts, seed, library versions, metrics; information.
        golden_tolerance: how far a probability may be from that of a golden row. Processors
            differ in the last bits of a float32; a graph that differs by more is broken. Left
            out where it is the default, which releases that do not know the key can read.

    """

    schema_version: int
    name: str
    labels: tuple[str, ...]
    thresholds: dict[str, Threshold]
    input: InputSpec
    calibration: dict[str, Any]
    files: dict[str, FileEntry]
    trained: dict[str, Any]
    single_label: bool = msgspec.field(default_factory=bool)  # a factory's value is written
    golden_tolerance: Threshold = 1e-4


class GoldenRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request's text as the graph reads it, and the probabilities it must give."""

    turn: str
    probabilities: tuple[float, ...]
    context: str = ""


class Artifact(msgspec.Struct, frozen=True):
    """A verified artifact: its directory, its config, and the bytes of its graph."""

    path: Path
    config: Config
    model: bytes

    def golden(self) -> list[GoldenRow]:
        """Read the golden rows.

        Raises:
            ArtifactNotFound: the file is missing.
            ArtifactCorrupt: a line is no golden row, or has not one probability a label.

        """
        path = self.path / GOLDEN
        lines = _read(path).splitlines()
        return [self._golden_row(f"{path}:{at}", line) for at, line in enumerate(lines, 1)]

    def _golden_row(self, where: str, line: bytes) -> GoldenRow:
        try:
            row = msgspec.json.decode(line, type=GoldenRow)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ArtifactCorrupt(f"{where} is no golden row: {error}.") from error
        if len(row.probabilities) != len(self.config.labels):
            raise ArtifactCorrupt(f"{where} must have one probability for each label.")
        return row


def find_artifact(artifact: str | Path | None = None) -> Path:
    """Return the artifact's directory: a path, a shipped name, or the shipped default.

    Raises:
        ArtifactNotFound: there is none.

    """
    given = Path(artifact) if artifact is not None else None
    if given is not None and _exists(given):
        return given
    for root in _shipped_roots():
        path = root / (SHIPPED if given is None else given.name)
        if (given is None or str(given) == given.name) and _exists(path):
            return path
    named = "the shipped artifact" if given is None else f"an artifact at {given}"
    raise ArtifactNotFound(f"There is no {named.removeprefix('an ').removeprefix('the ')}.")


def find_beside(directory: Path, artifact: str) -> Path:
    """Return where an artifact is that a file in a directory names: by its path, or shipped."""
    beside = directory / artifact
    is_name = Path(artifact).name == artifact and not _exists(beside)
    return (shipped_file(artifact) if is_name else None) or beside


def shipped_file(name: str) -> Path | None:
    """Return where a file lies that is shipped beside the artifacts; None if there is none."""
    return next((root / name for root in _shipped_roots() if _exists(root / name)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that the file system cannot have, such as one too long
        return False


def _shipped_roots() -> tuple[Path, Path]:
    """Where artifacts lie in a wheel, and in a checkout."""
    package = Path(__file__).parent
    return package / "models", package.parent / "models"


def load_artifact(path: Path) -> Artifact:
    """Read and verify an artifact.

    Raises:
        ArtifactNotFound: the directory or one of its files is missing or cannot be read.
        ArtifactCorrupt: the config is malformed or lists too little, or a file does not
            match its hash.
        ArtifactUnsupported: a newer schema or text version than this package reads.

    """
    config = _read_config(path / CONFIG)
    model = b""
    for name, entry in config.files.items():
        data = _read(path / name)
        _verify(path / name, data, entry)
        if name == MODEL:
            model = data
    return Artifact(path, config, model)


def _read(path: Path) -> bytes:
    try:
        if path.is_file():
            return path.read_bytes()
    except OSError as error:
        raise ArtifactNotFound(f"{path} cannot be read: {error.strerror or error}.") from error
    raise ArtifactNotFound(f"{path} is missing.")


def _verify(path: Path, data: bytes, entry: FileEntry) -> None:
    if len(data) != entry.size:
        raise ArtifactCorrupt(
            f"{path} has {len(data)} bytes where its config says {entry.size}: "
            "it is truncated or was replaced."
        )
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ArtifactCorrupt(f"{path} was altered: its SHA-256 is not the one in its config.")


def _read_config(path: Path) -> Config:
    data = _read(path)
    try:
        version = msgspec.json.decode(data).get("schema_version")
    except (msgspec.DecodeError, AttributeError, UnicodeDecodeError) as error:
        raise ArtifactCorrupt(f"{path} is not a JSON object: {error}.") from error
    except RecursionError as error:
        raise ArtifactCorrupt(f"{path} is nested too deeply to be read.") from error
    if version != SCHEMA_VERSION:
        raise ArtifactUnsupported(
            f"{path} has schema_version {version!r}; this version of router-ml reads "
            f"{SCHEMA_VERSION}. Upgrade router-ml, or train the artifact again."
        )
    try:
        config = msgspec.json.decode(data, type=Config)
    except msgspec.ValidationError as error:
        raise ArtifactCorrupt(f"{path}: {error}.") from error
    _check_config(path, config)
    _check_files(path, config)
    return config


def _check_config(path: Path, config: Config) -> None:
    if not config.labels or len(set(config.labels)) != len(config.labels):
        raise ArtifactCorrupt(f"{path}: `labels` must name each label once, and at least one.")
    if set(config.thresholds) != set(config.labels):
        raise ArtifactCorrupt(f"{path}: `thresholds` must have one entry for each of `labels`.")
    if config.input.text_version != TEXT_VERSION:
        raise ArtifactUnsupported(
            f"{path} was trained on text version {config.input.text_version}; this version of "
            f"router-ml makes version {TEXT_VERSION}. Train the artifact again."
        )


def _check_files(path: Path, config: Config) -> None:
    """Check that every file the runtime opens is listed, and with that verified."""
    if any(Path(name).name != name for name in config.files):
        raise ArtifactCorrupt(f"{path}: `files` must be plain names inside the artifact.")
    for name in (MODEL, TOKENIZER) if config.input.kind == "tokens" else (MODEL,):
        if name not in config.files:
            raise ArtifactCorrupt(f"{path}: `files` lists no {name}.")
