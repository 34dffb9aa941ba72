import pytest

from router_ml.plurals import counted


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ["row"], "0 rows"),
        (1, ["row"], "1 row"),
        (2000, ["row"], "2,000 rows"),
        (1, ["row is", "rows are"], "1 row is"),
        (2, ["row is", "rows are"], "2 rows are"),
    ],
)
def test_what_is_counted_agrees_with_its_count(count, words, said):
    assert counted(count, *words) == said
