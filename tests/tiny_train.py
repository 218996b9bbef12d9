"""`ttfnet train` with tiny networks, for tests that start many processes: `python tests/tiny_train.py CONFIG --work-dir DIR ...`.

With `fit` as first word it is `ttfnet fit`.
"""

import sys
from pathlib import Path

import networks  # of this folder, which Python has put first
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from ttfnet_tf.cli import main

    networks.narrow(pytest.MonkeyPatch())
    sys.exit(main(sys.argv[1:] if sys.argv[1] == "fit" else ["train", *sys.argv[1:]]))
