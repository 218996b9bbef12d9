"""Breaks inputs of every kind and looks at what the commands make of them; see docs/threat_model.md.

    python tests/soak/fuzz.py [--inputs N] [--minutes M] [--seed S] [--only Annotations ...] [--keep FOLDER]

Each input must end with exit code 0 or 2, without a stack trace, a signal or a control character on the terminal, within ten seconds
of processor time and one gigabyte, with at most one line on standard error where it is refused, with valid JSON where it is not, and
with every input file as it was. The inputs follow from the seed. What fails is printed, and kept where --keep says.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

SECONDS = 10  # of processor time for one input
PATIENCE = 120  # seconds by the clock: a busy machine is no failure, a wait without end is
GROWTH = 10**9  # bytes
CHUNK = 100  # inputs in one process
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def fault_of(code: int, out: str, errors: str, growth: int, unchanged: bool, folder: Path, most: int) -> str | None:
    """What is wrong with the way in which one input ended."""
    if code not in (0, 2):
        return f"exit code {code}: {' '.join(errors.split())[-300:]}"
    if "Traceback (most recent call last)" in out + errors or "this is a bug" in errors:
        return f"a stack trace: {errors[-300:]}"
    if CONTROL.search(out + errors):
        return f"a control character: {CONTROL.search(out + errors)[0]!r} in {(out + errors)[:300]!r}"
    lines = [line for line in errors.splitlines() if line]
    if code == 2 and (len(lines) > most or not all(line.startswith("ttfnet: ") for line in lines)):
        return f"{len(lines)} lines, not {most} of ours: {errors[:500]!r}"
    if code == 2 and not lines and not out:
        return "refused without a word"
    if growth > GROWTH:
        return f"{growth / 1e6:.0f} MB more memory"
    if not unchanged:
        return "an input file was changed"
    for file in folder.rglob("*.json") if folder.is_dir() else ():
        try:
            json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
        except ValueError as error:
            return f"{file.name} is not valid JSON: {error}"
    return None


def _no_constant(name: str):
    raise ValueError(f"{name} is no JSON")


def _child(kind, seed: int, chunk: int, folder: Path, report: int) -> None:
    """Runs the inputs of a chunk and writes a line of JSON for each to `report`."""
    subject = kind(folder)
    for number in range(CHUNK):
        rng = random.Random(f"{seed} {kind.__name__} {chunk} {number}")
        shutil.rmtree(subject.out, ignore_errors=True)
        subject.out.mkdir()
        subject.write(rng)
        before = _digest(subject.input)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        memory, used = _memory("VmRSS"), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used) + SECONDS + 1, resource.RLIM_INFINITY))
        os.write(report, b"%d\n" % number)
        code = _quietly(subject, rng, folder)
        out, errors = ((folder / name).read_bytes().decode("utf-8", "replace") for name in ("stdout", "stderr"))
        fault = fault_of(code, out, errors, _memory("VmHWM") - memory, _digest(subject.input) == before, subject.out, kind.lines)
        os.write(report, json.dumps({"code": code, "fault": fault}).encode() + b"\n")
        if fault:
            shutil.copytree(subject.input, folder / "failed" / str(number), dirs_exist_ok=True)


def _quietly(subject, rng: random.Random, folder: Path) -> int:
    """Runs an input with both streams in files, those of libraries too."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    try:
        return int(subject.run(rng) or 0)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _memory(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(key)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        digest.update(str(file).encode())
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


class Fuzzer:
    """Counts inputs by subject and exit code, and collects faults.

    Args:
        seed: of the inputs.
        keep: folder for the inputs that fail, or None.
    """

    def __init__(self, seed: int, keep: Path | None):
        self.seed, self.keep = seed, keep
        self.counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
        self.faults: list[str] = []

    def run_chunk(self, kind, chunk: int) -> None:
        """One process with `CHUNK` inputs."""
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                os.setsid()
                code = 1
                try:
                    _child(kind, self.seed, chunk, Path(folder) / "subject", writer)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            os.close(writer)
            number, hung = self._listen(kind, chunk, reader)
            if hung:
                os.killpg(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            name = f"{kind.__name__} {chunk} {number}"
            if hung or status:
                signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                slow = hung or signalled == signal.SIGXCPU
                reason = f"more than {SECONDS} s" if slow else f"ended by signal {signalled}" if signalled else "the driver failed"
                log = Path(folder) / "subject" / "stderr"
                self._fail(name, f"{reason} {log.read_text(errors='replace')[-300:] if log.exists() else ''}")
                self._save(Path(folder) / "subject" / "input", name)
            for failed in (Path(folder) / "subject" / "failed").glob("*"):
                self._save(failed, f"{kind.__name__} {chunk} {failed.name}")

    def _listen(self, kind, chunk: int, reader: int) -> tuple[int, bool]:
        """(number of the last input, whether it hangs)."""
        number = -1
        with open(reader, "rb", buffering=0) as file:
            rest = b""
            while True:
                if not select.select([file], [], [], PATIENCE)[0]:
                    return number, True
                data = file.read(65536)
                if not data:
                    return number, False
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    content = json.loads(line)
                    if isinstance(content, int):
                        number = content
                        continue
                    self.counts[kind.__name__][content["code"]] += 1
                    if content["fault"]:
                        self._fail(f"{kind.__name__} {chunk} {number}", content["fault"])

    def _fail(self, name: str, fault: str) -> None:
        self.faults.append(name)
        print(f"FAULT {name}: {fault}", flush=True)

    def _save(self, folder: Path, name: str) -> None:
        if self.keep and folder.is_dir():
            shutil.copytree(folder, self.keep / name.replace(" ", "-"), dirs_exist_ok=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs in all, in whole processes; default 20,000")
    parser.add_argument("--minutes", type=float, default=math.inf, help="ends after this time, whatever --inputs says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="names of subjects")
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail")
    args = parser.parse_args(argv)

    from subjects import SUBJECTS

    import ttfnet_tf.report.write_report
    import ttfnet_tf.training.run  # noqa: F401 imported once, before the processes are forked; TensorFlow has started nothing then

    chosen = {kind: part for kind, part in SUBJECTS.items() if not args.only or kind.__name__ in args.only}
    fuzzer, started, done = Fuzzer(args.seed, args.keep), time.monotonic(), collections.Counter()
    chunks = math.ceil(args.inputs / CHUNK)
    for _ in range(chunks):
        if time.monotonic() - started > 60 * args.minutes:
            break
        kind = min(chosen, key=lambda one: (done[one] + 1) / chosen[one])  # each has its part at every moment
        fuzzer.run_chunk(kind, done[kind])
        done[kind] += 1
    for name, counts in fuzzer.counts.items():
        print(f"{name}: {counts.total()} inputs, {counts[0]} read, {counts[2]} refused, {counts.total() - counts[0] - counts[2]} other")
    total = sum(counts.total() for counts in fuzzer.counts.values())
    print(f"{total} inputs in {time.monotonic() - started:.0f} s, {len(fuzzer.faults)} faults")
    return 1 if fuzzer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
