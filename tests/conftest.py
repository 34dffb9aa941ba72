from pathlib import Path

import pytest

from router_ml import Router

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def router() -> Router:
    return Router.load()
