"""A sample of `make soak`, and that it would see each kind of fault."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# A subject that does wrong in another way with each input.
PLANTED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = [{here!r}]
import fuzz, subjects
from ttfnet_tf import files

class Planted(subjects.Subject):
    def write(self, rng):
        (self.input / "a").write_text("sound")
        self.number = getattr(self, "number", -1) + 1

    def run(self, rng):
        if self.number == 0: raise KeyError("epoch")
        if self.number == 1: return 1
        if self.number == 2: return print("\\x1b[31mred")
        if self.number == 3: return print("ttfnet: a\\nttfnet: b", file=sys.stderr) or 2
        if self.number == 4: return os.write(2, b"libpng: broken\\n") and 2
        if self.number == 5: return len(bytearray(os.urandom(1) * 150_000_000)) * 0
        if self.number == 6: return (self.input / "a").write_text("changed") * 0
        if self.number == 7: return (self.out / "a.json").write_text("[NaN]") * 0
        if self.number == 8: return 2
        if self.number == 9: os.kill(os.getpid(), signal.SIGSEGV)

fuzz.SECONDS, fuzz.GROWTH = 1, 10**8
fuzzer = fuzz.Fuzzer(0, Path({keep!r}))
fuzzer.run_chunk(Planted, 0)

class Endless(Planted):
    def run(self, rng):
        while True: pass

fuzzer.run_chunk(Endless, 1)
"""
FAULTS = (
    "KeyError: 'epoch'",
    "exit code 1: ",
    "a control character: '\\x1b'",
    "2 lines, not 1 of ours",
    "1 lines, not 1 of ours: 'libpng: broken",
    "MB more memory",
    "an input file was changed",
    "a.json is not valid JSON: NaN is no JSON",
    "refused without a word",
    "ended by signal 11",
    "more than 1 s",
)


@pytest.mark.slow
def test_every_kind_of_fault_is_seen_and_kept(tmp_path):
    code = PLANTED.format(here=str(HERE), keep=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAULT ")]
    assert len(lines) == len(FAULTS), done.stdout
    for line, fault in zip(lines, FAULTS):
        assert fault in line
    assert (tmp_path / "Planted-0-9" / "a").read_text() == "sound"


def test_changes_follow_from_the_seed_and_change_something(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import mutations

    sound = {"images": [{"id": 1, "width": 10}], "name": "a"}
    texts = [mutations.change_json(sound, random.Random(seed)) for seed in range(300)]
    assert texts == [mutations.change_json(sound, random.Random(seed)) for seed in range(300)]
    assert len(set(texts)) > 200
    assert sound == {"images": [{"id": 1, "width": 10}], "name": "a"}
    assert sum(text != json.dumps(sound, separators=(",", ":")) for text in texts) > 280
    data = bytes(range(200))
    assert sum(mutations.change_bytes(data, random.Random(seed)) != data for seed in range(100)) > 90


@pytest.mark.slow
def test_broken_inputs_of_every_kind():
    command = [sys.executable, str(HERE / "fuzz.py"), "--inputs", "1200", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.splitlines()[-1].endswith(" 0 faults")
