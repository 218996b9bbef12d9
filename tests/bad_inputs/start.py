"""Weights, devices and work directories: what a run needs to start."""

import numpy as np

from bad_inputs.changes import (
    RESUME,
    TRAIN,
    arrays,
    text,
    tf_config,
)

ROWS = {
    # Pretrained weights.
    "no such weights": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        None,
        "{tmp}/weights.npz: cannot be read (No such file or directory); name a weight file",
    ),
    "weights are no npz": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        text("weights.npz", "weights"),
        "{tmp}/weights.npz: is not an .npz file of plain arrays; save one with numpy.savez(path, **arrays)",
    ),
    "weights of something else": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        arrays(dense=np.zeros(3)),
        "{tmp}/weights.npz: none of its 1 names is in this model, which has names such as conv1.weight; is the file for another network?",
    ),
    "weights of another shape": (
        f"{TRAIN} model.pretrained={{tmp}}/weights.npz",
        arrays(**{"conv1.weight": np.zeros([8, 1, 7, 7], np.float32)}),
        (
            "{tmp}/weights.npz: conv1.weight has the shape (8, 1, 7, 7), and this model needs (8, 3, 7, 7); is the file for "
            "another backbone?"
        ),
    ),
    # Devices and workers.
    "no such GPU": (f"{TRAIN} train.devices=[gpu:7]", None, "train.devices: there is no gpu:7 here; available: ..."),
    "batch not divisible": (
        f"{TRAIN} train.devices=[cpu:0,cpu:1] train.batch_size=3",
        None,
        "{tmp}/a.yaml: train.batch_size=3 must be a multiple of the number of train.devices",
    ),
    "no TF_CONFIG": (
        f"{TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG, TTFNET_WORKERS or a start by Slurm's srun; see docs/distributed.md",
    ),
    "broken TF_CONFIG": (
        f"TF_CONFIG=worker {TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG as JSON with cluster.worker and task.index; see docs/distributed.md",
    ),
    "TF_CONFIG without ports": (
        f"{tf_config(['a'], 0)} {TRAIN} train.strategy=multi_worker",
        None,
        'train.strategy=multi_worker needs TF_CONFIG with workers as host:port, found "a"; see docs/distributed.md',
    ),
    "worker's port in use": (
        f"{tf_config(['localhost:{port}'], 0)} {TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG: worker 0, this process, cannot listen at localhost:{port} (Address already in use); "
        "name a free port in every worker's TF_CONFIG",
    ),
    "TF_CONFIG without this worker": (
        f"{tf_config(['a:1'], 1)} {TRAIN} train.strategy=multi_worker",
        None,
        "train.strategy=multi_worker needs TF_CONFIG: task {'type': 'worker', 'index': 1} is not one of the 1 workers",
    ),
    # Work directory.
    "work directory is a file": (TRAIN, text("new", "mine"), "{tmp}/new: cannot be written (File exists); choose another --work-dir"),
    "work directory cannot be made": (
        "train {tmp}/a.yaml --work-dir /proc/run",
        None,
        "/proc/run: cannot be written (No such file or directory); choose another --work-dir",
    ),
    "disk full at the start": (
        f"FSIZE=1024 {TRAIN}",
        None,
        "{tmp}/new/config.yaml: cannot be written (File too large); free some space, then start the same command again",
    ),
    "disk full at a checkpoint": (
        f"FSIZE=500000 {RESUME} train.epochs=2",
        None,
        (
            "{tmp}/run/checkpoints/step-2: cannot be written (File too large); earlier checkpoints are whole: free some "
            "space, then start the same command again"
        ),
    ),
    "disk full at the best checkpoint": (
        f"FSIZE=500000 {RESUME} train.epochs=2 train.evaluate_every=1",
        None,
        (
            "{tmp}/run/checkpoints/best/step-2: cannot be written (File too large); earlier checkpoints are whole: free some "
            "space, then start the same command again"
        ),
    ),
}
