"""Which checkpoint a run resumes from, whatever a killed process has left."""

import functools
import re
import shutil

import pytest
import tensorflow as tf

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import temporary_path
from ttfnet_tf.runs import checkpoint_files
from ttfnet_tf.runs.checkpoint_files import current, is_complete, make_current, new_checkpoint, remove_rubbish

DATA = "data-00000-of-00001"


def _save(folder, step, keep=3):
    with new_checkpoint(folder, step) as aside:
        tf.train.Checkpoint(value=tf.Variable(float(step))).write(aside)
    make_current(folder, step, keep=keep)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def three(tmp_path):
    """A folder with checkpoints of steps 2, 4 and 6."""
    for step in (2, 4, 6):
        _save(tmp_path, step)
    return tmp_path


def test_the_latest_ones_stay_and_tensorflow_finds_them(tmp_path):
    for step in (2, 4, 6):
        _save(tmp_path, step, keep=2)
    assert _names(tmp_path) == ["checkpoint", f"step-4.{DATA}", "step-4.index", f"step-6.{DATA}", "step-6.index"]
    assert current(tmp_path) == (tmp_path / "step-6", None)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "step-6")
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(), str(tmp_path), max_to_keep=2, checkpoint_name="step")
    assert manager.checkpoints == [str(tmp_path / "step-4"), str(tmp_path / "step-6")]


def test_no_checkpoint_is_none(tmp_path):
    assert current(tmp_path / "nothing") == (None, None)
    assert current(tmp_path) == (None, None)


def test_a_failure_while_writing_leaves_the_earlier_one(three):
    before = _names(three)
    with pytest.raises(OSError, match="full"), new_checkpoint(three, 8):
        raise OSError("full")
    assert _names(three) == before
    assert current(three) == (three / "step-6", None)


@pytest.mark.parametrize("content", [None, "", "model_checkpoint_pa", 'model_checkpoint_path: "step-"', b"\xff\xfe"])
def test_without_a_readable_list_the_latest_complete_one_is_current(three, content):
    state = three / "checkpoint"
    state.unlink() if content is None else state.write_bytes(content if isinstance(content, bytes) else content.encode())
    (three / "step-6.index").write_bytes(b"")
    problem = "is not there" if content is None else "is damaged"
    assert current(three) == (three / "step-4", f"{state}: {problem}; the latest complete checkpoint is step-4")


@pytest.mark.parametrize("name", ["step-6.index", f"step-6.{DATA}"])
def test_an_incomplete_latest_one_gives_way_to_the_one_before(three, name):
    (three / name).unlink()
    state = three / "checkpoint"
    assert current(three) == (three / "step-4", f"{state}: names step-6, which is not complete; the latest complete checkpoint is step-4")


def test_a_user_may_go_back_to_an_earlier_one(three):
    (three / "checkpoint").write_text('model_checkpoint_path: "step-4"\n')
    assert current(three) == (three / "step-4", None)


def test_an_absolute_path_in_the_list_is_taken_by_its_name(three):
    (three / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/before/it/moved/step-6"\n')
    assert current(three) == (three / "step-6", None)


def test_a_run_that_lost_all_of_them_does_not_start_over(tmp_path):
    _save(tmp_path, 2)
    (tmp_path / "step-2.index").unlink()
    with pytest.raises(
        UserError, match=r"checkpoint: names step-2, which is not complete, and there is no other checkpoint; put its files"
    ):
        current(tmp_path)


@pytest.mark.parametrize("index", [b"", b"half an index"])
def test_killed_inside_the_first_one_by_an_earlier_version(tmp_path, index):
    """TensorFlow's own manager wrote the index in place."""
    _save(tmp_path, 2)
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "step-2.index").write_bytes(index)
    (tmp_path / "step-2_temp").mkdir()
    (tmp_path / "step-2_temp" / "part-00000-of-00001.index").write_bytes(b"")
    assert current(tmp_path) == (None, f"{tmp_path}: its only checkpoint is not complete; starts again")
    remove_rubbish(tmp_path)
    assert _names(tmp_path) == []


def test_rubbish_goes_and_checkpoints_stay(three, monkeypatch):
    kept = _names(three)
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: 2**22 + 1)  # above the highest number of a process
        aside = temporary_path(three / "step-8")
    aside.mkdir()
    (aside / "step-8.index").write_bytes(b"half")
    (three / f"step-8.{DATA}").write_bytes(b"moved before the index was")
    (three / "step-4_temp").mkdir()
    (three / "checkpoint.tmp0123abc").write_bytes(b"")
    remove_rubbish(three)
    assert _names(three) == kept


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("moment", range(6))
def test_killed_while_it_deletes_the_old_ones(three, monkeypatch, moment):
    """Before each of the four files is deleted, and before the list is written again; no later save is needed to end it."""
    calls = []

    def killed(call, *arguments):
        calls.append(arguments)
        if len(calls) > moment:
            raise Killed
        return call(*arguments)

    with monkeypatch.context() as patch:
        for name in ("remove", "_write_state"):
            patch.setattr(checkpoint_files, name, functools.partial(killed, getattr(checkpoint_files, name)))
        with pytest.raises(Killed):
            make_current(three, 6, keep=1)
    assert current(three) == (three / "step-6", None)
    remove_rubbish(three, keep=1)
    expected = ["checkpoint", f"step-6.{DATA}", "step-6.index"]
    assert _names(three) == expected
    assert (three / "checkpoint").read_text().count("step-") == 2


def test_a_checkpoint_that_is_not_listed_is_not_deleted(three):
    """Such as one that a user has put back from elsewhere."""
    _save(three, 8, keep=2)
    for name in ("index", DATA):
        shutil.copy(three / f"step-6.{name}", three / f"step-1.{name}")
    _save(three, 10, keep=1)
    remove_rubbish(three, keep=1)
    assert {int(name[5:].partition(".")[0]) for name in _names(three) if name != "checkpoint"} == {1, 10}


def test_a_damaged_one_that_is_listed_is_never_removed(three):
    (three / "step-4.index").unlink()
    remove_rubbish(three)
    remove_rubbish(three, keep=3)
    assert (three / f"step-4.{DATA}").exists()


def test_complete_needs_every_data_file(tmp_path):
    for name in ("step-1.index", "step-1.data-00000-of-00002"):
        (tmp_path / name).write_bytes(b"x")
    assert not is_complete(tmp_path / "step-1")
    (tmp_path / "step-1.data-00001-of-00002").write_bytes(b"x")
    assert is_complete(tmp_path / "step-1")


def test_names_of_users_are_left_alone(three):
    for name in ("step-4.index.bak", "step-4-copy.index", "notes.txt", ".step.part"):
        (three / name).write_text("mine")
    remove_rubbish(three)
    make_current(three, 6, keep=1)
    assert {"step-4.index.bak", "step-4-copy.index", "notes.txt", ".step.part"} <= set(_names(three))


def test_the_list_is_like_that_of_tensorflow(three):
    lines = (three / "checkpoint").read_text().splitlines()
    assert lines[0] == 'model_checkpoint_path: "step-6"'
    assert all(re.fullmatch(r'all_model_checkpoint_(paths: "step-\d"|timestamps: \d+\.\d+)', line) for line in lines[1:])
