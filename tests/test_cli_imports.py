import subprocess
import sys

import pytest

from router_ml.cli.evaluate import VOLUME
from router_ml.evaluation import report

HEAVY = (
    "evaluation",
    "batch",
    "training",
    "labelling",
    "replay",
    "service",
    "integrations",
    "dispatch",
)


def loaded_by(*arguments):
    command = [sys.executable, "-X", "importtime", "-m", "router_ml.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


HELP = """
import sys
from typer.main import get_command
from typer.testing import CliRunner
from router_ml.cli import app
for command in ([], *([name] for name in get_command(app).commands)):
    run = CliRunner().invoke(app, [*command, "--help"])
    assert "Usage:" in run.output, run.output
print(*sys.modules)
"""


def test_help_loads_nothing_that_decides():
    command = [sys.executable, "-c", HELP]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"router_ml.cli.commands", "router_ml.tables"} <= loaded
    assert not loaded & {"numpy", "onnxruntime", "router_ml.router", "router_ml.classifier"}


@pytest.mark.parametrize("command", [["route", "2+2"], ["catalog"], ["info"]])
def test_a_command_loads_what_it_needs_alone(command):
    loaded = loaded_by(*command)
    assert "router_ml.router" in loaded
    assert not [name for name in loaded if name.startswith(tuple(f"router_ml.{p}" for p in HEAVY))]


def test_heavy_modules_would_be_seen(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"prompt": "2+2", "labels": ["math"]}\n')
    assert "router_ml.evaluation" in loaded_by("evaluate", str(tmp_path / "log.jsonl"))


def test_the_volume_in_the_help_is_that_of_a_report():
    assert VOLUME == report.VOLUME
