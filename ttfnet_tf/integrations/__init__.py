"""Other people's engines: each module here needs one package beyond the requirements, and says how to install it.

| Module | Package | What |
|---|---|---|
| `beam` | apache-beam | `ImageModelHandler` for RunInference, and bulk prediction |
| `ray_data` | ray[data] | `DetectImages` for map_batches, and bulk prediction |
| `ray_train` | ray[train] | `train_worker` and `tensorflow_trainer`: a run on several workers |
| `sahi` | sahi | `TTFNetDetectionModel`: a detection model of SAHI's sliced inference |
| `spark` | pyspark | `detect_udf` and `detect_in_pandas`, and bulk prediction |

Bulk prediction is a function `run(job, shards, options)` in each: it returns when every shard has its file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from ttfnet_tf.errors import UserError

# Name of the runner -> (module, package to import, extra that brings it); local needs none.
RUNNERS = {
    "local": ("ttfnet_tf.integrations.local", None, ""),
    "beam": ("ttfnet_tf.integrations.beam", "apache_beam", "beam"),
    "ray": ("ttfnet_tf.integrations.ray_data", "ray.data", "ray"),
    "spark": ("ttfnet_tf.integrations.spark", "pyspark.sql", "spark"),
}


def bulk_runner(name: str) -> Callable:
    """The function `run(job, shards, options)` of a runner.

    Raises:
        UserError: its package is not installed.
    """
    module, package, extra = RUNNERS[name]
    if package is not None:
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(f"--runner {name}: needs {package}, which is not installed; pip install 'ttfnet-tf[{extra}]'") from None
    return importlib.import_module(module).run
