"""The demo: which commands, where it stops, and what an interrupt leaves."""

import signal
from pathlib import Path

import pytest

from ttfnet_tf import cli
from ttfnet_tf.cli import demo
from ttfnet_tf.config import load_config


@pytest.mark.parametrize("quick", [False, True])
def test_every_command_parses_and_its_settings_are_right(quick):
    commands = demo.commands(Path("some where") / "demo", quick=quick)
    assert [words[0] for words in commands] == ["data", "train", "evaluate", "report", "predict", "export"]
    for words in commands:
        args = cli.parse(words)
        if words[0] == "train":
            config = load_config(args.config, args.rest)
    assert config.data.val.images == "some where/demo/shapes/val"
    assert config.train.epochs == (6 if quick else 14)


def test_commands_are_printed_as_a_user_would_type_them_and_lead_to_the_results(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_run", lambda words: 0)
    assert cli.main(["demo", "a b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "$ ttfnet evaluate 'a b/run'"
    assert lines[-1].startswith("Look at a b/run/report.html")


def test_the_first_failure_ends_it_with_its_exit_code(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_run", lambda words: 2 if words[0] == "evaluate" else 0)
    assert cli.main(["demo", "--quick"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "$ ttfnet evaluate demo-quick/run"


@pytest.mark.slow
def test_a_command_is_a_process_whose_exit_code_counts(capfd):
    assert demo._run(["--version"]) == 0
    assert demo._run(["trian"]) == 2
    captured = capfd.readouterr()
    assert captured.out.startswith("ttfnet-tf ")
    assert captured.err.startswith("ttfnet: unknown verb 'trian'")


def test_an_interrupt_waits_for_the_command_to_save(monkeypatch):
    waits = []

    class Process:
        def __init__(self, command):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def wait(self):
            waits.append(len(waits))
            if len(waits) == 1:
                raise KeyboardInterrupt

        def kill(self):
            raise AssertionError("the run would lose its last steps")

    monkeypatch.setattr(demo.subprocess, "Popen", Process)
    with pytest.raises(KeyboardInterrupt):
        demo._run(["train"])
    assert waits == [0, 1]


def test_a_signal_to_end_reaches_the_command(monkeypatch, tmp_path):
    """Not the demo alone: its training would go on without it."""
    (tmp_path / "ttfnet_tf.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "def end(*_):\n    pathlib.Path('ended').touch()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        demo._run(["train"])
    assert (tmp_path / "ended").exists()
    assert signal.getsignal(signal.SIGTERM) == before
