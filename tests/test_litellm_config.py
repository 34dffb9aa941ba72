import pytest
import yaml
from typer.testing import CliRunner

from router_ml.cli import app
from router_ml.policy import SHIPPED_POLICY

SMALL = """
schema_version = 1
default = "general"
[uncertain]
below = 0.2
models = ["deepseek-v4-pro"]
[[rules]]
route = "vision"
needs = ["vision"]
choose = "cheapest"
models = ["Qwen/Qwen3-VL-32B", "glm-4.6v"]
[[rules]]
route = "math"
needs = ["math"]
models = ["moonshot-k2.5", "deepseek-r1"]
[[rules]]
route = "chinese"
needs = ["chinese"]
models = ["glm-4-9b"]
"""
for _label in ("code", "creative", "extraction"):
    SMALL += f'[[rules]]\nroute = "general"\nneeds = ["{_label}"]\nmodels = ["deepseek-v4-flash"]\n'
SMALL += '[[rules]]\nroute = "general"\nmodels = ["deepseek-v4-flash", "Qwen/Qwen3-32B"]\n'

run = CliRunner().invoke


def written(path, *options):
    result = run(app, ["litellm-config", str(path), *options])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(SMALL)
    return path


def test_a_policy_that_tiers_can_say_gets_the_plugin(small):
    text = written(small)
    config = yaml.safe_load(text)
    assert "hook" not in text
    assert config["environment_variables"] == {"ROUTER_ML_POLICY": str(small)}
    (auto,) = (one for one in config["model_list"] if one["model_name"] == "auto")
    router = auto["litellm_params"]["complexity_router_config"]
    tiers = [tier["name"] for tier in router["tier_definitions"]]
    assert tiers[-1] == "glm-4.6v"
    assert set(tiers) == set(router["tiers"]) == {
        "deepseek-v4-pro", "glm-4.6v", "moonshot-k2.5", "glm-4-9b", "deepseek-v4-flash",
    }  # fmt: skip
    assert router["fallback_tier"] == "deepseek-v4-pro"
    assert {"glm-4.6v": ["Qwen/Qwen3-VL-32B"]} in config["router_settings"]["fallbacks"]


def test_a_policy_that_asks_for_more_gets_the_hook_and_is_told_why():
    text = written(SHIPPED_POLICY)
    config = yaml.safe_load(text)
    assert "since the policy chooses among 9 models" in text
    assert config["litellm_settings"]["callbacks"] == ["router_ml.integrations.litellm_hook.hook"]


def test_every_model_has_its_prices_and_what_it_reads(tmp_path, small):
    catalog = tmp_path / "catalog.toml"
    models = ("deepseek-v4-pro", "deepseek-v4-flash", "Qwen/Qwen3-32B", "deepseek-r1", "glm-4-9b")
    catalog.write_text(
        'schema_version = 1\nbaseline = "glm-4-9b"\n'
        '[models."moonshot-k2.5"]\noutput_price = 3\ninput_price = 0.6\n'
        "cached_input_price = 0.15\ncontext = 200_000\n"
        + "".join(f'[models."{name}"]\noutput_price = 1\n' for name in models)
        + "".join(
            f'[models."{name}"]\noutput_price = 1\nmodalities = ["text", "vision"]\n'
            for name in ("Qwen/Qwen3-VL-32B", "glm-4.6v")
        )
    )
    config = yaml.safe_load(written(small, "--catalog", str(catalog)))
    listed = {one["model_name"]: one for one in config["model_list"]}
    assert set(listed) == {*models, "moonshot-k2.5", "Qwen/Qwen3-VL-32B", "glm-4.6v", "auto"}
    kimi = listed["moonshot-k2.5"]
    assert kimi["litellm_params"]["input_cost_per_token"] == pytest.approx(0.6e-6)
    assert kimi["litellm_params"]["output_cost_per_token"] == pytest.approx(3e-6)
    assert kimi["litellm_params"]["cache_read_input_token_cost"] == pytest.approx(0.15e-6)
    assert kimi["model_info"] == {
        "supports_vision": False, "supports_audio_input": False, "max_input_tokens": 200_000,
    }  # fmt: skip
    assert listed["glm-4.6v"]["model_info"]["supports_vision"]


def test_what_is_no_policy_or_names_no_models_ends_with_a_sentence(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("schema_version = 2")
    result = run(app, ["litellm-config", str(path)])
    assert result.exit_code == 1
    assert "policy.toml" in result.stderr
    rules = "".join(
        f'[[rules]]\nroute = "{label}"\nneeds = ["{label}"]\n'
        for label in ("math", "vision", "chinese", "code", "creative", "extraction")
    )
    path.write_text(f'schema_version = 1\ndefault = "math"\n{rules}')
    result = run(app, ["litellm-config", str(path)])
    assert result.exit_code == 1
    assert "names no models" in result.stderr
