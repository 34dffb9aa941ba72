"""The code that learns: labelled requests in, a verified artifact out.

Needs the extra `train`; encoders other than the shipped one need `encoders`.
"""

from router_ml.training.pipeline import Trained, train
from router_ml.training.recipe import Recipe, load_recipe

__all__ = ["Recipe", "Trained", "load_recipe", "train"]
