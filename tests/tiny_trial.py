"""The program of a trial of `ttfnet tune` with tiny networks: `python tests/tiny_trial.py CONFIG FOLDER`."""

import sys
from pathlib import Path

import networks  # of this folder, which Python has put first
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from ttfnet_tf.tune.trial_process import main

    networks.narrow(pytest.MonkeyPatch())
    sys.exit(main(sys.argv[1:]))
