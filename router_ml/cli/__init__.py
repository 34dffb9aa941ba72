"""The command line. The only place that reads the environment.

    commands -> one module a command -> recipe -> files, progress -> console, options, sources

A command imports what is heavy when it runs: what `evaluate` or `train` need is loaded for them
alone, and not to decide on one request; the router itself is not, to show `--help`.
"""

from router_ml.cli.commands import app

__all__ = ["app"]
