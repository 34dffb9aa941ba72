"""Days of rows: what a column of times says, whatever it is made of."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from router_ml.batch.fragments import Fragment
from router_ml.errors import DataError

_FIRST_DAY, _LAST_DAY = -62_135_596_800, 10**11
"""Seconds from 1970 to the years 1 and 5138; what lies beyond counts parts of a second."""


def is_text_type(kind: pa.DataType) -> bool:
    """Say whether cells of a type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def days(fragment: Fragment, table: pa.Table, column: str) -> pa.Array:
    """Return the day of each row as text, null where it has none: 2026-11-25.

    A time is a timestamp, a date, or a number of seconds, milli-, micro- or nanoseconds since
    1970, as text too, and its day that of UTC; or it is text that begins with the day.

    Raises:
        DataError: there is no such column, or it is of another type.

    """
    if column not in table.column_names:
        raise DataError(fragment.path, None, f"has no column {column!r} to take the day from.")
    times = table.column(column).combine_chunks()
    if pa.types.is_dictionary(times.type):
        times = times.dictionary_decode()
    kind = times.type
    if is_text_type(kind):
        return _days_said(times)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _days_of(times.cast(pa.timestamp("s"), safe=False).cast(pa.int64()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return _days_of(_seconds(times.cast(pa.float64(), safe=False)))
    raise DataError(fragment.path, None, f"{column!r} is {kind}, which is no time.")


def _days_said(texts: pa.Array) -> pa.Array:
    start = pc.utf8_slice_codeunits(texts, 0, 10).cast(pa.string())
    is_number = pc.match_substring_regex(texts, r"^\d{9,19}(\.\d*)?$")
    numbers = _where(is_number, texts).cast(pa.float64())
    is_day = pc.match_substring_regex(start, r"^\d{4}-\d{2}-\d{2}$")
    return pc.if_else(is_day, start, _days_of(_seconds(numbers)))


def _seconds(numbers: pa.Array) -> pa.Array:
    for _ in range(3):  # from milli-, micro- or nanoseconds down to seconds
        beyond = pc.greater(pc.abs(numbers), _LAST_DAY)
        numbers = pc.if_else(beyond, pc.divide(numbers, 1000), numbers)
    return pc.floor(numbers)


def _days_of(seconds: pa.Array) -> pa.Array:
    in_range = pc.and_(pc.greater_equal(seconds, _FIRST_DAY), pc.less_equal(seconds, _LAST_DAY))
    whole = _where(in_range, seconds).cast(pa.int64())
    return whole.cast(pa.timestamp("s")).cast(pa.date32()).cast(pa.string())


def _where(mask: pa.Array, values: pa.Array) -> pa.Array:
    """Return values, null where the mask does not hold."""
    return pc.if_else(mask, values, pa.scalar(None, values.type))
