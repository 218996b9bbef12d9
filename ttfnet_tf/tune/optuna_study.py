"""A study by Optuna: TPE proposes values, the median of earlier trials prunes, and a journal on disk keeps everything.

The median, not Hyperband: a study has some ten to thirty trials, too few for the brackets of Hyperband, and a rate that stays constant
until the cooldown makes early AP a weak sign, by which half of the trials may be stopped but not two thirds of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.json_text import json_text, parse_json
from ttfnet_tf.tune.space import Range, Tuned
from ttfnet_tf.tune.trials import State, Trial

_NAME = "ttfnet"
_RANDOM = 5  # trials before TPE has something to learn from
_UNPRUNED = 4  # trials before there is a median
_BEGUN, _MINUTES, _REASON = "begun", "minutes", "reason"  # attributes of a trial
_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class OptunaStudy:
    """See `trials.Study`.

    Args:
        file: the journal, which `optuna-dashboard` reads too; made if missing.
        space: the settings and their ranges.
        centre: values of the first trial.
        seed: of the proposals; each trial has its own, so that a study that was killed goes on as it would have.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, file: Path, space: Sequence[Tuned], centre: dict[str, float | str], *, seed: int):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._centre, self._seed = centre, seed
        self._asked: dict[int, optuna.trial.Trial] = {}
        self._distributions: dict[str, BaseDistribution] = {
            one.key: FloatDistribution(one.low, one.high, log=True) if isinstance(one, Range) else CategoricalDistribution(one.texts)
            for one in space
        }
        try:
            self._study = optuna.create_study(
                storage=JournalStorage(_Journal(file)),
                study_name=_NAME,
                direction="maximize",
                load_if_exists=True,
                pruner=MedianPruner(n_startup_trials=_UNPRUNED),
            )
            self._study.get_trials()
        except UserError:
            raise
        except Exception:  # of any kind: Optuna takes the lines as they are
            raise UserError(f"{file}: is damaged; choose another --work-dir") from None

    def trials(self) -> list[Trial]:
        return [_trial(one) for one in self._study.get_trials(deepcopy=False) if _BEGUN in one.user_attrs]

    def begin(self) -> Trial:
        trials = self._study.get_trials(deepcopy=False)
        if not trials:
            self._study.enqueue_trial(self._centre)
        # One of a study that was killed between two lines of the journal.
        half = next((one for one in trials if one.state is TrialState.RUNNING and _BEGUN not in one.user_attrs), None)
        number = len(self._study.get_trials(deepcopy=False)) if half is None else half.number
        self._study.sampler = TPESampler(seed=self._seed + number, n_startup_trials=_RANDOM, multivariate=True)
        if half is None:
            asked = self._study.ask(self._distributions)
        else:
            asked = optuna.trial.Trial(self._study, half._trial_id)
            for key, distribution in self._distributions.items():  # as `ask` does
                asked._suggest(key, distribution)
        asked.set_user_attr(_BEGUN, True)
        self._asked[asked.number] = asked
        return Trial(asked.number, dict(asked.params))

    def report(self, trial: Trial, mark: int, average_precision: float) -> bool:
        asked = self._running(trial)
        asked.report(average_precision, mark)
        return asked.should_prune()

    def end(self, trial: Trial) -> None:
        asked = self._running(trial)
        asked.set_user_attr(_MINUTES, trial.minutes)
        asked.set_user_attr(_REASON, trial.reason)
        state = next(state for state, name in _STATES.items() if name == trial.state)
        # Of a pruned trial Optuna takes the last AP that was reported.
        self._study.tell(trial.number, trial.average_precision if trial.state == "done" else None, state=state)

    def _running(self, trial: Trial) -> optuna.trial.Trial:
        """Of this process, or of an earlier one."""
        if trial.number not in self._asked:
            number = self._study.get_trials(deepcopy=False)[trial.number]._trial_id
            self._asked[trial.number] = optuna.trial.Trial(self._study, number)
        return self._asked[trial.number]


class _Journal(BaseJournalBackend):
    """The journal of Optuna, of the same form as its own file, but replaced as a whole: killed at any moment, no line of it is half.

    One process at a time writes it, which the lock of the study's folder sees to.
    """

    def __init__(self, file: Path):
        self._file = file
        self._lines: list[str] = []
        if file.exists():
            try:
                self._lines = file.read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError):
                raise UserError(f"{file}: is damaged; choose another --work-dir") from None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        for line in self._lines[log_number_from:]:  # parsed anew each time: Optuna keeps and changes what it gets
            yield parse_json(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._lines += map(json_text, logs)
        write_text(self._file, "".join(f"{line}\n" for line in self._lines))


def _trial(one: FrozenTrial) -> Trial:
    return Trial(
        one.number,
        dict(one.params),
        _STATES.get(one.state, "running"),
        one.value if one.state is TrialState.COMPLETE else max(one.intermediate_values.values(), default=None),
        one.user_attrs.get(_MINUTES, 0.0),
        one.user_attrs.get(_REASON, ""),
        tuple(one.intermediate_values),
    )
