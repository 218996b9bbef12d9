"""Settings that nobody would write: every key with hostile values, and hostile files. Each is read as its type says, or one line."""

import re
import time
from pathlib import Path

import pytest

from ttfnet_tf.config import Config, dump_config, list_settings, load_config, value_of
from ttfnet_tf.config.rules import AT_MOST
from ttfnet_tf.errors import UserError

VALUES = (
    *(
        "0012",
        "2024-01-31",
        "2024-13-45",
        "12:30:45",
        "yes",
        "no",
        "on",
        "Off",
        "true",
        "null",
        "~",
        "~/set",
        "set #2",
        "# x",
        "a: b",
        "- a",
    ),
    *("a=b", "'", '"', "''", '""', "'a'", '"a', "&a", "*a", "!!int x", "!x", "@a", "`a`", "%a", "|", ">", "?", "? a", "[", "]", "{", "}"),
    *(
        "{}",
        "[]",
        "[[]]",
        "[[1]]",
        "{a: 1}",
        "{a}",
        "[null]",
        "[~, 1]",
        "[a, b]",
        "[1, 2]",
        "[1, 2, 3]",
        "[-1, -1]",
        "[.nan, .nan]",
        "[1.5]",
    ),
    *(
        "${optim.lr}",
        "${oc.env:HOME}",
        "${",
        "$HOME",
        "<<",
        "<<: {a: 1}",
        "...",
        "---",
        "--- a\n--- b",
        "a\nb",
        "\t",
        " ",
        " a ",
        "\\",
        "/",
        ".",
    ),
    *(
        "0",
        "-0",
        "1",
        "-1",
        "1.0",
        "1e3",
        "1e400",
        "-1e400",
        "1e-400",
        "0x10",
        "0o7",
        "010",
        "1_000",
        "1__0",
        ".5",
        "5.",
        "+3",
        "--3",
        "1e",
        "e1",
    ),
    *(
        ".inf",
        "-.inf",
        "inf",
        "nan",
        ".nan",
        "NaN",
        "9" * 30,
        "9" * 5000,
        "-" + "9" * 5000,
        "9" * 400 + "." + "9" * 400,
        "٣",
        "１２",
        "2147483648",
    ),
    *(
        "a\0b",
        "\0",
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "\udcff",
        "\ufeff",
        "é",
        "e\u0301",
        "図",
        "a" * 300,
        "a" * 100_000,
        "../" * 3000,
        "[" * 5000,
    ),
    *("{a: " * 2000, "[" + "1, " * 3000 + "1]", "x,y", "1,2", "True", "None", "[gpu:0]", "[gpu:0, gpu:0]", "[cpu:99999999999999999999]"),
)
# One key of each type; `make integration` has every key.
FIRST = {"choices" if setting.choices else repr(setting.type): setting.key for setting in reversed(list_settings())}.values()
KEYS = [pytest.param(setting.key, marks=[pytest.mark.slow] * (setting.key not in FIRST)) for setting in list_settings()]
ODD_KEYS = (
    *(
        "",
        ".",
        "..",
        "a",
        "data",
        "data.",
        ".data",
        "data..train",
        "data.train",
        "data.train.annotations.x",
        "train.epochs.x",
        "base",
        "__class__",
    ),
    *(
        "data.image_size[0]",
        "data.image_size.0",
        "[0]",
        "data[train]",
        "a" * 10_000,
        "a." * 3000 + "b",
        "optim.lr ",
        " optim.lr",
        "OPTIM.LR",
    ),
    *("optim.lr\0", "\ud800", "\x1b[31m", "${a}", "optim.{lr}", "'optim.lr'", "null", "1", "~", "size", "data.size"),
)


def _outcome(load):
    """The settings, or None where a line says what is wrong; nothing else may happen, and it takes no time."""
    start = time.process_time()
    try:
        config = load()
    except UserError as error:
        config, line = None, str(error)
    else:
        line = ""
    assert time.process_time() - start < 2
    assert "\n" not in line
    assert line.isprintable()
    assert len(line) < 1500
    return config, line


@pytest.mark.parametrize("key", KEYS)
def test_every_key_with_every_value(write_yaml, key):
    empty = write_yaml("empty.yaml", "")
    section, _, name = key.rpartition(".")
    refused = 0
    for number, value in enumerate(VALUES):
        config, line = _outcome(lambda value=value: load_config(empty, [f"{key}={value}"]))
        if config is None:
            refused += 1
            assert key in line, value
        elif number % 4 == 0:  # what is read is also written, and read again as the same
            assert load_config(write_yaml("again.yaml", dump_config(config))) == config, value
        if number % 4 == 1:
            tree = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(section.split(".")))
            text = f"{tree}{'  ' * (section.count('.') + 1)}{name}: {value}\n".encode(
                "utf-8", "surrogateescape" if "\udcff" in value else "replace"
            )
            (Path(empty).parent / "in.yaml").write_bytes(text)
            _outcome(lambda: load_config(Path(empty).parent / "in.yaml"))
    assert refused > 15


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_keys_that_are_none(write_yaml, key):
    empty = write_yaml("empty.yaml", "")
    for value in ("1", "a", "[1]", "{a: 1}", "{train: {annotations: x}}"):
        config, line = _outcome(lambda value=value: load_config(empty, [f"{key}={value}"]))
        assert config is None or key in ("data", "data.train")
        assert line.startswith("override '") or config


TEXT = ("data.train.annotations", "data.train.images", "model.pretrained")


@pytest.mark.parametrize("key", TEXT)
@pytest.mark.parametrize(
    "value",
    [
        "0012",
        "2024-01-31",
        "2024-13-45",
        "12:30",
        "yes",
        "off",
        "true",
        "1e3",
        "set #2",
        "a: b",
        "*.json",
        "${DATA}/a",
        "$DATA",
        "[a]",
        "{a}",
        "'a",
        "a b ",
    ],
)
def test_text_is_taken_as_it_is_written(write_yaml, key, value):
    assert value_of(load_config(write_yaml("a.yaml", ""), [f"{key}={value}"]), key) == value
    quoted = value.replace("'", "''")
    section, _, name = key.rpartition(".")
    path = write_yaml("b.yaml", f"{section.replace('.', ': {')}: {{{name}: '{quoted}'}}{'}' * section.count('.')}")
    assert value_of(load_config(path), key) == value
    if not any(one in value for one in "#:*{['") and value == value.strip():
        path = write_yaml("c.yaml", f"{section.replace('.', ': {')}: {{{name}: {value}}}{'}' * section.count('.')}")
        assert value_of(load_config(path), key) == value


def test_quotes_around_text_of_an_override_are_removed(write_yaml):
    empty = write_yaml("a.yaml", "")
    assert load_config(empty, ['data.train.images="set #2"']).data.train.images == "set #2"
    assert load_config(empty, ["data.train.images=''"]).data.train.images == ""
    assert load_config(empty, ["model.pretrained='null'"]).model.pretrained == "null"
    assert load_config(empty, ["model.pretrained=null"]).model.pretrained is None


def test_a_tilde_is_the_home_directory(write_yaml, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    write_yaml("base.yaml", "data: {val: {images: ~/set}}")
    config = load_config(
        write_yaml("a.yaml", "base: base.yaml\ndata: {train: {images: '~/a~b'}}"),
        ["model.pretrained=~/w.npz", "data.train.annotations=a/~/b"],
    )
    assert (config.data.val.images, config.data.train.images) == ("/home/me/set", "/home/me/a~b")
    assert (config.model.pretrained, config.data.train.annotations) == ("/home/me/w.npz", "a/~/b")
    assert load_config(write_yaml("b.yaml", "model: {backbone: resnet18}"), ["data.train.images=~"]).data.train.images == "/home/me"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.image_size=320", "data.image_size=320 must be a list, such as [320, 320]"),
        ("data.image_size={a: 1}", "data.image_size is a setting, not a section; write data.image_size: VALUE"),
        ("train.devices=gpu:0", "train.devices=gpu:0 must be a list, such as [...]"),
        ("train.epochs=010", 10),
        ("train.epochs=1_0", 10),
        ("train.epochs=0x10", "train.epochs=0x10 must be an integer, such as 12"),
        ("train.epochs=yes", "train.epochs=yes must be an integer, such as 12"),
        ("train.epochs=12:30", "train.epochs=12:30 must be an integer, such as 12"),
        (f"train.epochs={'9' * 5000}", f"train.epochs={'9' * 40} must be at most 1000000"),
        ("optim.lr=1e-3", 0.001),
        ("optim.lr=1e39", "optim.lr=1e+39 must be at most 3.4e+38"),
        ("optim.scale_lr=off", False),
        ("optim.scale_lr=2", "optim.scale_lr=2 must be true or false"),
        ("data.train.images=\x1b[31m", r"data.train.images=\x1b[31m holds characters that cannot be printed; remove them"),
        ("data.train.images=null", "data.train.images=null must be text"),
        (f"data.train.images={'a' * 5000}", f"data.train.images={'a' * 40}... is too long: 5000 characters, at most 4096"),
    ],
)
def test_how_values_are_read(write_yaml, override, expected):
    config, line = _outcome(lambda: load_config(write_yaml("a.yaml", "optim: {drop_epochs: []}"), [override]))
    if config:
        assert value_of(config, override.partition("=")[0]) == expected
    else:
        assert line.endswith(f": {expected}")


# Files: (text, end of the line). {path} is the file.
FILES = {
    "a key twice": ("train:\n  epochs: 5\noptim: {}\ntrain:\n  batch_size: 4", "{path}: line 4: 'train' is given twice, first in line 1"),
    "a setting twice": ("train:\n  epochs: 5\n  epochs: 6", "{path}: line 3: 'epochs' is given twice, first in line 2"),
    "a setting twice in a row": ("train: {epochs: 5, epochs: 6}", "{path}: line 1: 'epochs' is given twice, first in line 1"),
    "a reference": ("optim: {lr: '${optim.momentum}'}", "{path}: optim.lr=${optim.momentum} must be a number, such as 0.016"),
    "references in a circle": (
        "optim: {lr: '${optim.momentum}', momentum: '${optim.lr}'}",
        "{path}: optim.lr=${optim.momentum} must be a number, such as 0.016",
    ),
    "an alias": ("a: &a [x]\nb: *a", "{path}: line 2: aliases such as *a are not supported; write the value again"),
    "an alias to itself": ("model: &a {backbone: *a}", "{path}: line 1: aliases such as *a are not supported; write the value again"),
    "a merge": ("a: &a {x: 1}\ntrain: {<<: *a}", "{path}: line 2: aliases such as *a are not supported; write the value again"),
    "a bomb": (
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)) + "base: *a19",
        "{path}: line 2: aliases such as *a0 are not supported; write the value again",
    ),
    "a tag": ("train: {seed: !!int x}", "{path}: line 1: tags such as tag:yaml.org,2002:int are not supported; remove it"),
    "a python object": ("train: !!python/object/apply:os.system [ls]", None),
    "deep lists": ("data: {image_size: " + "[" * 20_000, "{path}: line 1: is nested more than 10 deep"),
    "deep sections": ("a:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 400)), "{path}: line 11: is nested more than 10 deep"),
    "a long file": ("# " + "x" * 300_000, "{path}: has 300002 characters; a settings file has up to 200000"),
    "a NUL": ("train: {seed: '\0'}", "{path}: is not YAML (character 0x0000 at position 15)"),
    "two documents": ("train: {seed: 1}\n---\ntrain: {seed: 2}", "{path}: line 2: a second document; write one"),
    "a key that is a list": ("[a]: 1", "{path}: line 1: a key must be a name"),
    "a key that is a section": ("? {a: 1}\n: 2", "{path}: line 1: a key must be a name"),
    "a key that is a number": ("1: 2", "{path}: unknown key '1'; did you mean 'train.tf32'?"),
    "a date": ("train: {seed: 2024-13-45}", "{path}: train.seed=2024-13-45 must be an integer, such as 0"),
    "text": ("model", "{path}: must hold sections such as 'model:', found text"),
    "a base that is a list": (
        "base: [a, b]",
        "{path}: base=[a, b] must be the name of one YAML file",
    ),
    "a base with a NUL": ('base: "a\\0b"', r"{path}: base=a\x00b holds characters that cannot be printed; remove them"),
    "a base with a long name": (f"base: {'a' * 300}.yaml", None),
    "a base that is a folder": ("base: .", None),
    "quotes that do not end": ("train: {seed: 'x", None),
    "a tab": ("train:\n\tseed: 1", None),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files(write_yaml, name):
    text, expected = FILES[name]
    path = write_yaml("a.yaml", text)
    config, line = _outcome(lambda: load_config(path))
    assert config is None
    if expected is None:
        assert line.startswith(str(path.parent))
    else:
        assert line == expected.replace("{path}", str(path))
    base = write_yaml("b.yaml", "base: a.yaml")
    assert _outcome(lambda: load_config(base))[0] is None


@pytest.mark.parametrize("content", [b"\xff\xfe\0t\0r", b"train: {seed: \xff}", b"\x80" * 1000, b"PK\x03\x04" + bytes(range(256)) * 50])
def test_files_that_are_not_text(tmp_path, content):
    (tmp_path / "a.yaml").write_bytes(content)
    assert "a.yaml: is not YAML (" in _outcome(lambda: load_config(tmp_path / "a.yaml"))[1]


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbftrain: {seed: 3}")
    assert load_config(tmp_path / "a.yaml").train.seed == 3


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "a/" * 3000, "\ud800", ""])
def test_names_that_no_file_has(name):
    assert re.search(r"cannot be read \(|is not", _outcome(lambda: load_config(name))[1])


def test_every_number_has_an_upper_limit(write_yaml):
    empty = write_yaml("a.yaml", "")
    for setting in list_settings():
        if setting.type in (int, float, list[int], list[float]):
            many = "[" + ", ".join(["9" * 12] * max(2, len(setting.default) if isinstance(setting.default, list) else 0)) + "]"
            high = {int: "9" * 12, float: "1e300", list[float]: "[1e30, 1e31]"}.get(setting.type, many)
            config, line = _outcome(lambda high=high, key=setting.key: load_config(empty, [f"{key}={high}"]))
            assert config is None, setting.key
            assert "has no effect" in line or ("must be at most" in line) == (setting.key in AT_MOST), line


def test_the_defaults_are_far_from_the_limits():
    for key, limit in AT_MOST.items():
        default = value_of(Config(), key)
        assert max(default if isinstance(default, list) else [default], default=0) * 1.5 < limit, key
