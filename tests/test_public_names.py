import subprocess
import sys

import pytest

import router_ml


def test_public_names_are_those_that_are_listed():
    assert set(router_ml.__all__) <= set(dir(router_ml))
    for name in set(router_ml.__all__) - {"__version__"}:
        found = getattr(router_ml, name)
        assert found.__name__ == name
        assert getattr(sys.modules[found.__module__], name) is found


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match="'router_ml' has no attribute 'Rooter'"):
        _ = router_ml.Rooter
    with pytest.raises(ImportError, match="cannot import name 'Rooter'"):
        from router_ml import Rooter  # noqa: F401


def test_nothing_is_loaded_before_it_is_asked_for():
    code = "import sys, router_ml; before = 'numpy' in sys.modules; router_ml.Router; " \
           "print(before, 'numpy' in sys.modules)"  # fmt: skip
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
