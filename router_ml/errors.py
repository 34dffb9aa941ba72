"""Every exception this package raises on purpose.

    RouterMLError
    ├── ArtifactError          a model directory that cannot be used
    │   ├── ArtifactNotFound       no such directory, or a file of it is missing
    │   ├── ArtifactCorrupt        a file is truncated, altered or not what it should be
    │   └── ArtifactUnsupported    written for another version of this package
    ├── CatalogError           a catalog file that cannot be used
    ├── PolicyError            a policy file that cannot be used, alone or with this artifact
    ├── DataError              a file of requests, labelled or not; names file and line
    ├── RequestError           a request to the service that has no answer
    ├── RecipeError            a training recipe
    ├── EvaluationError        something to compare with, or a traffic, that cannot be used
    ├── LabellingError         an answer, or a request to label, that cannot be taken
    ├── TrainingError          data that no classifier can be learned from
    ├── DispatchError          a request that cannot be dispatched as its caller asks
    │   └── AllAttemptsFailed      no model answered; in router_ml.dispatch, an openai.APIError
    ├── TargetError            a target for thresholds that cannot be read or met
    ├── ReplayError            sending prompts to models, which cannot start or go on
    ├── BatchError             a run over fragments, which cannot start or go on
    └── MissingExtra           an optional dependency that is not installed

Every message is one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RouterMLError(Exception):
    """Root of the tree; catching it catches everything this package raises on purpose."""


class ArtifactError(RouterMLError):
    """A model directory that cannot be used."""


class ArtifactNotFound(ArtifactError):  # noqa: N818 - reads as the sentence it raises
    """No such directory, or a file that the artifact needs is missing."""


class ArtifactCorrupt(ArtifactError):  # noqa: N818
    """A file of the artifact is truncated, altered or not what it should be."""


class ArtifactUnsupported(ArtifactError):  # noqa: N818
    """The artifact was written for another version of this package."""


class CatalogError(RouterMLError):
    """A catalog file that cannot be used."""


class PolicyError(RouterMLError):
    """A policy file that cannot be used, alone or with the loaded artifact and catalog."""


class RequestError(RouterMLError):
    """A request to the service that has no answer."""


class RecipeError(RouterMLError):
    """A training recipe that cannot be used."""


class LabellingError(RouterMLError):
    """An answer of a person's, or a request to an LLM to label, that cannot be taken."""


class TrainingError(RouterMLError):
    """Data that no classifier can be learned from."""


class EvaluationError(RouterMLError):
    """Something to compare with, or a traffic or floor to meet, that cannot be used."""


class DispatchError(RouterMLError):
    """A request that cannot be dispatched as its caller, or the policy, asks."""


class TargetError(RouterMLError):
    """A target for thresholds that cannot be read, does not fit the policy, or cannot be met."""


class ReplayError(RouterMLError):
    """Sending prompts to models that cannot start or go on: a price unknown, the cap reached."""


class BatchError(RouterMLError):
    """A run over fragments that cannot start or go on: another run's output, too many bad rows."""


class MissingExtra(RouterMLError):  # noqa: N818
    """An optional dependency that is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra, self.needed_for = extra, needed_for
        super().__init__(
            f"{needed_for} needs an extra that is not installed: pip install 'router-ml[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        """Travel between processes."""
        return type(self), (self.extra, self.needed_for)


class DataError(RouterMLError):
    """A file of requests or labelled requests that cannot be read; `path` and `line` say where."""

    def __init__(self, path: Path | str, line: int | None, problem: str) -> None:
        self.path, self.line, self.problem = str(path), line, problem
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, int | None, str]]:
        """Travel between processes."""
        return type(self), (self.path, self.line, self.problem)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what goes wrong with a file name this path, and not a temporary one beside it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
