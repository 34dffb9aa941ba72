"""The Node example reads an artifact as Python does.

Skipped unless `node` is installed and ROUTER_ML_NODE_MODULES names a node_modules
directory with onnxruntime-node: `npm install --ignore-scripts` in a copy of examples/node.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from router_ml.request import model_text, read_request

ROUTE = Path(__file__).parent.parent / "examples" / "node" / "route.mjs"
MODULES = os.environ.get("ROUTER_ML_NODE_MODULES")

pytestmark = pytest.mark.skipif(
    not shutil.which("node") or not MODULES or not Path(MODULES, "onnxruntime-node").is_dir(),
    reason="needs node, and ROUTER_ML_NODE_MODULES with onnxruntime-node",
)

PROMPTS = {
    "short": "Prove that √2 is irrational",
    "empty": "",
    "control characters": "a\r\nb\tc\x01d\x1ee\x7f",
    "no ASCII": "如何做红烧肉？🍖",
    "at the limit": "é" * 512,
    "cut by bytes": "".join(f"{number} 数 " for number in range(300)),
    "4,096 emoji, which Node counts twice": "🍖🥢" * 2048,
    "cut by characters": "".join(f"{number} 数 🍖 é " for number in range(1000)),
}


@pytest.fixture
def node(tmp_path):
    # A module's own imports are looked for beside it, and nowhere that a variable says.
    (tmp_path / "node_modules").symlink_to(Path(MODULES).resolve())
    script = shutil.copy(ROUTE, tmp_path)

    def run(*arguments):
        command = ["node", script, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


def test_golden_rows_replay(node, router):
    done = node(router.artifact.path, "--golden")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{len(router.artifact.golden())} golden rows")


def test_a_golden_row_that_differs_fails(node, router, tmp_path):
    copy = shutil.copytree(router.artifact.path, tmp_path / "copy")
    golden = copy / "golden.jsonl"
    first, *others = golden.read_text().splitlines()
    row = json.loads(first)
    row["probabilities"][0] += 2e-5
    golden.write_text("\n".join([json.dumps(row), *others]))
    assert node(copy, "--golden").returncode == 1


def test_another_text_version_is_refused(node, router, tmp_path):
    copy = shutil.copytree(router.artifact.path, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["input"]["text_version"] += 1
    (copy / "config.json").write_text(json.dumps(config))
    done = node(copy, "--golden")
    assert done.returncode == 1
    assert "version" in done.stderr


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_prompts_get_the_same_probabilities(node, router, prompt):
    done = node(router.artifact.path, prompt)
    assert done.returncode == 0, done.stderr
    *lines, labels = done.stdout.splitlines()
    shown = {name: float(p) for name, p in map(str.split, lines)}
    row = router.classifier.probabilities(model_text(read_request(prompt)))
    assert shown == pytest.approx(dict(zip(router.classifier.labels, row, strict=True)), abs=1e-5)
    own = router.classifier.predict(row, router.classifier.thresholds).labels
    assert labels == f"labels: {', '.join(own) or '(none)'}"


def test_usage(node):
    assert node().returncode == 2
