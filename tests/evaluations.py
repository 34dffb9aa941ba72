"""Labelled rows with their tokens, and a report on such rows."""

import json

from router_ml.evaluation.report import make_report


def report_on(tmp_path, router, rows, against=(), **more):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_report([path], router, against, **more)


MATH = {
    "prompt": "Prove that the square root of 2 is irrational.",
    "labels": ["math"],
    "usage": {"prompt_tokens": 20, "completion_tokens": 1_000},
}
GENERAL = {
    "prompt": "What is a good name for a grey cat?",
    "labels": [],
    "usage": {"prompt_tokens": 10, "completion_tokens": 200},
}
