"""Settings in files and on the command line."""

import re
import shlex

from bad_inputs.changes import EVALUATE, PREDICT, TRAIN, replace_file, text
from ttfnet_tf.config import list_settings


def _override(text, line):
    """A row of one override; the line begins with it where the value cannot be read, and with the file where a rule refuses it."""
    is_rule = re.search("must be (at most|above|ascending|one of|grpc|32 px)|must lie in", line)
    return f"override {text}", (f"{TRAIN} {shlex.quote(text)}", None, f"{'{tmp}/a.yaml' if is_rule else f'override {text!r}'}: {line}")


def _file(name, content, line):
    """A row of one settings file; the line begins with its name."""
    return name, (TRAIN, text("a.yaml", content), f"{{tmp}}/a.yaml: {line}")


_MUST = {int: "an integer, such as {default}", float: "a number, such as {default}", bool: "true or false"}
_ALIAS = "aliases such as *{} are not supported; write the value again"

ROWS = {
    # Settings.
    "no such config": (
        "train {tmp}/b.yaml",
        None,
        "{tmp}/b.yaml: cannot be read (No such file or directory); name a YAML file, or a recipe that ttfnet train --list prints",
    ),
    "no such recipe": (
        "train ttfnet_r18_1",
        None,
        "ttfnet_r18_1: cannot be read (No such file or directory); did you mean 'ttfnet_r18_1x'? ttfnet train --list prints the recipes",
    ),
    "bad YAML": (
        TRAIN,
        text("a.yaml", "model: [a\ntrain: 3"),
        "{tmp}/a.yaml: is not YAML (expected ',' or ']', but got ':' at line 2, column 6)",
    ),
    "no sections": (TRAIN, text("a.yaml", "- model"), "{tmp}/a.yaml: must hold sections such as 'model:', found list"),
    "unknown key": (
        TRAIN,
        text("a.yaml", "model: {backbonne: resnet34}"),
        "{tmp}/a.yaml: unknown key 'model.backbonne'; did you mean 'model.backbone'?",
    ),
    "wrong type": (
        TRAIN,
        text("a.yaml", "train: {epochs: many}"),
        "{tmp}/a.yaml: train.epochs=many must be an integer, such as 12",
    ),
    "no such choice": (
        TRAIN,
        text("a.yaml", "model: {backbone: resnet50}"),
        "{tmp}/a.yaml: model.backbone=resnet50 must be one of resnet18, resnet34, darknet53, dla34, keras_cv/resnet50, "
        "keras_cv/csp_darknet_s, keras_cv/efficientnet_v2_s, keras_cv/mobilenet_v3_small; did you mean 'keras_cv/resnet50'?",
    ),
    "image size": (
        TRAIN,
        text("a.yaml", "data: {image_size: [500, 512]}"),
        "{tmp}/a.yaml: data.image_size=[500, 512] must be [height, width], both multiples of 32, for the deepest stride is 32",
    ),
    "impossible combination": (
        TRAIN,
        text("a.yaml", "targets: {area: rectangle, beta: 1.5}"),
        "{tmp}/a.yaml: targets.beta=1.5 must be at most 1 with targets.area=rectangle, or the sub-area would leave its box",
    ),
    "drops after the end": (
        TRAIN,
        text("a.yaml", "train: {epochs: 5}"),
        "{tmp}/a.yaml: optim.drop_epochs=[9.0, 11.0] must all lie before the last of train.epochs",
    ),
    "no such base": (
        TRAIN,
        text("a.yaml", "base: b.yaml"),
        "{tmp}/b.yaml (base of {tmp}/a.yaml): cannot be read (No such file or directory); "
        "name a YAML file, or a recipe that ttfnet train --list prints",
    ),
    "base in a circle": (TRAIN, text("a.yaml", "base: a.yaml"), "{tmp}/a.yaml: base files form a circle at {tmp}/a.yaml"),
    # Overrides.
    "override without value": (f"{TRAIN} optim.lr", None, "override 'optim.lr' must have the form key=value, e.g. optim.lr=0.01"),
    "override of an unknown key": (f"{TRAIN} lr=1", None, "override 'lr=1': unknown key 'lr'; did you mean 'optim.lr'?"),
    "override of a wrong type": (
        f"{TRAIN} optim.lr=fast",
        None,
        "override 'optim.lr=fast': optim.lr=fast must be a number, such as 0.016",
    ),
    "override that is no YAML": (
        f"{TRAIN} data.image_size=[64",
        None,
        "override 'data.image_size=[64': is not YAML (expected ',' or ']', but got '<stream end>' at line 1, column 4)",
    ),
    "override of the trained model": (
        f"{EVALUATE} model.neck=plain",
        None,
        "override 'model.neck=plain': evaluation takes data.* and decode.* keys; the rest is part of the trained model",
    ),
    # Values that their setting cannot have.
    **dict(
        _override(text, line)
        for text, line in (
            ("data.image_size=320", "data.image_size=320 must be a list, such as [320, 320]"),
            ("data.image_size={a: 1}", "data.image_size is a setting, not a section; write data.image_size: VALUE"),
            ("data.image_size=[99968, 99968]", "data.image_size=[99968, 99968] must be at most 8192"),
            ("data.workers=999999999999", "data.workers=999999999999 must be at most 1024"),
            ("data.tile=16", "data.tile=16 must be 32 px or more (0 is off)"),
            ("data.tile=1000000", "data.tile=1000000 must be at most 65536"),
            ("data.tile_overlap=0.4", "data.tile_overlap=0.4 has no effect with data.tile=0; remove it"),
            ("data.cache=tape", "data.cache=tape must be one of none, ram, disk; did you mean 'ram'?"),
            ("data.service=localhost:5050", "data.service=localhost:5050 must be grpc://HOST:PORT"),
            ("data.train.images=null", "data.train.images=null must be text"),
            ("data.train=x", "data.train=x must be a section with keys, e.g. data.train.annotations"),
            ("data.train=[a.json]", "data.train[0]=a.json must have keys: {annotations: FILE, images: FOLDER, repeat: 1}"),
            ("data.train=[{images: A}]", "data.train[0]: has no annotations; write {annotations: FILE, images: FOLDER}"),
            ("data.val=[{annotations: a, images: A, repeat: 2}]", "data.val[0].repeat=2: an evaluation takes each image once; remove it"),
            ("data.classes={a: {b: c}}", "data.classes: a={'b': c} must be a class of the files, or a list of some"),
            ("data..train=x", "unknown key 'data.'; did you mean 'data'?"),
            ("data.train.annotations.x=1", "data.train.annotations is a setting, not a section; write data.train.annotations: VALUE"),
            ("model.neck_channels=[9999999, 1, 1]", "model.neck_channels=[9999999, 1, 1] must be at most 4096"),
            ("model.shortcut=[a, b, c]", "model.shortcut=a must be an integer"),
            ("model.zero_init_residual=maybe", "model.zero_init_residual=maybe must be true or false"),
            ("targets.alpha=.nan", "targets.alpha=nan must be above 0"),
            ("targets.beta=1e9", "targets.beta=1000000000.0 must be at most 10"),
            ("optim.lr=1e39", "optim.lr=1e+39 must be at most 3.4e+38"),
            ("optim.lr=12:30", "optim.lr=12:30 must be a number, such as 0.016"),
            ("optim.lr=0x10", "optim.lr=0x10 must be a number, such as 0.016"),
            ("optim.lr=${optim.momentum}", "optim.lr=${optim.momentum} must be a number, such as 0.016"),
            ("optim.drop_epochs=[.inf]", "optim.drop_epochs=[inf] must be ascending epochs above 0"),
            ("optim.scale_lr=2", "optim.scale_lr=2 must be true or false"),
            ("train.epochs=2024-01-31", "train.epochs=2024-01-31 must be an integer, such as 12"),
            ("train.epochs=yes", "train.epochs=yes must be an integer, such as 12"),
            ("train.epochs=1e3", "train.epochs=1e3 must be an integer, such as 12"),
            ("train.epochs=null", "train.epochs=null must be an integer, such as 12"),
            ("train.epochs=99999999999999999999999", "train.epochs=99999999999999999999999 must be at most 1000000"),
            ("train.devices=gpu:0", "train.devices=gpu:0 must be a list, such as [...]"),
            ("train.devices=[[gpu:0]]", "train.devices=[gpu:0] must be text"),
            ("train.epochs=*x", "train.epochs=*x must be an integer, such as 12"),
            ("train.devices=[*x]", "line 1: " + _ALIAS.format("x")),
            ("train.devices=[!!int 3]", "line 1: tags such as tag:yaml.org,2002:int are not supported; remove it"),
            ("train.devices=[[[[[[[[[[[[x]]]]]]]]]]]]", "line 1: is nested more than 10 deep"),
            ("train.seed=-1", "train.seed=-1 must lie in 0..2147483647"),
            ("decode.top_k=1000000", "decode.top_k=1000000 must be at most 100000"),
            ("export.max_pixels=9999999999", "export.max_pixels=9999999999 must be at most 2147483647"),
        )
    ),
    # Files that are not what settings are.
    **dict(
        _file(*row)
        for row in (
            ("section twice", "train:\n  epochs: 5\noptim: {}\ntrain:\n  batch_size: 4", "line 4: 'train' is given twice, first in line 1"),
            ("key twice", "train: {epochs: 5, epochs: 6}", "line 1: 'epochs' is given twice, first in line 1"),
            ("an alias", "data: &a {}\nmodel: *a", "line 2: " + _ALIAS.format("a")),
            ("an alias of itself", "model: &a {backbone: *a}", "line 1: " + _ALIAS.format("a")),
            ("a bomb of aliases", "a: &a [x, x]\nb: &b [*a, *a]\nbase: [*b, *b]", "line 2: " + _ALIAS.format("a")),
            ("a tag", "train: {seed: !!int x}", "line 1: tags such as tag:yaml.org,2002:int are not supported; remove it"),
            (
                "an object of Python",
                "train: !!python/object/apply:os.getcwd []",
                "line 1: tags such as tag:yaml.org,2002:python/objec... are not supported; remove it",
            ),
            ("deep nesting", "data: " + "[" * 5000, "line 1: is nested more than 10 deep"),
            ("a reference", "optim: {lr: '${optim.momentum}'}", "optim.lr=${optim.momentum} must be a number, such as 0.016"),
            ("two documents", "train: {}\n---\ntrain: {}", "line 2: a second document; write one"),
            ("a key that is a list", "[a]: 1", "line 1: a key must be a name"),
            ("a NUL", "train: {seed: '\0'}", "is not YAML (character 0x0000 at position 15)"),
            ("a long file", "# " + "x" * 200_000, "has 200002 characters; a settings file has up to 200000"),
            ("a date in a number", "train: {seed: 2024-13-45}", "train.seed=2024-13-45 must be an integer, such as 0"),
            ("base that is a list", "base: [a, b]", "base=[a, b] must be the name of one YAML file"),
        )
    ),
    "base that is a folder": (
        TRAIN,
        text("a.yaml", "base: images"),
        "{tmp}/images (base of {tmp}/a.yaml): cannot be read (Is a directory); name a YAML file, or a recipe that ttfnet train "
        "--list prints",
    ),
    "settings of another encoding": (
        TRAIN,
        lambda tmp: replace_file(tmp / "a.yaml", "train: {}".encode("utf-16")),
        "{tmp}/a.yaml: is not YAML (not UTF-8 text)",
    ),
    "base with a name that is too long": (
        TRAIN,
        text("a.yaml", f"base: {'a' * 5000}"),
        f"{{tmp}}/a.yaml: base={'a' * 40}... is too long: 5000 characters, at most 4096",
    ),
    "a resize that does not exist": (
        f"{TRAIN} data.resize=crop",
        None,
        "{tmp}/a.yaml: data.resize=crop must be one of stretch, letterbox; did you mean 'letterbox'?",
    ),
    "letterbox with random views": (
        f"{TRAIN} data.resize=letterbox augment.affine=true",
        None,
        "{tmp}/a.yaml: data.resize=letterbox is not possible with augment.affine, whose views are stretched; set one of them back",
    ),
    "a limit of few detections": (f"{EVALUATE} --tile 64 --max-detections 99", None, "--max-detections 99 must be 100 or more"),
    "a limit above what the network gives": (
        f"{EVALUATE} --max-detections 500",
        None,
        "--max-detections 500: the network gives decode.top_k=100 detections of an image; add --tile, or decode.top_k=500",
    ),
    "tiles of nothing": (f"{PREDICT} --tile 0", None, "--tile 0 must be 32 px or more"),
    "tiles that are too small": (f"{EVALUATE} --tile 16", None, "--tile 16 must be 32 px or more"),
    "tiles that overlap too much": (f"{PREDICT} --tile 64 --overlap .8", None, "--overlap 0.8 must lie in 0..0.5"),
    "an overlap that is no number": (f"{EVALUATE} --tile 64 --overlap nan", None, "--overlap nan must lie in 0..0.5"),
    "overlap without tiles": (f"{EVALUATE} --overlap .2", None, "--overlap is for images in tiles; add --tile, e.g. --tile 512"),
    "a limit of pixels without tiles": (
        f"{PREDICT} --max-pixels 100",
        None,
        "--max-pixels is for images in tiles; add --tile, e.g. --tile 512",
    ),
    "a limit of no pixels": (f"{PREDICT} --tile 64 --max-pixels 0", None, "--max-pixels 0 must be 1 or more"),
    "tiles with a runner": (
        f"{PREDICT} --tile 64 --runner local",
        None,
        "--tile: large images are not taken by --runner; leave one of them out",
    ),
    "a setting that predict does not take": (
        f"{PREDICT} decode.top_k=5",
        None,
        "override 'decode.top_k=5': predict takes data.image_size=[H,W] and no other setting",
    ),
    "a size for predict that the network cannot have": (
        f"{PREDICT} data.image_size=[64,70]",
        None,
        "{tmp}/run/config.yaml: data.image_size=[64, 70] must be [height, width], both multiples of 32, for the deepest stride is 32",
    ),
    "a size for export that the network cannot have": (
        "export {tmp}/run --out {tmp}/models data.image_size=[64]",
        None,
        "{tmp}/run/config.yaml: data.image_size=[64] must be [height, width], both multiples of 32, for the deepest stride is 32",
    ),
    # Text in place of every number and switch.
    **dict(
        _override(f"{setting.key}=many", f"{setting.key}=many must be {_MUST[setting.type].format(default=setting.default)}")
        for setting in list_settings()
        if setting.type in _MUST
    ),
}
