import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_carries_the_artifact_and_nothing_foreign(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    artifact = {"README.md", "config.json", "golden.jsonl", "model.onnx"}
    assert {f"router_ml/models/default/{name}" for name in artifact} <= set(names)
    data = {"policy.toml", "catalog.toml", "conformance.jsonl", "py.typed"}
    assert {f"router_ml/{name}" for name in data} <= set(names)
    assert {f"router_ml/evaluation/report.{kind}" for kind in ("css", "js")} <= set(names)
    assert {f"router_ml/labelling/label.{kind}" for kind in ("html", "css", "js")} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"router_ml"}
    assert not [name for name in names if "__pycache__" in name]
    assert wheel.stat().st_size < 25_000_000
