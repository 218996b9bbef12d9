"""Draws AP and loss against the epoch from the metrics.jsonl of runs; made the images of docs/benchmarks.

python docs/learning_curves.py OUT.png RUN [RUN ...]
"""

import sys
from pathlib import Path

from ttfnet_tf.reproduce.plots import learning_curves

if __name__ == "__main__":
    learning_curves(sys.argv[1], {Path(run).name: run for run in sys.argv[2:]})
