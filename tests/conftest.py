"""What every test leaves as it found it."""

import gc
import sys

import hypothesis
import pytest

hypothesis.settings.register_profile("shared-machine", deadline=None)  # how long an example takes says nothing
hypothesis.settings.load_profile("shared-machine")


def pytest_collection_finish():
    """Keep what was imported out of garbage collections: mmengine starts a full one for each data set it makes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def default_scope():
    """A Runner makes its default scope the process's; the next test must not see it."""
    registry = sys.modules.get("mmengine.registry")
    before = dict(registry.DefaultScope._instance_dict) if registry else {}
    yield
    if registry := sys.modules.get("mmengine.registry"):
        registry.DefaultScope._instance_dict.clear()
        registry.DefaultScope._instance_dict.update(before)
