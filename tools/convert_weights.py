"""The same as `ttfnet weights`; see `python tools/convert_weights.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this clone's package, whatever else is installed

from ttfnet_tf.cli import main

if __name__ == "__main__":
    sys.exit(main(["weights", *sys.argv[1:]]))
