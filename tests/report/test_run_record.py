"""What the page of a run takes from its folder."""

import pytest

from ttfnet_tf.report.run_record import Record


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/usr/bin/ttfnet", "train", "a.yaml"], "ttfnet train a.yaml"),
        (["/home/me/tools/train.py", "a.yaml", "data.image_size=[64, 64]"], "ttfnet train a.yaml 'data.image_size=[64, 64]'"),
        (["/lib/ttfnet_tf/__main__.py", "train", "a.yaml"], "ttfnet train a.yaml"),
        (["/home/me/mine.py", "a.yaml"], "python mine.py a.yaml"),
        ([], None),
    ],
)
def test_the_command_of_a_run_is_shown_as_it_is_typed(argv, command):
    nothing = dict.fromkeys(Record.__dataclass_fields__)
    assert Record(**{**nothing, "environment": {"command": argv}}).command == command
