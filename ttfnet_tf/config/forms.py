"""Settings that may be written in several ways, brought into the one that `schema` has.

data.classes: {vehicle: [car, truck], person: person}    ->  [vehicle=car, vehicle=truck, person]
data.train: [{annotations: a.json, images: A}, ...]      ->  {annotations: "", images: "", sets: [...]}
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ttfnet_tf.config.schema import SetConfig
from ttfnet_tf.config.values import read_value
from ttfnet_tf.config.yaml_tree import Text, shown
from ttfnet_tf.errors import UserError

_SET_KEYS = {one.name: one for one in dataclasses.fields(SetConfig)}
_NOTHING = Text("", is_plain=False)


def in_one_form(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The content of a file or override, with settings in the form of the schema.

    Raises:
        UserError: a list of sets or a map of classes that cannot be read; names `source` and the key.
    """
    data = content.get("data")
    if not isinstance(data, dict):
        return dict(content)
    data = dict(data)
    if isinstance(data.get("classes"), dict):
        data["classes"] = _list_of_classes(data["classes"], f"{source}: data.classes")
    for name in ("train", "val"):
        if name in data:
            data[name] = _split(data[name], f"{source}: data.{name}")
    return {**content, "data": data}


def _list_of_classes(classes: Mapping[str, Any], where: str) -> list[Text]:
    pairs = []
    for name, written in classes.items():
        sources = written if isinstance(written, list) else [written]
        if not sources or not all(isinstance(one, Text) and not one.is_null for one in sources):
            raise UserError(f"{where}: {shown(name)}={shown(written)} must be a class of the files, or a list of some")
        if "=" in name:
            raise UserError(f"{where}: {shown(name)} holds a '=', which the name of a class here cannot")
        pairs += [Text(f"{name}={one.value}" if one.value != name else name) for one in sources]
    return pairs


def _split(written: Any, where: str) -> Any:
    """`data.train` or `data.val` as a section."""
    if isinstance(written, list):
        sets = [_set(one, f"{where}[{place}]", where) for place, one in enumerate(written)]
        if not sets:
            raise UserError(f"{where}=[] names no annotation file; write {{annotations: FILE, images: FOLDER}} for each")
        if len(sets) == 1 and sets[0]["repeat"] == 1:
            return {**{key: Text(sets[0][key], is_plain=False) for key in ("annotations", "images")}, "sets": []}
        return {"annotations": _NOTHING, "images": _NOTHING, "sets": sets}
    if not isinstance(written, dict):
        return written
    sets = written.get("sets", [])
    if not isinstance(sets, list):
        raise UserError(f"{where}.sets={shown(sets)} must be a list, such as [{{annotations: FILE, images: FOLDER}}]")
    if sets:
        if any(_is_given(written.get(key)) for key in ("annotations", "images")):
            raise UserError(f"{where}: has both sets and annotations or images; name the files in sets alone")
        return _split(sets, where)
    if any(_is_given(written.get(key)) for key in ("annotations", "images")):
        return {**written, "sets": []}  # one file takes the place of several that a base has named
    return written


def _is_given(value: Any) -> bool:
    return bool(value.value if isinstance(value, Text) else value)


def _set(written: Any, where: str, key: str) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise UserError(f"{where}={shown(written)} must have keys: {{annotations: FILE, images: FOLDER, repeat: 1}}")
    for name in written:
        if name not in _SET_KEYS:
            nearest = difflib.get_close_matches(name[:100], list(_SET_KEYS), n=1, cutoff=0.0)[0]
            raise UserError(f"{where}: unknown key '{shown(name)}'; did you mean '{nearest}'?")
    values = {}
    for name, one in _SET_KEYS.items():
        value = read_value(written.get(name, one.default), one.type, one.default, f"{where}.{name}", is_path=name != "repeat")
        if name != "repeat" and not value:
            raise UserError(f"{where}: has no {name}; write {{annotations: FILE, images: FOLDER}}")
        values[name] = value
    if not 1 <= values["repeat"] <= 1000:
        raise UserError(f"{where}.repeat={values['repeat']} must lie in 1..1000")
    if key.endswith("data.val") and values["repeat"] > 1:
        raise UserError(f"{where}.repeat={values['repeat']}: an evaluation takes each image once; remove it")
    return values
