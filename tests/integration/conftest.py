import pytest
from integration_runs import Runs

from ttfnet_tf.data.shapes import draw_shapes


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Starts of the real command on a synthetic data set: 12 images to train on (3 batches of 4), 4 to validate."""
    folder = tmp_path_factory.mktemp("runs")
    draw_shapes(folder / "shapes", train=12, val=4, size=(64, 64), seed=3)
    return Runs(folder / "shapes", folder)
