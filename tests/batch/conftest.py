"""A Ray cluster for each file of tests that needs one: it takes longer to start than most of them, and work while nobody asks."""

import pytest
from ray_nodes import nodes

from tests.required import need


@pytest.fixture(scope="session")
def ray():
    """It reads when it is imported whether there is a token, so it is imported by the cluster."""
    need("ray")


@pytest.fixture(scope="module")
def cluster(ray):
    with nodes() as made:
        yield made
