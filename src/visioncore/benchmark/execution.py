"""Carries a suite out, run by run, in processes of their own; what was begun is gone on with.

A run is finished when its record says so and its folder holds an evaluation of its twin. A record is written before the
training starts, so that an entry of the suite that has changed since is noticed and refused.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Literal

from visioncore.benchmark.commands import command, only_here
from visioncore.benchmark.suite import PlannedRun, RunSettings
from visioncore.checkpoint import load_twin
from visioncore.comparison import ScoredRun, compare, read_run
from visioncore.config import Record, differing_keys
from visioncore.data import prepare
from visioncore.errors import CheckpointError, ConfigError
from visioncore.evaluation import load_evaluation
from visioncore.files import write_record
from visioncore.report import write_comparison
from visioncore.run_folder import RunFolder
from visioncore.training.identity import identity
from visioncore.training.plan import read_plan

State = Literal["waiting", "begun", "training", "evaluating", "finished", "failed"]


class RunRecord(Record):
    """RUN.json beside a run folder."""

    settings: RunSettings
    wall_s: float
    """Time that the benchmark has spent on the run, start-up and evaluation included."""
    finished: bool


@dataclass(frozen=True)
class RunProgress:
    """How far a run is."""

    state: State
    fraction: float
    """Of the training's steps."""
    remaining_s: float | None
    """Expected; None where nothing is known to go by."""


Watch = Callable[[PlannedRun, RunProgress], None]


class Benchmark:
    """The runs of a suite under one output folder.

    Raises:
        ConfigError: a run that was begun has another entry in the suite now.
    """

    def __init__(
        self, planned: Sequence[PlannedRun], reference: str | None, *, common_units: bool = False
    ) -> None:
        self.planned, self.reference, self._common_units = list(planned), reference, common_units
        for run in self.planned:
            _require_same_settings(run)
        self._scored: dict[Path, ScoredRun] = {}

    def progress(self, run: PlannedRun) -> RunProgress:
        """How far a run is that is not being worked on."""
        if self.is_finished(run):
            return RunProgress("finished", 1.0, 0.0)
        fraction, expected = _trained(run.folder), self._expected_s(run)
        remaining = None if expected is None else expected * (1 - fraction)
        return RunProgress("begun" if run.record.exists() else "waiting", fraction, remaining)

    def is_finished(self, run: PlannedRun) -> bool:
        """Whether the run was trained to its end, and scored as it now stands."""
        if run.folder in self._scored:
            return True
        record = _read_record(run)
        if record is None or not record.finished:
            return False
        try:
            twin = load_twin(run.folder)
        except CheckpointError:
            return False
        store = prepare(run.experiment.data, run.experiment.data_dir)
        found = load_evaluation(RunFolder(run.folder).evaluation(run.split), twin, store)
        return found is not None and bool(found.sums)

    def execute(self, chosen: Sequence[PlannedRun], watch: Watch) -> list[PlannedRun]:
        """Train and score what is not finished of `chosen`; returns the runs that failed.

        After each run the comparison of its recording is written anew, from all runs that are finished.
        """
        failed = []
        finished = [run for run in self.planned if self.is_finished(run)]
        for data in dict.fromkeys(run.data for run in finished):
            self._compare([run for run in finished if run.data == data])
        for run in chosen:
            if run in finished:
                continue
            if not self._carry_out(run, watch):
                failed.append(run)
                continue
            finished.append(run)
            self._compare([other for other in self.planned if other in finished and other.data == run.data])
        return failed

    def _carry_out(self, run: PlannedRun, watch: Watch) -> bool:
        with only_here(run.log, run.name) as log:
            record = _read_record(run) or RunRecord(settings=run.settings(), wall_s=0.0, finished=False)
            write_record(run.record, record.to_json())
            started, trained = time.monotonic(), _trained(run.folder)

            def tell(state: State) -> None:
                watch(run, self._now(run, state, time.monotonic() - started, trained))

            sound = False
            try:
                sound = command(["train", *run.train_arguments], log, lambda: tell("training"))
                sound = sound and command(
                    ["evaluate", str(run.folder), "--split", run.split], log, lambda: tell("evaluating")
                )
            finally:
                spent_s = record.wall_s + time.monotonic() - started
                after = record.model_copy(update={"wall_s": spent_s, "finished": sound})
                write_record(run.record, after.to_json())
            watch(run, RunProgress("finished" if sound else "failed", _trained(run.folder), 0.0))
            return sound

    def _now(self, run: PlannedRun, state: State, elapsed_s: float, trained_before: float) -> RunProgress:
        """By this start's own speed once it is known, by what such runs have taken before that."""
        fraction = _trained(run.folder)
        done = fraction - trained_before
        if done > 0:
            return RunProgress(state, fraction, elapsed_s * (1 - fraction) / done)
        expected = self._expected_s(run)
        remaining = None if expected is None else max(expected * (1 - fraction) - elapsed_s, 0.0)
        return RunProgress(state, fraction, remaining)

    def _expected_s(self, run: PlannedRun) -> float | None:
        if run.minutes is not None and run.steps is None:
            return 60 * run.minutes
        alike = [other for other in self.planned if (other.data, other.model) == (run.data, run.model)]
        records = [record for other in alike if (record := _read_record(other)) and record.finished]
        if records:
            return mean(record.wall_s for record in records)
        # What the steps took where they were measured.
        return None if run.minutes is None else 60 * run.minutes

    def _compare(self, runs: Sequence[PlannedRun]) -> None:
        for run in runs:
            if run.folder not in self._scored:
                self._scored[run.folder] = read_run(run.model, run.folder, run.split)
        scored = [self._scored[run.folder] for run in runs]
        names = {run.model for run in scored}
        reference = self.reference if self.reference in names else None
        out = runs[0].folder.parents[1]
        compared = compare(scored, reference, common_units=self._common_units)
        write_comparison(compared, out, title=f"Benchmark on {runs[0].data}")


def last_words(run: PlannedRun) -> str:
    """The last line that a run printed: of one that failed, why."""
    lines = run.log.read_text(encoding="utf-8", errors="replace").split("\n") if run.log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def _trained(run_dir: Path) -> float:
    """The share of its planned steps that a run has taken, as far as its folder tells."""
    folder = RunFolder(run_dir)
    plan, (steps, _) = read_plan(folder.plan), folder.training_so_far()
    return 0.0 if plan is None or steps is None else min(steps / plan.max_steps, 1.0)


def _read_record(run: PlannedRun) -> RunRecord | None:
    if not run.record.exists():
        return None
    try:
        return RunRecord.from_json(json.loads(run.record.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CheckpointError(
            f"{run.record}: is damaged ({error}); delete it together with {run.folder}, and train again"
        ) from None


def _require_same_settings(run: PlannedRun) -> None:
    record = _read_record(run)
    if record is None:
        return
    recorded, now = (
        {**settings.to_json(), "experiment": identity(settings.experiment).to_json()}
        for settings in (record.settings, run.settings())
    )
    if different := sorted(differing_keys(recorded, now)):
        raise ConfigError(
            f"{run.name} was begun with other settings (different: {', '.join(different[:5])}); choose another --out, "
            f"bring the old settings back, or delete {run.folder} and {run.record} to train it anew"
        )
