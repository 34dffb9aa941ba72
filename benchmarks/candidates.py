"""Everything that can decide here, each as the code that a program would load it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from peers import SERVED, Keywords
from progress import progress

from router_ml.evaluation import keywords

SLOW_PEERS = {"tfidf", "minilm"}
# What a program runs once; each leaves `decide` (one text) and `decide_many` (a list).
OURS = """
from router_ml import Router
router = Router.load({artifact!r})
decide, decide_many = router.route, router.route_many
"""
CLASSIFIER = """
from router_ml.request import model_text, read_request
prepare = lambda texts: [model_text(read_request(text)) for text in texts]
decide_many = router.classifier.probabilities_many
"""
# The rule's own file: importing it by name would bring the whole package along.
RULES = """
import runpy
decide = runpy.run_path({file!r})["keyword_labels"]
decide_many = lambda texts: list(map(decide, texts))
"""
PEER = """
import sys
sys.path.insert(0, {folder!r})
from peers import open_served
peer = open_served({key!r}, {directory!r})
decide, decide_many = peer.decide, peer.decide_many
"""
LITELLM = """
from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
decide = ComplexityRouter("auto", None, {}, "default").classify
decide_many = lambda texts: list(map(decide, texts))
"""


class Candidate(NamedTuple):
    """What is measured: its name, the code that loads it, and whether it gets fewer calls."""

    name: str
    code: str
    slow: bool = False


def all_candidates(artifact: Path, saved: Mapping[str, Path]) -> list[Candidate]:
    """Return everything that can run here, ours first."""
    folder = str(Path(__file__).parent)
    peers = [
        Candidate(
            SERVED[key]().name,
            PEER.format(folder=folder, key=key, directory=str(path)),
            key in SLOW_PEERS,
        )
        for key, path in saved.items()
    ]
    rules = Candidate(Keywords.name, RULES.format(file=keywords.__file__))
    found = [Candidate("router-ml", OURS.format(artifact=str(artifact))), rules, *peers]
    if find_spec("litellm"):
        return [*found, Candidate("LiteLLM, heuristic complexity", LITELLM, slow=True)]
    progress("litellm is not installed: its heuristic classifier is left out")
    return found


def load(candidate: Candidate) -> Callable[[str], object]:
    """Load a candidate into this process; return what decides on one text."""
    names: dict[str, Any] = {}
    exec(candidate.code, names)
    return names["decide"]


def wanted(name: str, only: str | None) -> bool:
    """Whether a candidate was asked for; ours always is."""
    return only is None or name.startswith(("router-ml", *only.split(",")))
