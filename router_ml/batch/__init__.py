"""Logs larger than one machine: cut into fragments, worked on by an engine, as on a laptop."""

from router_ml.batch.drifting import measure_drift
from router_ml.batch.engines import Engine, LocalEngine, RayEngine
from router_ml.batch.evaluating import evaluate
from router_ml.batch.fragments import Fragment, cut
from router_ml.batch.run import Progress, classify
from router_ml.batch.sampling import Plan, draw

__all__ = [
    "Engine",
    "Fragment",
    "LocalEngine",
    "Plan",
    "Progress",
    "RayEngine",
    "classify",
    "cut",
    "draw",
    "evaluate",
    "measure_drift",
]
