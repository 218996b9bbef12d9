"""Stand-ins for Optuna and for the processes of trials, for tests of `ttfnet tune`."""

import json

from ttfnet_tf.config import dump_config, load_config
from ttfnet_tf.fit.decide import MachineFacts
from ttfnet_tf.tune import trial_process
from ttfnet_tf.tune.space import Range
from ttfnet_tf.tune.trials import Trial


class Proposals:
    """A study that proposes the two ends of every range in turn, and prunes where it is told to."""

    def __init__(self, prunes=()):
        self.kept, self.prunes, self.reports = [], set(prunes), []

    def __call__(self, file, space, centre, *, seed):
        self.space, self.centre = space, centre
        return self

    def trials(self):
        return list(self.kept)

    def begin(self):
        number = len(self.kept)
        ends = {one.key: (one.low, one.high)[number % 2] if isinstance(one, Range) else one.texts[number % 2] for one in self.space}
        self.kept.append(Trial(number, ends if number else self.centre))
        return self.kept[-1]

    def report(self, trial, mark, average_precision):
        self.reports.append((trial.number, mark, average_precision))
        return trial.number in self.prunes

    def end(self, trial):
        self.kept[trial.number] = trial


class Machine:
    """Stands in for processes that train: the AP rises linearly with the time, to a value that depends on the settings."""

    def __init__(self):
        self.now = 1000.0
        self.began = []  # (folder, seconds)
        self.average_precision = lambda config: 0.5
        self.at = {}  # name of a run -> what happens in the middle of it

    def monotonic(self):
        return self.now

    def facts(self):
        return MachineFacts(1e-7, False, 1 << 30)

    def run(self, file, folder, watch):
        config, start = load_config(file), self.now
        seconds = 60 * config.train.minutes
        self.began.append((folder.name, self.now))
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        done = float((folder / "checkpoints/checkpoint").read_text()) if (folder / "checkpoints/checkpoint").exists() else 0.0
        while done < seconds - 1e-6:
            self.now += seconds / 20
            done += seconds / 20
            figure = self.average_precision(config) * done / seconds
            with open(folder / "metrics.jsonl", "a") as lines:
                lines.write(json.dumps({"step": round(done), "epoch": 1.0, "AP": figure}) + "\n")
            (folder / "checkpoints/checkpoint").write_text(f"{done}")
            if (asked := watch(self.now - start)) is not None:
                return trial_process.Ended(trial_process.STOPPED, self.now - start, asked)
            if done > seconds / 2 and folder.name in self.at:
                ended = self.at.pop(folder.name)()
                if ended is not None:
                    return ended
        (folder / "repeat.yaml").write_text("# Repeats this run\n" + dump_config(_without_clock(file)))
        return trial_process.Ended(0, self.now - start, None)


def _without_clock(file):
    return load_config(file, ["train.minutes=0", "train.steps=40", "optim.cooldown_bends=[30,0.5]"])
