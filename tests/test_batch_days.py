import math

import pyarrow as pa
import pytest
from pyarrow import parquet

from router_ml.batch import classify, fragments
from router_ml.errors import BatchError, DataError


def test_output_is_partitioned_by_day_or_route(log, tmp_path):
    classify(log, tmp_path / "days", workers=1, by="day:at")
    names = {path.name for path in (tmp_path / "days").glob("day_of_at=*")}
    assert names == {f"day_of_at=2026-01-0{day}" for day in (1, 2, 3)}
    classify(log, tmp_path / "routes", workers=1, by="route")
    part = parquet.read_table(next((tmp_path / "routes/predicted_route=math").iterdir()))
    assert all("math" in labels for labels in part["predicted_labels"].to_pylist())
    with pytest.raises(DataError, match="no column 'when'"):
        classify(log, tmp_path / "no", workers=1, by="day:when")
    with pytest.raises(BatchError, match="not by 'month'"):
        classify(log, tmp_path / "no", workers=1, by="month")


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1_767_571_200, None]),
        pa.array([1_767_571_200_000, None]),
        pa.array([1_767_571_200_000_000.0, None]),
        pa.array([1_767_571_200_123_456_789, None]),
        pa.array([1_767_571_200_123_456_789, None], pa.uint64()),
        pa.array([1_767_571_200.5, math.nan]),
        pa.array([1_767_571_200, math.inf]),
        pa.array([1_767_571_200, -1e300]),
        pa.array([1_767_571_200, None], pa.timestamp("s")),
        pa.array([1_767_571_200_000_000, (1 << 63) - 1], pa.timestamp("us", "Asia/Tokyo")),
        pa.array([20_458, None], pa.date32()),
        pa.array(["2026-01-05 00:00", "yesterday"]),
        pa.array(["2026-01-05T23:30:00-05:00", ""], pa.large_string()),
        pa.array(["2026-01-05", None]).dictionary_encode(),
        pa.array(["1767571200", "12"]),
        pa.array(["1767571200000.0", "1767571200 s"]),
    ],
)
def test_a_day_is_found_in_times_of_any_kind(times, tmp_path):
    from router_ml.batch.days import days

    part = fragments.Fragment("", "x", "parquet", 0, 1, 1, "")
    assert days(part, pa.table({"at": times}), "at").to_pylist() == ["2026-01-05", None]
    nothing = pa.table({"at": pa.nulls(2)})
    assert days(part, nothing, "at").to_pylist() == [None, None]
    assert days(part, nothing, "at").type == pa.string()
