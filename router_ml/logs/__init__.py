"""Logs of requests as they are: whatever the file, and whatever its rows look like."""

from router_ml.logs.mapping import Mapping, read_mapping
from router_ml.logs.reading import Broken, Skipped, read_log, refuse, scan
from router_ml.logs.row import Row
from router_ml.logs.sources import find_files, passed_over, split_table

__all__ = [
    "Broken",
    "Mapping",
    "Row",
    "Skipped",
    "find_files",
    "passed_over",
    "read_log",
    "read_mapping",
    "refuse",
    "scan",
    "split_table",
]
