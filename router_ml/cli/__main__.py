"""Run the command line as `python -m router_ml.cli`."""

from router_ml.cli.commands import app

app()
