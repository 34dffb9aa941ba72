from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from router_ml import Router

ROOT = Path(__file__).parent.parent

# A busy machine is slow for reasons that are no property of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def router() -> Router:
    return Router.load()
