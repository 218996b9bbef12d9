"""Help: every verb in its section, one line each, examples that parse."""

import shlex
import subprocess
import sys

import pytest

from ttfnet_tf import cli

COMMANDS = cli.build_parser().commands()
WIDTH = 80  # of a terminal


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def _help(capsys, *argv):
    with pytest.raises(SystemExit) as left:
        cli.main(list(argv))
    assert left.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_verb_once_in_the_order_of_use(capsys):
    lines = _help(capsys, "--help").splitlines()
    listed = [line for line in lines if line.startswith("  ") and any(line[2:18].rstrip() == name for name in COMMANDS)]
    assert [line[2:18].rstrip() for line in listed] == [name for _, names in cli.SECTIONS for name in names]
    assert sorted(line[2:18].rstrip() for line in listed) == sorted(COMMANDS)
    assert all(line[18:] == COMMANDS[line[2:18].rstrip()].summary for line in listed)
    assert max(map(len, lines)) <= WIDTH


def test_help_of_a_group_lists_its_verbs(capsys):
    text = _help(capsys, "data", "--help")
    for name in (name.split()[1] for name in COMMANDS if name.startswith("data ")):
        assert text.count(f"\n  {name:16}{COMMANDS[f'data {name}'].summary}\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_explains_itself(name, capsys):
    text = _help(capsys, *name.split(), "--help")
    assert _help(capsys, "help", *name.split()) == text
    assert text.startswith(f"usage: ttfnet {name} ")
    assert "--debug" in text
    assert COMMANDS[name].examples
    assert all(f"\n  {example}\n" in text for example in COMMANDS[name].examples)


@pytest.mark.parametrize("example", [e for parser in (cli.build_parser(), *COMMANDS.values()) for e in parser.examples])
def test_examples_parse(example):
    program, *argv = shlex.split(example)
    assert program == "ttfnet"
    cli.parse(argv)


def test_options_are_not_guessed_from_their_beginning(capsys):
    assert cli.main(["train", "a.yaml", "--work", "x"]) == 2
    assert "unknown argument --work; did you mean --work-dir?" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["data"]])
def test_no_verb_shows_the_verbs(argv, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(argv)
    assert left.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "find mistakes in annotations and images" in captured.err


def test_the_package_runs_as_a_module(root):
    done = subprocess.run([sys.executable, "-m", "ttfnet_tf", "--version"], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.startswith("ttfnet-tf ")
