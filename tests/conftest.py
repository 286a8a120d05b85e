"""What every test leaves as it found it."""

import importlib.util
import sys

import hypothesis
import pytest

from .support.quick import quicken

hypothesis.settings.register_profile("shared-machine", deadline=None)  # how long an example takes says nothing
hypothesis.settings.load_profile("shared-machine")


def pytest_configure(config):
    """Write yapf's cache before there are workers: yapf 0.43 shows it to others before it is whole."""
    if not hasattr(config, "workerinput") and importlib.util.find_spec("yapf"):
        importlib.import_module("yapf.yapflib.yapf_api")


def pytest_collection_finish():
    quicken()


@pytest.fixture(autouse=True)
def default_scope():
    """A Runner makes its default scope the process's; the next test must not see it."""
    registry = sys.modules.get("mmengine.registry")
    before = dict(registry.DefaultScope._instance_dict) if registry else {}
    yield
    if registry := sys.modules.get("mmengine.registry"):
        registry.DefaultScope._instance_dict.clear()
        registry.DefaultScope._instance_dict.update(before)
