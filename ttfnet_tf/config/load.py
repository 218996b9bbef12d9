"""From YAML files and `key=value` overrides to a checked `Config`, and back. Nothing else in the package knows YAML.

A setting that nothing reads, such as `targets.beta` with CenterNet, is refused when it is set in the file that chooses CenterNet, in a
later file, or on the command line. One that comes from an earlier file goes back to its default, so that the one override
`optim.schedule=cosine` works with every recipe.
"""

import dataclasses
import difflib
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import yaml

from ttfnet_tf.config.forms import in_one_form
from ttfnet_tf.config.rules import check_choices, check_values, unread
from ttfnet_tf.config.schema import AUTO, PATHS, Config, SetConfig, list_settings, value_of, with_value
from ttfnet_tf.config.values import is_text, read_value
from ttfnet_tf.config.yaml_tree import MAX_BYTES, Text, read_tree, shown
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
    _check_name(Path(path), "")
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
    sources = [dataclasses.replace(one, content=in_one_form(one.content, one.name)) for one in sources]
    config = Config()
    for one in sources:
        _refuse_unknown_keys(one.content, Config, "", one.name)
        config = _merged(config, one.content, "", one.name)
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
    return str(value).lower() if isinstance(value, bool) else shown(value)


def _override(text: str, rank: int) -> _Source:
    key, separator, value = text.partition("=")
    name = f"override '{shown(text)}'"
    if not separator or not key or not value:
        raise UserError(f"{name} must have the form key=value, e.g. optim.lr=0.01")
    kind = _types().get(key)
    content: Any
    if kind in (int, float, bool) or (is_text(kind) and not (value[0] in "'\"" and value[-1] == value[0] and len(value) > 1)):
        content = Text(value)  # as it is: text may look like a number, a date or a comment
    else:
        content = read_tree(value, name)
    for part in reversed(key.split(".")):
        content = {part: content}
    return _Source(name, content, rank)


@functools.cache
def _types() -> dict[str, Any]:
    """The type of every setting."""
    return {setting.key: setting.type for setting in list_settings()}


def _merged(section: Any, content: Mapping[str, Any], prefix: str, source: str) -> Any:
    """A section with content over it, whose keys are known."""
    changes, fields = {}, {one.name: one for one in dataclasses.fields(section)}
    for name, value in content.items():
        key, old = f"{prefix}{name}", getattr(section, name)
        if dataclasses.is_dataclass(old):
            changes[name] = _merged(old, value, f"{key}.", source)
        elif fields[name].metadata.get("has_auto") and isinstance(value, Text) and value.value.strip() == "auto":
            changes[name] = AUTO
        elif fields[name].type == list[SetConfig]:
            changes[name] = [SetConfig(**one) for one in value]  # read by `forms`
        else:
            changes[name] = read_value(value, fields[name].type, _defaults()[key], f"{source}: {key}", is_path=key in PATHS)
    return dataclasses.replace(section, **changes)


@functools.cache
def _defaults() -> dict[str, Any]:
    return {setting.key: setting.default for setting in list_settings()}


def _read_with_base(path: Path) -> list[tuple[Path, dict]]:
    """[(file, content)] from the farthest base to the file itself."""
    chain: list[tuple[Path, dict]] = []
    file, role = path, ""
    while True:
        if any(file.resolve() == seen.resolve() for seen, _ in chain):
            raise UserError(f"{path}: base files form a circle at {file}")
        content = _read_yaml(file, role)
        written = content.pop("base", None)
        chain.insert(0, (file, content))
        if written is None or (isinstance(written, Text) and written.is_null):
            return chain
        if not isinstance(written, Text):
            raise UserError(f"{file}: base={shown(written)} must be the name of one YAML file")
        base = read_value(written, str, None, f"{file}: base", is_path=True)
        beside = file.parent / base
        _check_name(beside, f" (base of {file})")
        file, role = beside if beside.is_file() else recipe_file(base) or beside, f" (base of {file})"


def _check_name(path: Path, role: str) -> None:
    """Refuses what cannot be the name of a file."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # too long, a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{shown(path, 300)}{role}: cannot be read ({reason})") from None


def _read_yaml(path: Path, role: str) -> dict:
    name = f"{shown(path, 300)}{role}"
    try:
        if path.exists() and not path.is_file() and not path.is_dir() and str(path) != os.devnull:  # which stands for no settings
            raise UserError(f"{name}: is not a regular file; {recipe_hint(path)}")
        with open(path, "rb") as file:
            content = read_tree(file.read(4 * MAX_BYTES + 1).decode("utf-8-sig"), str(path))
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); {recipe_hint(path)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not YAML (not UTF-8 text)") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold sections such as 'model:', found {'list' if isinstance(content, list) else 'text'}")
    return content


def _with_new_names(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A stored tree with the names of today. Renamed settings stay in their section."""
    tree = {}
    for key, value in content.items():
        new = RENAMED.get(f"{prefix}{key}", f"{prefix}{key}").removeprefix(prefix)
        tree[new] = _with_new_names(value, f"{prefix}{key}.") if isinstance(value, dict) else value
    return tree


def _refuse_unknown_keys(content: dict, section: type, prefix: str, source: str) -> None:
    fields = {f.name: f.type for f in dataclasses.fields(section)}
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if dotted in RENAMED:
            raise UserError(f"{source}: {dotted} is called {RENAMED[dotted]} now")
        if key not in fields:
            nearest = difflib.get_close_matches(dotted[:100], list(_all_keys(Config)), n=1, cutoff=0.0)[0]
            raise UserError(f"{source}: unknown key '{shown(dotted)}'; did you mean '{nearest}'?")
        inner = fields[key]
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            if not isinstance(value, dict):
                example = f"{dotted}.{dataclasses.fields(inner)[0].name}"
                raise UserError(f"{source}: {dotted}={shown(value)} must be a section with keys, e.g. {example}")
            _refuse_unknown_keys(value, inner, f"{dotted}.", source)
        elif isinstance(value, dict):
            raise UserError(f"{source}: {dotted} is a setting, not a section; write {dotted}: VALUE")


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
