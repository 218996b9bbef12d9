"""The same as `ttfnet serve-client`; see `python tools/serve_client.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this clone's package, whatever else is installed

from ttfnet_tf.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve-client", *sys.argv[1:]]))
