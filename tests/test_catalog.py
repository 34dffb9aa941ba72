import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_ml import Catalog
from router_ml.catalog import SHIPPED_CATALOG, Model
from router_ml.errors import CatalogError

OLD = 'schema_version = 1\nbaseline = "a"\n[models.a]\noutput_price = 2\n'


def catalog(**models):
    return Catalog(1, models, next(iter(models)))


def load(tmp_path, text):
    path = tmp_path / "catalog.toml"
    path.write_text(text)
    return Catalog.load(path)


def test_a_catalog_of_output_prices_alone(tmp_path):
    model = load(tmp_path, OLD).models["a"]
    assert model == Model(output_price=2.0, modalities=("text",))
    unknown = (model.input_price, model.cached_input_price, model.context, model.speed)
    assert unknown == (None, None, None, None)


def test_all_that_can_be_said_of_a_model(tmp_path):
    more = "input_price = 1\ncached_input_price = 0.1\ncontext = 131072\nspeed = 90\n"
    model = load(tmp_path, OLD + more + 'modalities = ["text", "vision"]\n').models["a"]
    assert model == Model(2, ("text", "vision"), 1, 0.1, 131072, 90)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("input_price = -1", "models"),
        ("input_price = inf", "models"),
        ("input_price = nan", "models"),
        ("context = 0", "models"),
        ("context = 1.5", "models"),
        ("speed = 0", "models"),
        ('modalities = ["smell"]', "smell"),
        ("price = 1", "price"),
    ],
)
def test_wrong_values_are_named(tmp_path, line, named):
    with pytest.raises(CatalogError, match=f"catalog.toml: .*{named}"):
        load(tmp_path, OLD + line)


def test_cost_by_hand():
    model = Model(output_price=10.0, input_price=2.0, cached_input_price=0.5)
    assert model.cost(1_000_000, 0) == 2.0
    assert model.cost(0, 1_000_000) == 10.0
    assert model.cost(1_000_000, 100_000, cached_input_tokens=400_000) == pytest.approx(
        0.6 * 2.0 + 0.4 * 0.5 + 0.1 * 10.0
    )


def test_an_unknown_input_price_counts_as_nothing():
    assert Model(output_price=10.0).cost(5_000, 100, 200) == pytest.approx(0.001)
    half_known = Model(output_price=0.0, cached_input_price=1.0)
    assert half_known.cost(5_000, 0, 1_000) == pytest.approx(0.001)


def test_cached_input_without_a_price_costs_what_other_input_costs():
    model = Model(output_price=0.0, input_price=2.0)
    assert model.cost(1_000, 0, 600) == model.cost(1_000, 0)


def test_cached_input_that_is_counted_apart_lowers_no_cost():
    model = Model(output_price=1.0, input_price=2.0, cached_input_price=0.5)
    assert model.cost(1_000, 0, 5_000) == pytest.approx(5_000 * 0.5 / 1e6)


def test_cheapest_and_fastest():
    models = catalog(
        a=Model(1.0, speed=50),
        b=Model(0.5),
        c=Model(0.5, input_price=0.1, speed=10),
        d=Model(0.1, ("text", "vision"), speed=200),
    )
    assert models.rank("cheapest") == ("d", "c", "b", "a")
    assert models.rank("fastest") == ("d", "a", "c")
    assert models.rank("cheapest", reads=("vision",)) == ("d",)
    assert models.rank("fastest", among=("c", "b", "a")) == ("a", "c")
    assert models.rank("cheapest", reads=("audio",)) == ()


prices = st.floats(0, 1000)
some_models = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(Model, prices, input_price=st.none() | prices, speed=st.none() | st.floats(1, 500)),
    min_size=1,
)


@given(some_models)
def test_a_lower_price_never_ranks_lower(models):
    ranked = catalog(**models).rank("cheapest")
    assert sorted(ranked) == sorted(models)
    found = [models[name].output_price for name in ranked]
    assert found == sorted(found)
    fastest = [models[name].speed for name in catalog(**models).rank("fastest")]
    assert fastest == sorted(fastest, reverse=True)
    last = msgspec.structs.replace(models[ranked[-1]], output_price=0.0, input_price=0.0)
    first = catalog(**models | {ranked[-1]: last}).rank("cheapest")[0]
    assert models[first].output_price == 0.0 or first == ranked[-1]


@given(some_models, st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_cost_is_a_sum_of_known_prices(models, written, read):
    for model in models.values():
        expected = (written * model.output_price + read * (model.input_price or 0)) / 1e6
        assert math.isclose(model.cost(read, written), expected, abs_tol=1e-12)


def test_no_price_is_shipped_that_the_project_has_no_figure_of():
    assert "input_price =" not in SHIPPED_CATALOG.read_text()
    assert {model.input_price for model in Catalog.load().models.values()} == {None}
