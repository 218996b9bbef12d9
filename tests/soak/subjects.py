"""What is attacked: for each kind of file a sound example, a way to break it, and what is done with it.

A subject is made once in each process, in a folder of its own, which may hold what stays the same for all its inputs. For each input
`write` breaks something below `folder/input`, and `run` does with it what a user would do, with everything that it writes below
`folder/out`. It returns an exit code and prints as the commands do.
"""

from __future__ import annotations

import io
import json
import random
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
from mutations import VALUES, change_bytes, change_json, change_text
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError


def coco(sizes=((40, 60), (64, 64), (30, 50))) -> dict:
    """Sound annotations with polygons, run lengths and a crowd."""
    boxes = [(1, 3, [5, 5, 30, 20]), (1, 8, [20.5, 10, 15, 15.25]), (2, 3, [1, 1, 60, 60]), (3, 8, [10, 5, 20, 20])]
    annotations = [
        {"id": n, "image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for n, (i, c, box) in enumerate(boxes, 1)
    ]
    annotations[0]["segmentation"] = [[5, 5, 35, 5, 35, 25, 5, 25]]
    annotations[2].update(iscrowd=1, segmentation={"counts": [65, 60, 4036 - 65], "size": [64, 64]})
    images = [{"id": i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in enumerate(sizes, 1)]
    categories = [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 8, "name": "dog", "supercategory": "animal"}]
    return {"info": {"year": 2026}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def pixels(height: int, width: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 255, (height, width, *channels), np.uint8)


def as_command(action: Callable[[], object]) -> int:
    """Calls a function of the package; prints a UserError as the command line does."""
    try:
        action()
    except UserError as error:
        print(f"ttfnet: {error}", file=sys.stderr)
        return 2
    return 0


class Subject:
    """See the module."""

    lines = 1  # on standard error where an input is refused, at most

    def __init__(self, folder: Path):
        self.folder, self.input, self.out = folder, folder / "input", folder / "out"
        self.input.mkdir(parents=True)

    def write(self, rng: random.Random) -> None:
        raise NotImplementedError

    def run(self, rng: random.Random) -> int:
        raise NotImplementedError


class Annotations(Subject):
    def __init__(self, folder):
        super().__init__(folder)
        (folder / "images").mkdir()
        for image in coco()["images"]:
            Image.fromarray(pixels(image["height"], image["width"], 3)).save(folder / "images" / image["file_name"])

    def write(self, rng):
        text = change_json(coco(), rng)
        (self.input / "a.json").write_bytes(rng.choice((b"", b"", b"", b"\xef\xbb\xbf")) + text.encode("utf-8", "surrogatepass"))

    def run(self, rng):
        file, images, out = str(self.input / "a.json"), str(self.folder / "images"), str(self.out)
        commands = (
            ["data", "check", file, images, "--json", f"{out}/found.json"],
            ["data", "check", file, images, "--fix", f"{out}/fixed.json"],
            ["data", "check", file, images, "--no-images", "--val", file, images],
            ["data", "convert", file, f"{out}/yolo", "--images", images],
            ["data", "stats", file, "--json", f"{out}/stats.json"],
        )
        return cli.main(rng.choice(commands))


class Settings(Subject):
    """A configuration or an override; the data set is not there, so that no training starts."""

    def write(self, rng):
        from ttfnet_tf.config import Config, dump_config, list_settings

        keys = [setting.key for setting in list_settings()]
        self.overrides: list[str] = []
        text = dump_config(Config())
        if rng.random() < 0.5:
            self.overrides = [f"{rng.choice(keys)}={value}" for value in rng.choices(VALUES, k=rng.choice((1, 1, 2)))]
            if rng.random() < 0.3:
                self.overrides = [change_text(one, rng) for one in self.overrides]
            # What a shell cannot pass, and what is an option.
            self.overrides = [one for one in self.overrides if "\0" not in one and "\ud800" not in one and one[:1] != "-"]
        elif rng.random() < 0.5:
            text = change_json({"base": "b.yaml", "optim": {"lr": 0.1, "drop_epochs": [1, 2]}, "data": {"image_size": [64, 64]}}, rng)
        else:
            text = change_text(text, rng)
        (self.input / "b.yaml").write_text("train: {epochs: 1}\n")
        (self.input / "a.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))

    def run(self, rng):
        missing = [f"data.{part}.{key}={self.folder}/none" for part in ("train", "val") for key in ("annotations", "images")]
        return cli.main(["train", str(self.input / "a.yaml"), "--work-dir", str(self.out / "run"), *missing, *self.overrides])


class Images(Subject):
    """Bytes of every format; read as all commands read them, and looked at by the data check."""

    def __init__(self, folder):
        super().__init__(folder)
        self.sound = []
        for form, options in (
            *(
                ("JPEG", {}),
                ("JPEG", {"progressive": True}),
                ("PNG", {}),
                ("BMP", {}),
                ("GIF", {}),
                ("WEBP", {}),
                ("TIFF", {}),
                ("PPM", {}),
            ),
            *(("TGA", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})),
            *(
                ("PNG", {"save_all": True, "append_images": [Image.fromarray(pixels(20, 30, 3))]}),
                ("JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
            ),
        ):
            buffer = io.BytesIO()
            Image.fromarray(pixels(20, 30, 3)).save(buffer, form, **options)
            self.sound.append(buffer.getvalue())
        for mode in ("L", "LA", "P", "RGBA", "I;16", "1"):
            buffer = io.BytesIO()
            Image.fromarray(pixels(20, 30, 3)).convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, "PNG")
            self.sound.append(buffer.getvalue())

    def write(self, rng):
        data = rng.choice(self.sound)
        (self.input / "1.png").write_bytes(change_bytes(data, rng))

    def run(self, rng):
        from ttfnet_tf.data.images import read_rgb

        if rng.random() < 0.8:
            return as_command(lambda: read_rgb(self.input / "1.png"))
        annotations = self.folder / "a.json"
        annotations.write_text(json.dumps(coco(((20, 30),)) | {"annotations": []}))
        return cli.main(["data", "check", str(annotations), str(self.input), "--workers", "1"])


class Voc(Subject):
    SOUND = (
        "<annotation><folder>VOC</folder><filename>1.jpg</filename><size><width>50</width><height>40</height><depth>3</depth></size>"
        "<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>35.5</ymax></bndbox></object>"
        "<object><name>dog</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>50</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )

    def __init__(self, folder):
        super().__init__(folder)
        (self.input / "JPEGImages").mkdir()
        (self.input / "Annotations").mkdir()
        Image.fromarray(pixels(40, 50, 3)).save(self.input / "JPEGImages" / "1.jpg")

    def write(self, rng):
        text = self.SOUND
        for _ in range(rng.choice((1, 2))):
            text = (
                text.replace(rng.choice((">30<", ">cat<", ">50<", ">0<", ">1.jpg<")), f">{rng.choice(VALUES)}<")
                if rng.random() < 0.4
                else change_text(text, rng)
            )
        if rng.random() < 0.05:
            text = '<!DOCTYPE a [<!ENTITY b "' + "c" * 99 + '"><!ENTITY d "' + "&b;" * 99 + '">]>' + text.replace("cat", "&d;")
        data = text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "gb18030")), "surrogatepass" if text.isascii() else "replace")
        (self.input / "Annotations" / "1.xml").write_bytes(data)

    def run(self, rng):
        more = rng.choice(([], ["--skip-broken"], ["--to", "yolo"]))
        return cli.main(["data", "convert", str(self.input), str(self.out / "set"), "--from", "voc", *more])


class Yolo(Subject):
    def __init__(self, folder):
        super().__init__(folder)
        for part in ("images", "labels"):
            (self.input / part / "train").mkdir(parents=True)
        Image.fromarray(pixels(40, 50, 3)).save(self.input / "images" / "train" / "1.jpg")

    def write(self, rng):
        names = "path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames: [cat, dog]\n"
        labels = "0 0.5 0.5 0.25 0.25\n1 0.1 0.2 0.2 0.1\n0 0.1 0.1 0.4 0.1 0.4 0.4\n"
        if rng.random() < 0.4:
            names = change_text(names, rng) if rng.random() < 0.6 else names.replace("cat", str(rng.choice(VALUES)))
        else:
            labels = change_text(labels, rng) if rng.random() < 0.6 else labels.replace("0.25", str(rng.choice(VALUES)), 1)
        (self.input / "data.yaml").write_bytes(names.encode("utf-8", "surrogatepass"))
        (self.input / "labels" / "train" / "1.txt").write_bytes(labels.encode("utf-8", "surrogatepass"))

    def run(self, rng):
        more = rng.choice(([], ["--skip-broken"]))
        return cli.main(["data", "convert", str(self.input / "data.yaml"), str(self.out / "set"), *more])


class Csv(Subject):
    SOUND = "filename,width,height,class,xmin,ymin,xmax,ymax\n1.jpg,50,40,cat,1,2,30,35\n1.jpg,50,40,dog,5,5,50,40\n"

    def __init__(self, folder):
        super().__init__(folder)
        (folder / "images").mkdir()
        Image.fromarray(pixels(40, 50, 3)).save(folder / "images" / "1.jpg")

    def write(self, rng):
        text = (
            change_text(self.SOUND, rng)
            if rng.random() < 0.6
            else self.SOUND.replace(rng.choice(("30", "cat", "50", "1.jpg", "xmax")), str(rng.choice(VALUES)))
        )
        (self.input / "a.csv").write_bytes(text.encode("utf-8", "surrogatepass"))

    def run(self, rng):
        more = rng.choice(([], ["--skip-broken"]))
        return cli.main(
            ["data", "convert", str(self.input / "a.csv"), str(self.out / "set"), "--images", str(self.folder / "images"), *more]
        )


SMALL = "data: {image_size: [64, 64]}\nmodel: {neck_channels: [8, 8, 8], shortcut: [1, 1, 1]}\n"


class Weights(Subject):
    """Files of weights in both formats, converted for a small network."""

    def __init__(self, folder):
        super().__init__(folder)
        import networks

        from ttfnet_tf import build
        from ttfnet_tf.config import load_config
        from ttfnet_tf.models.parameters import named_buffers, named_parameters, to_official
        from ttfnet_tf.weights.files import write_tensors

        build.model_of = networks.built_once(build.model_of, keep=1)
        self.config = folder / "a.yaml"
        self.config.write_text(SMALL)
        model = build.model_of(load_config(self.config), 2)
        tensors = {name: to_official(name, v.numpy()) for name, v in {**named_parameters(model), **named_buffers(model)}.items()}
        self.sound = {}
        for suffix in (".npz", ".safetensors"):
            write_tensors(folder / f"w{suffix}", tensors)
            self.sound[suffix] = (folder / f"w{suffix}").read_bytes()

    def write(self, rng):
        for file in self.input.iterdir():
            file.unlink()
        suffix = rng.choice(list(self.sound))
        self.file = self.input / f"w{suffix}"
        self.file.write_bytes(change_bytes(self.sound[suffix], rng))

    def run(self, rng):
        more = rng.choice(([], ["--partial"]))
        return cli.main(["weights", str(self.file), "--config", str(self.config), "--out", str(self.out / "w.npz"), *more])


class RunFiles(Subject):
    """A work directory with one broken file, used for detection and for a report."""

    def __init__(self, folder):
        super().__init__(folder)
        import networks
        import pytest
        from small_run import write_run

        from ttfnet_tf import build
        from ttfnet_tf.evaluation.coco_metrics import METRIC_NAMES

        networks.narrow(pytest.MonkeyPatch())
        build.model_of = networks.built_once(build.model_of, keep=1)
        run = write_run(folder / "tiny")
        (run / "checkpoints" / "best.json").write_text(json.dumps({"step": 7, "AP": 0.25}))
        (run / "checkpoints" / "best").mkdir()
        for file in (run / "checkpoints").glob("step-7.*"):
            (run / "checkpoints" / "best" / file.name).write_bytes(file.read_bytes())
        training = {"loss": 2.5, "heatmap_loss": 2.0, "box_loss": 0.5, "gradient_norm": 1.5, "lr": 0.01, "images_per_second": 20.0}
        metrics = dict.fromkeys(METRIC_NAMES, 0.25)
        lines = [
            {"step": 5, "epoch": 0.5, **training},
            {"step": 7, "epoch": 1, **metrics, "per_class": {"cat": 0.25, "dog": 0.25, "bird": 0.25}},
        ]
        (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        self.sound = {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}
        Image.fromarray(pixels(40, 50, 3)).save(folder / "1.png")

    def write(self, rng):
        broken = rng.choice(list(self.sound))
        for name, content in self.sound.items():
            if name == broken:
                text = content.decode("utf-8", "replace")
                as_json = name.suffix == ".json" and rng.random() < 0.7
                as_text = name.suffix in (".yaml", ".json", ".jsonl") and rng.random() < 0.8
                content = (
                    change_json(json.loads(text), rng).encode("utf-8", "surrogatepass")
                    if as_json
                    else change_text(text, rng).encode("utf-8", "surrogatepass")
                    if as_text
                    else change_bytes(content, rng)
                )
            (self.input / name).parent.mkdir(parents=True, exist_ok=True)
            (self.input / name).write_bytes(content)

    def run(self, rng):
        if rng.random() < 0.7:
            return cli.main(["predict", str(self.input), str(self.folder / "1.png"), "--out", str(self.out / "drawn")])
        return cli.main(["report", str(self.input), "--out", str(self.out / "report.html")])


class OnnxFiles(Subject):
    """An .onnx file with a broken card, or with broken bytes: its card is read and written again, and it is given to a runtime."""

    def write(self, rng):
        from onnx_bytes import CARD, field, onnx_model, outside

        card = json.dumps(CARD) if rng.random() < 0.4 else change_json(CARD, rng)
        graph = rng.choice(
            (b"", field(5, b"\x08\x01" * 20), field(1, field(5, field(6, field(5, outside("../a"))))), field(1, field(4, b"Add")))
        )
        texts = {"model_card.json": card.encode("utf-8", "replace").decode(), "labels.txt": "cat\n"}
        data = onnx_model(graph=graph, texts=texts)
        (self.input / "a.onnx").write_bytes(change_bytes(data, rng) if rng.random() < 0.7 else data)

    def run(self, rng):
        from ttfnet_tf.inference.exported_model import find_exported
        from ttfnet_tf.inference.onnx_metadata import replace_files
        from ttfnet_tf.inference.onnx_predictor import OnnxPredictor

        def use():
            copy = self.out / "a.onnx"
            copy.write_bytes((self.input / "a.onnx").read_bytes())
            card = find_exported(copy).card
            replace_files(copy, {"labels.txt": "dog\n"})
            if find_exported(copy).card != card:
                raise ValueError("the card has changed")
            if rng.random() < 0.5:
                OnnxPredictor(copy)

        return as_command(use)


class Answers(Subject):
    """What a server may answer, over REST."""

    lines = 2  # one for the image

    def __init__(self, folder):
        super().__init__(folder)
        from served_answers import outputs_for

        outputs = {name: values.tolist() for name, values in outputs_for(2).items()}
        self.sound = {"predictions": [{name: values[0] for name, values in outputs.items()}]}
        Image.fromarray(pixels(40, 50, 3)).save(folder / "1.jpg")
        subject = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def do_GET(self):
                body = (subject.input / "answer").read_bytes()
                self.send_response(subject.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def write(self, rng):
        self.status = rng.choice((200, 200, 200, 200, 400, 404, 500, 204, 302))
        text = change_json(self.sound if rng.random() < 0.8 else {"error": "no"}, rng)
        data = text.encode("utf-8", "surrogatepass")
        (self.input / "answer").write_bytes(change_bytes(data, rng) if rng.random() < 0.1 else data)

    def run(self, rng):
        where = ["--protocol", "rest", "--address", f"127.0.0.1:{self.port}", "--timeout", "5"]
        return cli.main(["serve-client", "tiny", str(self.folder / "1.jpg"), *where, "--out", str(self.out / "drawn")])


# Subject -> its part of all inputs. The last four need TensorFlow and take longer.
SUBJECTS: dict[type[Subject], int] = {
    Annotations: 24,
    Settings: 24,
    Images: 24,
    Voc: 8,
    Yolo: 8,
    Csv: 6,
    OnnxFiles: 4,
    Answers: 4,
    Weights: 1,
    RunFiles: 1,
}
