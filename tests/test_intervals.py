import numpy as np
import pytest

from router_ml.evaluation.intervals import Bootstrap, figure_of, figures_of, ratio


def interval_of(values, clusters=None, **more):
    boot = Bootstrap(np.arange(len(values)) if clusters is None else clusters, **more)
    return figure_of(ratio(boot.totals(values), boot.totals())[:, 0])


def covered(draw_sample, truth, times=200, **more):
    draw = np.random.default_rng(3)
    found = [
        interval_of(*draw_sample(draw), replicates=400, seed=at, **more) for at in range(times)
    ]
    return np.mean([figure.low <= truth <= figure.high for figure in found])


def test_the_first_of_the_resamples_is_the_rows_themselves():
    values, cells = np.array([0.5, 2.0, 4.0, 8.0]), np.array([0, 1, 1, 2])
    boot = Bootstrap(np.arange(4))
    assert boot.totals(values)[0] == pytest.approx([14.5])
    assert boot.totals(values, cells, 4)[0] == pytest.approx([0.5, 6, 8, 0])
    assert boot.totals(cells=cells, size=3)[0].tolist() == [1, 2, 1]
    assert (boot.totals()[1:] == 4).all()


def test_intervals_of_rows_cover_at_about_their_level():
    def sample(draw):
        return (draw.random(200) < 0.8, None)

    assert 0.90 <= covered(sample, 0.8) <= 0.98


def test_intervals_of_blocks_of_rows_cover_as_well():
    def sample(draw):
        return (draw.random(2_000) < 0.8, None)

    assert 0.90 <= covered(sample, 0.8, blocks=200) <= 0.98


def test_only_clusters_cover_where_rows_hang_together():
    def grouped(draw):
        return np.repeat(draw.random(60) < 0.8, 10), np.repeat(np.arange(60), 10)

    def alone(draw):
        return grouped(draw)[0], None

    assert 0.89 <= covered(grouped, 0.8) <= 0.99
    assert covered(alone, 0.8) < 0.6


def test_a_resample_of_some_rows_is_that_of_all():
    values = np.arange(10.0)
    boot, rows = Bootstrap(np.arange(10)), np.arange(10) % 2 == 0
    assert (boot.among(rows).totals(values[rows]) == boot.totals(values * rows)).all()


def test_one_row_and_none_of_a_kind():
    one = interval_of(np.array([1.0]))
    assert (one.value, one.low, one.high) == (1, 1, 1)
    boot = Bootstrap(np.arange(3))
    empty = ratio(boot.totals(cells=np.zeros(3, int), size=2), boot.totals() * [[1, 0]])
    assert np.isnan(figures_of(empty)[1].value)
