"""Writing an artifact: all of it, verified, or nothing."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from router_ml.artifact import CARD, CONFIG, GOLDEN, Config, FileEntry, GoldenRow, load_artifact
from router_ml.classifier import Classifier
from router_ml.errors import TrainingError, naming
from router_ml.examples import Example

_GOLDEN_ROWS = 64
_REPLAY = 1e-5


def golden_rows(classifier: Classifier, candidates: Sequence[Example]) -> list[GoldenRow]:
    """Choose rows of every label set, and record what the graph says of them."""
    chosen: dict[tuple[str, ...], list[Example]] = {}
    for example in candidates:
        if _is_whole(example):
            chosen.setdefault(example.labels, []).append(example)
    share = max(1, _GOLDEN_ROWS // max(1, len(chosen)))
    rows = [example.text for examples in chosen.values() for example in examples[:share]]
    rows = rows[:_GOLDEN_ROWS]
    found = classifier.probabilities_many(rows).tolist()
    return [
        GoldenRow(row.turn.decode(), tuple(p), row.context.decode())
        for row, p in zip(rows, found, strict=True)
    ]


def _is_whole(example: Example) -> bool:
    try:
        return not example.text.truncated and bool(b"".join(example.text[:2]).decode())
    except UnicodeDecodeError:
        return False


def check_output(output: Path) -> None:
    """Refuse to replace a directory that is no artifact, or to write where none can be made.

    Raises:
        TrainingError: `output` is a file, or a directory with something else in it.
        OSError: nothing can be made beside it.

    """
    with naming(output):
        is_artifact = output.is_dir() and (not any(output.iterdir()) or (output / CONFIG).is_file())
        if output.exists() and not is_artifact:
            raise TrainingError(f"{output} exists and is no artifact: it is not replaced.")
        there = next(parent for parent in output.absolute().parents if parent.exists())
        tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=there).cleanup()


def write_artifact(
    output: Path,
    config: Config,
    files: dict[str, bytes],
    golden: Sequence[GoldenRow],
    card: str,
) -> None:
    """Write an artifact beside its place, load it, and move it there.

    Args:
        output: the directory to make or replace.
        config: complete but for `files`.
        files: name -> content, of the graph and what it needs.
        golden: rows the runtime can replay.
        card: the model card, Markdown.

    """
    check_output(output)
    contents = {**files, GOLDEN: b"".join(msgspec.json.encode(row) + b"\n" for row in golden)}
    entries = {name: _entry(content) for name, content in contents.items()}
    config = msgspec.structs.replace(config, files=entries)
    encoded = msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"
    with naming(output), _staged(output) as staged:
        for name, content in {**contents, CONFIG: encoded, CARD: card.encode()}.items():
            (staged / name).write_bytes(content)
        _replay(staged, golden)
        staged.chmod(0o755)
        _swap(staged, output)


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Make a directory beside the place of another; what is left of it goes at the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _replay(staged: Path, golden: Sequence[GoldenRow]) -> None:
    """Load what was written, and see that it gives what its golden rows say."""
    if not Classifier(load_artifact(staged)).replay(golden) <= _REPLAY:
        raise TrainingError("The written artifact does not give its own golden rows.")


def _entry(content: bytes) -> FileEntry:
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def _swap(staged: Path, output: Path) -> None:
    """Put `staged` in the place of `output`; two renames, no copying."""
    if not output.exists():
        staged.rename(output)
        return
    old = staged.with_name(staged.name + "-old")
    output.rename(old)
    try:
        staged.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)
