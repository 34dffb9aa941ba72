"""LiteLLM's proxy as a process, and the parts of a configuration of it."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx2

ROUTES = ("general", "chinese", "math", "audio", "vision")
BUILT_IN = ("SIMPLE", "MEDIUM", "COMPLEX", "REASONING")
SEEING = ("vision", "COMPLEX", "glm-4.6v", "Qwen/Qwen3-VL-32B")
KEY = "sk-of-the-test"
PATIENCE_MS = 60_000  # a busy machine is slow for reasons that are no property of the code
ROOT = Path(__file__).parent.parent


def deployment(name, upstream, **more):
    params = {"model": f"openai/up-{name}", "api_base": upstream.url, "api_key": "none"}
    info = {"supports_vision": name in SEEING}
    return {"model_name": name, "litellm_params": params, "model_info": info, **more}


def complexity_router(name, config, default="general"):
    params = {
        "model": "auto_router/complexity_router",
        "complexity_router_default_model": default,
        "complexity_router_config": {"modality_routing": True, **config},
    }
    return {"model_name": name, "litellm_params": params}


def by_route(plugin):
    """Tiers of our own names."""
    return {
        "classifier_type": "custom",
        "classifier_plugin": plugin,
        "classifier_plugin_timeout_ms": PATIENCE_MS,
        "tier_definitions": [{"name": name, "description": name} for name in ROUTES],
        "fallback_tier": "general",
        "tiers": {name: name for name in ROUTES},
    }


def by_complexity(**classifier):
    """LiteLLM's own tiers, by whichever classifier."""
    return {**classifier, "tiers": {tier: tier for tier in BUILT_IN}}


def by_system_one(url):
    """LiteLLM's own tiers, by a service that speaks System One."""
    asked = {"provider": "jev", "model": "router_ml", "api_base": url, "api_key": "any"}
    asked["timeout_ms"] = PATIENCE_MS
    return by_complexity(classifier_type="oss_classifier", opensource_classifier_config=asked)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def proxy(directory, config, **environment):
    """LiteLLM's proxy with a configuration; yields a client of it."""
    path, port = directory / "config.yaml", free_port()
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    command = [Path(sys.executable).with_name("litellm"), "--config", path, "--port", str(port)]
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            cwd=directory,
        )
    client = httpx2.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=60,
    )
    try:
        wait_until_alive(client, process, directory / "proxy.log")
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


def wait_until_alive(client, process, log, within_s=180):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/health/liveliness").is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-4000:])
