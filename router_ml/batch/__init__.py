"""Logs larger than one machine: cut into fragments, worked on by an engine, as on a laptop."""

from router_ml.batch.engines import Engine, LocalEngine, RayEngine
from router_ml.batch.fragments import Fragment, cut
from router_ml.batch.run import Progress, classify

__all__ = ["Engine", "Fragment", "LocalEngine", "Progress", "RayEngine", "classify", "cut"]
