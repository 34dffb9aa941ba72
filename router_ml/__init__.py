"""router-ml: decide, before an LLM request is sent, which model should get it.

A public name is loaded when it is first asked for, so that what needs none, `router-ml --help`
say, loads neither numpy nor onnxruntime.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_ml.catalog import Catalog
    from router_ml.errors import RouterMLError
    from router_ml.policy import Policy
    from router_ml.router import Router
    from router_ml.types import Decision, Prediction, Reason
else:  # unseen by type checkers, for whom a module with __getattr__ has any name whatever
    _HOMES = {
        "Catalog": "catalog",
        "Decision": "types",
        "Policy": "policy",
        "Prediction": "types",
        "Reason": "types",
        "Router": "router",
        "RouterMLError": "errors",
    }

    def __getattr__(name):
        """Load a public name from the module it is defined in."""
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return globals()[name]

    def __dir__():
        """List the public names, loaded or not."""
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Decision",
    "Policy",
    "Prediction",
    "Reason",
    "Router",
    "RouterMLError",
    "__version__",
]
