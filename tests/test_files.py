"""Files and folders that are written at once, and what killed processes leave."""

import errno
import os
import subprocess
import sys

import pytest

from ttfnet_tf import files
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file, new_folder, remove_left_over, temporary_path, write_bytes, write_text

DEAD = 2**22 + 1  # above the highest number of a process


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _fail(*done):
    assert all(done)
    raise ValueError("half of it is written")


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(ValueError, match="half"), new_file(path) as file:
        _fail(file.write(b"half of the n"), path.read_text() == "old")
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert _names(tmp_path / "deep") == ["a.txt"]


def test_a_file_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(files.os, name, lambda *args, call=call, name=name: (order.append(name), call(*args))[1])
    write_bytes(tmp_path / "a", b"content")
    assert order == ["fsync", "replace", "fsync"]  # the file, then the folder with its name


def test_a_folder_gets_its_name_when_it_is_complete(tmp_path):
    with pytest.raises(ValueError, match="half"), new_folder(tmp_path / "model") as aside:
        _fail((aside / "a").write_text("half"))
    assert _names(tmp_path) == []
    (tmp_path / "model").mkdir()  # an empty one may be there
    with new_folder(tmp_path / "model") as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "a").write_text("whole")
        assert _names(tmp_path / "model") == []
    assert _names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "inner" / "a").read_text() == "whole"


def test_a_folder_with_files_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("mine")
    with pytest.raises(UserError, match=r"model: cannot be written \(Directory not empty\)"), new_folder(tmp_path / "model"):
        pass
    assert _names(tmp_path) == ["model"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "getpid", lambda: DEAD)
        left = [temporary_path(tmp_path / name) for name in ("a.json", "step-4", "deep.name.npz")]
    left[0].write_text("half")
    left[1].mkdir()
    (left[1] / "inner").write_text("half")
    left[2].write_text("half")
    for name in (".mine.12.part", "a.part", f".{DEAD}.ttfnet-part", ".ttfnet-part"):
        (tmp_path / name).write_text("of the user")
    write_text(tmp_path / "b", "new")
    assert _names(tmp_path) == sorted(["b", ".mine.12.part", "a.part", f".{DEAD}.ttfnet-part", ".ttfnet-part"])


def test_files_of_a_running_process_stay(tmp_path, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "getpid", lambda: process.pid)
            temporary = temporary_path(tmp_path / "a")
        temporary.write_text("being written")
        remove_left_over(tmp_path, again=True)
        assert temporary.exists()
        process.communicate(b"\n")
    remove_left_over(tmp_path, again=True)
    assert not temporary.exists()


def test_what_an_earlier_process_of_the_same_number_left_is_removed(tmp_path):
    left = temporary_path(tmp_path / "a")
    files._being_written.clear()  # as in a new process, which in a container may get the number of the last one
    left.write_text("half")
    with new_file(tmp_path / "b") as file:
        remove_left_over(tmp_path, again=True)
        file.write(b"whole")
    assert _names(tmp_path) == ["b"]
    assert files._being_written == set()


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "ä" * 125 + ".json", "b" * 255, "." + "c" * 254])
def test_the_longest_names_can_be_written(tmp_path, name):
    write_bytes(tmp_path / name, b"content")
    assert _names(tmp_path) == [name]


@pytest.mark.parametrize("name", [".", "inner/.."])
def test_a_folder_by_its_dots(tmp_path, monkeypatch, name):
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert temporary_path(files.Path(name)).parent == tmp_path


@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "free some space, then start"), (errno.EACCES, "name another folder")])
def test_an_error_names_the_file_and_what_to_do(tmp_path, monkeypatch, number, advice):
    def fsync(_):
        raise OSError(number, os.strerror(number))

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(UserError, match=rf"a: cannot be written \({os.strerror(number)}\); {advice}"):
        write_text(tmp_path / "a", "new")
    assert (_names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")
