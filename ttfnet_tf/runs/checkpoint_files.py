"""The files of checkpoints, and which of them is the current one.

step-<N>.index, step-<N>.data-0000i-of-0000k    a checkpoint; it counts when all of these are there
checkpoint                                      names the current one, and those that are kept, as TensorFlow writes it

A checkpoint is written into a temporary folder, reaches the disk, and is moved from there, its index last. Then `checkpoint` is replaced,
which makes it the current one. Killed at any moment, a run finds the earlier or the later one complete.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import remove, remove_left_over, sync_folder, sync_tree, temporary_path, write_text

STATE = "checkpoint"
_FILE = re.compile(r"step-(\d+)\.(index|data-\d{5}-of-(\d{5}))")


@contextlib.contextmanager
def new_checkpoint(folder: Path, step: int) -> Iterator[str]:
    """Gives a prefix to write a checkpoint to, which becomes `folder`/step-<step> when the block ends without an error.

    An older one of that name is replaced; it must not be the current one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    aside = temporary_path(folder / f"step-{step}")
    remove(aside)
    aside.mkdir()
    try:
        yield str(aside / f"step-{step}")
        sync_tree(aside)
        _remove_checkpoint(folder, step)
        for file in sorted(aside.glob("step-*"), key=lambda file: file.suffix == ".index"):
            os.replace(file, folder / file.name)
        sync_folder(folder)
    finally:
        remove(aside)


def make_current(folder: Path, step: int, *, keep: int) -> None:
    """Makes a complete checkpoint the current one, and deletes earlier ones but for the latest `keep`; only what is listed is deleted.

    The list is written before and after: killed in between, the next start finds what is left to delete.
    """
    named, listed = _read_state(folder / STATE)
    known = _files(folder) if named is None else map(step_of, listed)
    steps = sorted(number for number in {*known, step} if number <= step and number in _files(folder))
    complete = [number for number in steps if is_complete(folder / f"step-{number}")]
    old = [number for number in steps if number < complete[-keep]] if len(complete) >= keep else []
    _write_state(folder, step, steps)
    for number in old:
        _remove_checkpoint(folder, number)
    if old:
        _write_state(folder, step, [number for number in steps if number not in old])


def _write_state(folder: Path, step: int, steps: list[int]) -> None:
    lines = [f'model_checkpoint_path: "step-{step}"', *(f'all_model_checkpoint_paths: "step-{number}"' for number in steps)]
    # Without times, TensorFlow's own manager, as in earlier versions, would never delete them.
    indices = [folder / f"step-{number}.index" for number in steps]
    lines += [f"all_model_checkpoint_timestamps: {index.stat().st_mtime if index.exists() else 0.0}" for index in indices]
    write_text(folder / STATE, "\n".join(lines) + "\n")


def current(folder: Path) -> tuple[Path | None, str | None]:
    """The checkpoint to resume from.

    Returns:
        Its prefix, None where no checkpoint was ever completed; and a line about what is missing or damaged, or None.

    Raises:
        UserError: there was a checkpoint, and none is complete: a run would start over it.
    """
    state = folder / STATE
    named, _ = _read_state(state)
    if named is not None and is_complete(folder / named):
        return folder / named, None
    whole = [step for step in sorted(_files(folder)) if is_complete(folder / f"step-{step}") and _has_index(folder / f"step-{step}")]
    problem = "is not there" if not state.exists() else "is damaged" if named is None else f"names {named}, which is not complete"
    if whole:
        latest = folder / f"step-{whole[-1]}"
        return latest, f"{state}: {problem}; the latest complete checkpoint is {latest.name}"
    if state.exists():
        raise UserError(f"{state}: {problem}, and there is no other checkpoint; put its files back, or delete {folder} to start again")
    return None, f"{folder}: its only checkpoint is not complete; starts again" if _files(folder) else None


def remove_rubbish(folder: Path, *, keep: int | None = None) -> None:
    """Removes what killed processes have left in a folder of checkpoints.

    Complete checkpoints stay, but for listed ones beyond the latest `keep`: a process was killed while it deleted them.
    """
    if not folder.is_dir():
        return
    remove_left_over(folder, again=True)
    for path in list(folder.iterdir()):  # of TensorFlow's own manager, in earlier versions
        if re.fullmatch(r"step-\d+_temp|checkpoint\.tmp\w+|worker-\d+|\.(checkpoint|best\.json)\.\d+", path.name):
            remove(path)
    named, listed = _read_state(folder / STATE)
    if named is not None:
        for step in _files(folder):
            if f"step-{step}" not in listed and not is_complete(folder / f"step-{step}"):
                _remove_checkpoint(folder, step)
        gone = [name for name in listed if not _files(folder).get(step_of(name))]
        if keep is not None and is_complete(folder / named) and (gone or len(listed) > keep):
            make_current(folder, step_of(named), keep=keep)
    elif not (folder / STATE).exists():  # killed before the first one was complete
        for step in _files(folder):
            if not (is_complete(folder / f"step-{step}") and _has_index(folder / f"step-{step}")):
                _remove_checkpoint(folder, step)


def is_complete(prefix: Path) -> bool:
    """Whether a checkpoint has its index and every data file."""
    suffixes = _files(prefix.parent).get(step_of(prefix), ())
    counts = {int(suffix[-5:]) for suffix in suffixes if suffix != "index"}
    has_index = "index" in suffixes and (prefix.parent / f"{prefix.name}.index").stat().st_size > 0
    return has_index and any(sum(suffix.endswith(f"-of-{count:05d}") for suffix in suffixes) == count for count in counts)


def step_of(prefix: str | Path) -> int:
    """The step in the name of a checkpoint; -1 where there is none."""
    digits = Path(prefix).name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def keep_only(folder: Path, step: int) -> None:
    """Deletes every checkpoint of a folder but one."""
    for number in _files(folder):
        if number != step:
            _remove_checkpoint(folder, number)


def _remove_checkpoint(folder: Path, step: int) -> None:
    """The index first: without it, the rest is no checkpoint."""
    for suffix in sorted(_files(folder).get(step, ()), key=lambda suffix: suffix != "index"):
        remove(folder / f"step-{step}.{suffix}")


def _files(folder: Path) -> dict[int, list[str]]:
    """step -> the suffixes of its files."""
    found: dict[int, list[str]] = {}
    for name in os.listdir(folder) if folder.is_dir() else ():
        if match := _FILE.fullmatch(name):
            found.setdefault(int(match[1]), []).append(match[2])
    return found


def _read_state(state: Path) -> tuple[str | None, set[str]]:
    """(name of the current checkpoint, all names listed); (None, nothing) where the file is missing or damaged."""
    try:
        text = state.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None, set()
    found = re.findall(r'^(model_checkpoint_path|all_model_checkpoint_paths): "(?:[^"\n]*/)?(step-\d+)"$', text, re.MULTILINE)
    named = [name for key, name in found if key == "model_checkpoint_path"]
    return (named[0] if len(named) == 1 else None), {name for _, name in found}


def _has_index(prefix: Path) -> bool:
    """Whether the index can be read; TensorFlow's own manager does not write it at once."""
    try:
        tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, RuntimeError):
        return False
    return True
