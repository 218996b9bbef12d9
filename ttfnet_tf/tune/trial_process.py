"""A trial in a process of its own, and the program that it runs.

TensorFlow keeps what it has taken of a GPU's memory, and its precision policy, until its process ends; and a process that crashes or that
the system ends for its memory takes no study with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write
from ttfnet_tf.fit.decide import MachineFacts
from ttfnet_tf.json_text import parse_json

PROGRAM = (sys.executable, "-m", "ttfnet_tf.tune.trial_process")
OUTPUT = "output.txt"  # in the run's folder
STOPPED = 3  # exit code of a run that was asked to stop, and has saved
_POLL = 0.5  # seconds
_TO_SAVE = 90.0  # seconds that a run has to save and end
_LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int  # 0 where the run is complete; negative for a signal
    seconds: float
    asked: str | None  # why it was asked to stop


def run_process(
    config: Path,
    folder: Path,
    watch: Callable[[float], str | None],
    *,
    program: Sequence[str] = PROGRAM,
) -> Ended:
    """Runs a trial to its end, or until it is asked to stop, saves and ends.

    Args:
        config: settings of the run.
        folder: of the run; gets the output, too.
        watch: seconds so far -> why the run has to stop, None to go on; called about twice a second.
        program: that takes both paths.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        output = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise cannot_write(folder / OUTPUT, error) from None
    try:
        return _watched([*program, str(config), str(folder)], output, watch)
    finally:
        os.close(output)


def _watched(command: Sequence[str], output: int, watch: Callable[[float], str | None]) -> Ended:
    start, deadline = time.monotonic(), 0.0
    asked: str | None = None
    # In a session of its own: Ctrl-C reaches this process alone, which then asks the run to stop. The pipe says when this process ends.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return Ended(process.wait(timeout=_POLL), time.monotonic() - start, asked)
            seconds = time.monotonic() - start
            if asked is None:
                asked = watch(seconds)
                if asked is not None:
                    process.terminate()
                    deadline = seconds + _TO_SAVE
            elif seconds > deadline:
                process.kill()
    finally:
        if process.stdin is not None:
            process.stdin.close()
        if process.poll() is None:  # an exception of ours
            process.terminate()
            process.wait()


def reason_of(ended: Ended, folder: Path) -> str:
    """Why a run has failed, in one line: its last words, or the signal that ended it."""
    if ended.code == STOPPED:
        return "was stopped from outside"
    if ended.code < 0:
        more = ", probably out of memory" if ended.code == -signal.SIGKILL else ""
        return f"its process was ended by signal {-ended.code}{more}"
    try:
        lines = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {ended.code}")
    return last[:_LONGEST_REASON]


def machine_of_process() -> MachineFacts:
    """What the machine can do, measured in another process: this one must not take the memory of a GPU.

    Raises:
        UserError: TensorFlow does not start.
    """
    done = subprocess.run([sys.executable, "-m", "ttfnet_tf.fit.machine"], capture_output=True, text=True, check=False)
    try:
        return MachineFacts(**parse_json(done.stdout.strip().splitlines()[-1]))
    except (IndexError, TypeError, ValueError):
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:_LONGEST_REASON]
        raise UserError(f"tune: the machine could not be measured ({why})") from None


def _stop_with_parent() -> None:
    """Asks this process to stop when the one that started it has ended; then the pipe ends."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str]) -> int:
    """The program; its arguments are CONFIG FOLDER."""
    started = time.monotonic()
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    config, folder = arguments
    try:
        from ttfnet_tf.config import load_config
        from ttfnet_tf.quiet_import import import_quietly

        settings = load_config(config)
        import_quietly()
        from ttfnet_tf.training.run import run_training
        from ttfnet_tf.training.time_budget import RunTime

        result = run_training(settings, folder, RunTime(started))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            print("out of memory", file=sys.stderr)
            return 2
        raise
    return 0 if result.finished else STOPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
