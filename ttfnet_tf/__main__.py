"""`python -m ttfnet_tf VERB ...` is `ttfnet VERB ...`."""

import sys

from ttfnet_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
