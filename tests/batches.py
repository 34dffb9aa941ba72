"""Logs to be decided on in fragments, and what was written of them."""

import json

import pyarrow as pa
import pytest
from pyarrow import dataset, parquet

PROMPTS = [
    "Prove that the square root of 2 is irrational",
    "写一首关于秋天的诗",
    "What is the capital of France?",
    "",
    "  \u3000 ",
    "\u3000hello",
    "\x00\x07 solve x^2 = 4",
    "é" * 400,
    "数学" * 400,
    "integral of x " * 60,
    "Extract all dates from this text: 1 May 2024",
]


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Describe this"},
                                 {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
]  # fmt: skip


def prompts(count):
    return [f"{PROMPTS[n % len(PROMPTS)]} {n}" if n >= len(PROMPTS) else PROMPTS[n]
            for n in range(count)]  # fmt: skip


def write_parquet(path, count, **options):
    table = pa.table(
        {
            "id": range(count),
            "prompt": prompts(count),
            "at": [f"2026-01-{1 + n % 3:02}T08:00:00Z" for n in range(count)],
        }
    )
    parquet.write_table(table, path, **options)
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(output, key="id"):
    """Read all of an output, in the order of a column."""
    table = dataset.dataset(str(output), partitioning="hive").to_table()
    return table.sort_by(key).to_pylist()


def files(output):
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def same_as_routed(rows, requests, router):
    """Check that rows are those of `Router.route`: routes equal, probabilities to 1e-6."""
    assert len(rows) == len(requests)
    for row, request in zip(rows, requests, strict=True):
        decision = router.route(request)
        assert row["predicted_route"] == decision.route
        assert row["predicted_model"] == decision.model
        assert tuple(row["predicted_labels"]) == decision.labels
        assert row["predicted_reason"] == decision.reason
        assert row["predicted_confidence"] == pytest.approx(decision.confidence, abs=1e-6)
        found = row["predicted_probabilities"] or {}
        assert found == pytest.approx(dict(decision.probabilities), abs=1e-6)
