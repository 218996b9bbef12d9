"""From YAML files and `key=value` overrides to a checked `Config`, and back. Nothing else in the package knows YAML or omegaconf.

A setting that nothing reads, such as `targets.beta` with CenterNet, is refused when it is set in the file that chooses CenterNet, in a
later file, or on the command line. One that comes from an earlier file goes back to its default, so that the one override
`optim.schedule=cosine` works with every recipe.
"""

import copy
import dataclasses
import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ttfnet_tf.config.rules import check_choices, check_values, unread
from ttfnet_tf.config.schema import Config, list_settings, value_of, with_value
from ttfnet_tf.errors import UserError
from ttfnet_tf.recipes import find_recipe, recipe_file, recipe_hint

# Settings of earlier versions. Stored files may have the old name; in what people write it is an error that says the new one.
RENAMED = {
    "data.broken_pictures": "data.broken_images",
    "model.head": "model.method",
    "train.summary_pictures": "train.summary_images",
}


@dataclass(frozen=True)
class _Source:
    """One file, or one override."""

    name: str  # for messages
    content: dict[str, Any]
    rank: int  # later ones count; all overrides have the same
    stored: bool = False  # written by this package


def load_config(path: Union[str, Path], overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file and its base, applies `key=value` overrides and checks the result.

    Args:
        path: YAML file, or the name of a recipe such as "ttfnet_r18_1x".
        overrides: dotted assignments such as `optim.lr=0.01`; values are YAML.

    Raises:
        UserError: file missing or not YAML, unknown key, wrong type, impossible combination, or a setting that nothing reads.
    """
    path = find_recipe(path)
    chain = [_Source(str(file), content, rank) for rank, (file, content) in enumerate(_read_with_base(path))]
    return _build(chain, overrides, str(path))


def load_stored(path: Union[str, Path], overrides: Sequence[str] = ()) -> Config:
    """Reads settings that `dump_config` has written, by this version or an earlier one; otherwise as `load_config`."""
    path = Path(path)
    return config_of(_read_yaml(path, ""), overrides, source=str(path))


def config_of(content: dict[str, Any], overrides: Sequence[str] = (), *, source: str) -> Config:
    """Settings from a tree as `dataclasses.asdict` makes it of a Config, by this version or an earlier one; `source` names it in messages.

    Raises:
        UserError: unknown key, wrong type, impossible combination, or an override that nothing reads.
    """
    return _build([_Source(source, _with_new_names(content), 0, stored=True)], overrides, source)


def dump_config(config: Config) -> str:
    """The complete settings as YAML; `load_config` of it gives an equal Config."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)


def _build(chain: Sequence[_Source], overrides: Sequence[str], source: str) -> Config:
    """Contents of files, each over the earlier ones, then overrides, checked."""
    sources = [*chain, *(_override(text, len(chain)) for text in overrides)]
    merged = copy.deepcopy(_schema())
    for one in sources:
        merged = _merge(merged, one.content, one.name)
    config = cast(Config, OmegaConf.to_object(merged))
    check_choices(config, source)
    config = _without_unread(config, sources)
    check_values(config, source)
    return config


def _without_unread(config: Config, sources: Sequence[_Source]) -> Config:
    """Refuses settings that nothing reads where somebody asks for them; others of that kind go back to their default."""
    set_by: dict[str, _Source] = {}
    for one in sources:
        set_by.update(dict.fromkeys(_leaves(one.content), one))
    defaults = {setting.key: setting.default for setting in list_settings()}
    clean = config
    for key, switch in unread(config):
        value = value_of(config, key)
        if value == defaults[key]:
            continue
        asked, made_so = set_by[key], set_by.get(switch)
        if not asked.stored and (made_so is None or asked.rank >= made_so.rank):
            reason = f"{switch}={_shown(value_of(config, switch))}"
            raise UserError(f"{asked.name}: {key}={_shown(value)} has no effect with {reason}; remove it")
        clean = with_value(clean, key, defaults[key])
    return clean


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _override(text: str, rank: int) -> _Source:
    key, separator, value = text.partition("=")
    name = f"override '{text}'"
    if not separator or not key or not value:
        raise UserError(f"{name} must have the form key=value, e.g. optim.lr=0.01")
    assignment = OmegaConf.create()
    try:
        OmegaConf.update(assignment, key, yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise UserError(f"{name}: its value is not YAML ({_yaml_fault(error)})") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{name}: {_first_line(error)}") from None
    return _Source(name, cast(dict, OmegaConf.to_container(assignment)), rank)


@functools.cache
def _schema():
    """Every setting at its default; only copies of it are changed."""
    schema = OmegaConf.structured(Config)
    _make_writable(schema)
    return schema


def _make_writable(node):
    """Frozen dataclasses give read-only nodes; merging needs them open."""
    OmegaConf.set_readonly(node, False)
    if OmegaConf.is_dict(node):
        for key in node:
            if OmegaConf.is_config(node._get_node(key)):
                _make_writable(node._get_node(key))


def _read_with_base(path: Path) -> list[tuple[Path, dict]]:
    """[(file, content)] from the farthest base to the file itself."""
    chain: list[tuple[Path, dict]] = []
    file, role = path, ""
    while True:
        if any(file.resolve() == seen.resolve() for seen, _ in chain):
            raise UserError(f"{path}: base files form a circle at {file}")
        content = _read_yaml(file, role)
        base = content.pop("base", None)
        chain.insert(0, (file, content))
        if base is None:
            return chain
        if not isinstance(base, str):
            raise UserError(f"{file}: base={base} must be the name of one YAML file")
        beside = file.parent / base
        file, role = beside if beside.is_file() else recipe_file(base) or beside, f" (base of {file})"


def _read_yaml(path: Path, role: str) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}{role}: cannot be read ({error.strerror}); {recipe_hint(path)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({_yaml_fault(error)})") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold sections such as 'model:', found {type(content).__name__}")
    return content


def _with_new_names(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A stored tree with the names of today. Renamed settings stay in their section."""
    tree = {}
    for key, value in content.items():
        new = RENAMED.get(f"{prefix}{key}", f"{prefix}{key}").removeprefix(prefix)
        tree[new] = _with_new_names(value, f"{prefix}{key}.") if isinstance(value, dict) else value
    return tree


def _merge(settings, content: Any, source: str):
    """`settings` with `content` over it; the object given must not be used any more."""
    _refuse_unknown_keys(content, Config, "", source)
    try:
        return OmegaConf.unsafe_merge(settings, content)  # without a copy of everything, which is what takes time
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        where = f"{source}: {key}: " if key else f"{source}: "
        raise UserError(f"{where}{_first_line(error)}") from None


def _refuse_unknown_keys(content: dict, section: type, prefix: str, source: str) -> None:
    fields = {f.name: f.type for f in dataclasses.fields(section)}
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if dotted in RENAMED:
            raise UserError(f"{source}: {dotted} is called {RENAMED[dotted]} now")
        if key not in fields:
            nearest = difflib.get_close_matches(dotted, list(_all_keys(Config)), n=1, cutoff=0.0)[0]
            raise UserError(f"{source}: unknown key '{dotted}'; did you mean '{nearest}'?")
        inner = fields[key]
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            if not isinstance(value, dict):
                example = f"{dotted}.{dataclasses.fields(inner)[0].name}"
                raise UserError(f"{source}: {dotted}={value} must be a section with keys, e.g. {example}")
            _refuse_unknown_keys(value, inner, f"{dotted}.", source)


def _all_keys(section: type, prefix: str = "") -> Iterator[str]:
    """Keys of settings and of sections."""
    for entry in dataclasses.fields(section):
        yield f"{prefix}{entry.name}"
        if isinstance(entry.type, type) and dataclasses.is_dataclass(entry.type):
            yield from _all_keys(entry.type, f"{prefix}{entry.name}.")


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _yaml_fault(error: Exception) -> str:
    """Without the excerpt of the file, which takes several lines."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("full_key:")[0].split())
