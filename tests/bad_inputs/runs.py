"""Runs that are resumed, evaluated or used for prediction."""

from bad_inputs.changes import CATEGORIES, EVALUATE, PREDICT, RESUME, TRAIN, coco, cut, folder, gone, settings_of_run, text

ROWS = {
    # Going on with a run.
    "other settings": (
        f"{RESUME} optim.lr=0.5",
        None,
        (
            "{tmp}/run: holds a run with optim.lr=0.016, this one has optim.lr=0.5; resume with the same settings or choose "
            "another --work-dir"
        ),
    ),
    "another number of classes": (
        RESUME,
        coco("train.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        "{tmp}/run: holds a run with 2 classes (cat, dog), the annotations have 3 (cat, dog, fox); choose another --work-dir",
    ),
    "run of another network": (
        f"{RESUME} model.neck=plain",
        settings_of_run(neck="plain"),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: "
            "bbox_head.deconv_layers.0.0/bias is [8] and [27] in the checkpoint and [8] in the model; restore the settings "
            "that it was trained with"
        ),
    ),
    "checkpoint cut short": (
        RESUME,
        cut("run/checkpoints/step-1.data-00000-of-00001", 0.5),
        "{tmp}/run/checkpoints/step-1: is damaged (Read less bytes than requested); delete its files and use an earlier checkpoint",
    ),
    "checkpoint without its data": (
        RESUME,
        gone("run/checkpoints/step-1.data-00000-of-00001"),
        (
            "{tmp}/run/checkpoints/checkpoint: names step-1, which is not complete, and there is no other checkpoint; put its files back, "
            "or delete {tmp}/run/checkpoints to start again"
        ),
    ),
    "teacher of other classes": (
        f"{TRAIN} train.teacher={{tmp}}/run",
        coco("train.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        (
            "train.teacher={tmp}/run: has other classes (2 and 3; class 3 is missing there and fox here); both must list the same in the "
            "same order"
        ),
    ),
    "teacher that is no run": (
        f"{TRAIN} train.teacher={{tmp}}/nothing",
        None,
        "{tmp}/nothing: is neither a work directory nor a checkpoint such as runs/x/checkpoints/step-370",
    ),
    "weight of one class of two": (
        f"{TRAIN} losses.class_weights=[3]",
        None,
        "losses.class_weights=[3.0] must have one number for each of the 2 classes, in the order of the category ids",
    ),
    "metrics are something else": (
        RESUME,
        text("run/metrics.jsonl", "step,loss\n"),
        "{tmp}/run/metrics.jsonl: holds a line that training has not written; fix it or move the file away",
    ),
    "loss not finite": (
        f"STEP=real {TRAIN} losses.heatmap_weight=3e38 model.neck=plain",
        None,
        (
            "{tmp}/new: the loss is inf at step 1, image ids 7, 8; replay it: ttfnet replay {tmp}/new/divergence/step-1; "
            "lower optim.lr (now 0.0032) or raise optim.warmup_steps and start with another --work-dir, or resume with "
            "train.on_divergence=skip or rollback"
        ),
    ),
    "nothing to replay": (
        "replay {tmp}/run",
        None,
        "{tmp}/run: holds no report.json; name a folder such as RUN/divergence/step-12 that training has written",
    ),
    "a broken record": (
        "replay {tmp}/run",
        text("run/report.json", "[]"),
        "{tmp}/run/report.json: is damaged; the step cannot be replayed from it",
    ),
    "a record without its batch": (
        "replay {tmp}/run",
        text("run/report.json", '{"replicas": 1, "loss_scale": 1.0, "found": {"layers": []}}'),
        "{tmp}/run/batch.npz: is missing or damaged; the step cannot be replayed without it",
    ),
    # Use of a run.
    "no such run": ("evaluate {tmp}/gone", None, "{tmp}/gone: no such run or checkpoint; name a work directory that training has written"),
    "run of nothing": (
        "evaluate {tmp}/images",
        None,
        "{tmp}/images: holds no config.yaml; name a work directory that training has written",
    ),
    "run without checkpoint": (
        EVALUATE,
        gone(*(f"run/checkpoints/{name}" for name in ("checkpoint", "step-1.index", "step-1.data-00000-of-00001"))),
        "{tmp}/run: holds no checkpoint; name a work directory that training has written",
    ),
    "no such checkpoint": (
        "evaluate {tmp}/run/checkpoints/step-5",
        None,
        "{tmp}/run/checkpoints/step-5: is neither a work directory nor a checkpoint such as runs/x/checkpoints/step-370",
    ),
    "half of a checkpoint": (
        EVALUATE,
        cut("run/checkpoints/step-1.data-00000-of-00001", 0.5),
        "{tmp}/run/checkpoints/step-1: is damaged (Read less bytes than requested); delete its files and use an earlier checkpoint",
    ),
    "index cut short": (
        EVALUATE,
        cut("run/checkpoints/step-1.index", 0.5),
        "{tmp}/run/checkpoints/step-1: is damaged (not an sstable (bad magic number)); delete its files and use an earlier checkpoint",
    ),
    "best.json broken": (
        EVALUATE,
        text("run/checkpoints/best.json", "{"),
        "{tmp}/run/checkpoints/best.json: is damaged; delete it to use the latest checkpoint instead",
    ),
    "labels missing": (
        EVALUATE,
        gone("run/labels.json"),
        "{tmp}/run/labels.json: is missing or broken; name a work directory that training has written",
    ),
    "config of another neck": (
        EVALUATE,
        settings_of_run(neck="plain"),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: "
            "bbox_head.deconv_layers.0.0/bias is [8] and [27] in the checkpoint and [8] in the model; restore the settings "
            "that it was trained with"
        ),
    ),
    "config of another head": (
        PREDICT,
        settings_of_run(heatmap_head={"width": 8, "depth": 2}),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: bbox_head.hm.1.conv/bias "
            "is missing in the checkpoint and [8] in the model; restore the settings that it was trained with"
        ),
    ),
    "config of another backbone": (
        EVALUATE,
        settings_of_run(backbone="resnet34"),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: backbone.layer1.2.bn1/beta "
            "is missing in the checkpoint and [8] in the model; restore the settings that it was trained with"
        ),
    ),
    "labels of another model": (
        PREDICT,
        text("run/labels.json", '{"class_names": ["a", "b", "c"], "category_ids": [1, 2, 3]}'),
        (
            "{tmp}/run/checkpoints/step-1: does not fit config.yaml and labels.json of {tmp}/run: bbox_head.hm.1/bias is [2] "
            "in the checkpoint and [3] in the model; restore the settings that it was trained with"
        ),
    ),
    "evaluation on other classes": (
        EVALUATE,
        coco("val.json", categories=[{"id": 3, "name": "cow"}, CATEGORIES[1]]),
        "{tmp}/val.json: has other classes than the model: category id 3 is 'cow' there and 'cat' in the model",
    ),
    "evaluation on more classes": (
        EVALUATE,
        coco("val.json", categories=[*CATEGORIES, {"id": 9, "name": "fox"}]),
        "{tmp}/val.json: has 3 classes, but the model was trained on 2",
    ),
    "batch of nothing": (f"{EVALUATE} --batch-size 0", None, "--batch-size 0 must be 1 or more"),
    # Prediction.
    "no images in the folder": (
        "predict {tmp}/run {tmp}/empty --out {tmp}/out",
        folder("empty"),
        (
            "{tmp}/empty: no image in this folder (sub-folders: name '{tmp}/empty/**/*'); name an image, a folder of "
            "images or a quoted pattern"
        ),
    ),
    "no such image": (
        "predict {tmp}/run {tmp}/a.jpg {tmp}/b.jpg --out {tmp}/out",
        None,
        "{tmp}/a.jpg: no such file, and nothing in 1 more; name an image, a folder of images or a quoted pattern",
    ),
    "wrong threshold": (f"{PREDICT} --score-threshold 1.5", None, "--score-threshold 1.5 must lie in 0..1, 1 excluded"),
    "output is a file": (PREDICT, text("out", "mine"), "{tmp}/out: cannot be made (File exists); name another folder with --out"),
    "output of something else": (
        "predict {tmp}/run {tmp}/images --out {tmp}",
        text("detections.json", "[]"),
        "{tmp}/detections.json: exists and was not written by predict; name another folder with --out",
    ),
    # Very many images.
    "an option of bulk prediction alone": (
        f"{PREDICT} --shard-size 5",
        None,
        "--shard-size is for predict with --runner; add --runner local, or leave it out",
    ),
    "shards of no image": (f"{PREDICT} --runner local --shard-size -1", None, "--shard-size -1 must be 1 or more"),
    "an option without a value": (f"{PREDICT} --runner local --runner-option a", None, "--runner-option a must be KEY=VALUE"),
    "an option that the runner lacks": (
        f"{PREDICT} --runner local --runner-option a=1",
        None,
        "--runner-option a: the local runner takes none",
    ),
    "no image for a runner": (
        "predict {tmp}/run {tmp}/empty --out {tmp}/out --runner local",
        folder("empty"),
        (
            "{tmp}/empty: no image in this folder (sub-folders: name '{tmp}/empty/**/*'); name an image, a folder of images or a "
            "quoted pattern"
        ),
    ),
    "records of another call": (
        f"{PREDICT} --runner local",
        text("out/detections-00000-of-00001.jsonl", "{}"),
        "{tmp}/out/detections-00000-of-00001.jsonl: is not of this call; name another folder with --out",
    ),
    "a manifest of another program": (
        f"{PREDICT} --runner local",
        text("out/manifest.json", "{}"),
        "{tmp}/out/manifest.json: exists and was not written by ttfnet predict; name another folder with --out",
    ),
}
