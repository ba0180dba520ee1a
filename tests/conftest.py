"""What holds for every test."""

from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no core is idle at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/pipeline", "tests/benchmarks")))
