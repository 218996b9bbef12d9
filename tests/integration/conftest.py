import pytest
from integration_runs import Runs

from ttfnet_tf.data.shapes import draw_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Folder of a synthetic data set: 12 pictures to train on (3 batches of 4), 4 to validate."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(folder, train=12, val=4, size=(64, 64), seed=3)
    return folder


@pytest.fixture
def runs(shapes, tmp_path):
    return Runs(shapes, tmp_path)
