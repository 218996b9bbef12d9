"""The data.yaml of a YOLO data set: found, read with the line of every key, and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.source_files import files_like, read_text
from ttfnet_tf.formats.split_names import USUAL

_FILE_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LARGEST = 2**22  # letters
_WRONG_NAMES = "names must be a list, or a map from numbers to names"


@dataclass(frozen=True)
class DataYaml:
    """A data.yaml that was read."""

    path: Path
    content: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)  # line of each key, from 1
    names: dict[int, str] | None = None  # class names by number, None where there are none

    def where(self, key: str) -> str:
        """FILE:LINE of a key."""
        return f"{self.path}:{self.lines[key]}"


def find_data_yaml(source: Path) -> Path | None:
    """The data.yaml that `source` is, or that lies in it.

    Raises:
        UserError: `source` is another file, or holds several YAML files.
    """
    if source.is_file():
        if source.suffix.lower() not in (".yaml", ".yml"):
            raise UserError(f"{source}: is neither a data.yaml nor the folder of a YOLO data set")
        return source
    named = [source / name for name in _FILE_NAMES if (source / name).is_file()]
    others = files_like(source, "*.yaml", "*.yml")
    if not named and len(others) > 1:
        raise UserError(f"{source}: holds {len(others)} YAML files; name the one with the classes, e.g. {others[0]}")
    return next(iter(named or others), None)


def read_data_yaml(path: Path) -> DataYaml:
    """Names are kept as they are written, so that `no` and `007` do not become false and 7.

    Raises:
        UserError: the file is not YAML, not a data.yaml, or its names are wrong.
    """
    text = read_text(path)
    try:
        if len(text) > _LARGEST:
            raise UserError(f"{path}: is larger than a data.yaml can be")
        # Texts only: a date, a number of thousands of digits or "no" is of no interest here.
        node, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.load(text, Loader=yaml.BaseLoader)
    except RecursionError:
        raise UserError(f"{path}: is nested too deep for a data.yaml") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: is not YAML ({getattr(error, 'problem', None) or 'unreadable character'})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a data.yaml; expected keys such as train, val and names")
    content = {key: None if value in ("", "~", "null", "Null", "NULL") else value for key, value in content.items()}
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
    value = next((value for key, value in node.value if key.value == "names"), None)
    if value is None:
        return DataYaml(path, content, lines)
    names = _names(value, path, lines["names"])
    stated = content.get("nc")
    if isinstance(stated, str) and stated.isascii() and stated.isdigit() and stated.lstrip("0") != str(len(names)):
        raise UserError(f"{path}:{lines['nc']}: nc is {stated[:20]}, but there are {len(names)} names")
    return DataYaml(path, content, lines, names)


def data_yaml_text(names: Sequence[str], folders: dict[str, str]) -> str:
    """Text of a data.yaml.

    Args:
        names: of the classes in the order of their numbers.
        folders: name of a split -> folder of its images, relative to the file. Trainers look for the keys train, val and test; a split
            whose name begins so (val2017) takes that key if it is free.
    """
    keys: dict[str, str] = {name: folder for name, folder in folders.items() if name in USUAL}
    for name, folder in folders.items():
        short = next((key for key in USUAL if name.startswith(key) and key not in keys), name)
        if name not in USUAL:
            keys[short] = folder
    content = {**keys, "nc": len(names), "names": dict(enumerate(names))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _names(node: yaml.Node, path: Path, line: int) -> dict[int, str]:
    """Names by ascending number."""
    if isinstance(node, yaml.SequenceNode):
        pairs = list(enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        pairs = [(key.value, value) for key, value in node.value]
    else:
        raise UserError(f"{path}:{line}: {_WRONG_NAMES}")
    names: dict[int, str] = {}
    for number, value in pairs:
        where = f"{path}:{value.start_mark.line + 1}"
        is_class = isinstance(number, (int, str)) and str(number).isascii() and str(number).isdigit() and len(str(number)) < 10
        if not is_class or not isinstance(value, yaml.ScalarNode) or not value.value:
            raise UserError(f"{where}: {_WRONG_NAMES}")
        if int(number) in names:
            raise UserError(f"{where}: names gives class {number} twice")
        names[int(number)] = value.value
    return dict(sorted(names.items()))
