"""The run folder: what stands where in it, how its history is read, and which experiment claims it.

RUN/experiment.yaml         every setting, resolved, and where the data's relative paths start
RUN/plan.json               how many steps the run takes
RUN/twin.safetensors        the best twin by validation so far
RUN/last.ckpt               where to resume
RUN/logs/                   metrics.csv (the history), and what loggers write
RUN/evaluation_SPLIT.json   the scores on a split, and the sums they are made of as .npz
RUN/matched_units.csv       scores of units that were recorded before, beside those of then
RUN/audit.json              what the audit found
RUN/test_evaluations.json   how often the test split was looked at
RUN/report.html             the page
RUN/analysis/               what `look` and `tune` found
RUN/held_out_units/         a run folder: heads for units that were held out from the training
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visioncore.config import dump_yaml, read_yaml
from visioncore.errors import ConfigError, DataError
from visioncore.files import write_csv, write_text
from visioncore.provenance import ClaimedExperiment, Epoch

EXPERIMENT, PLAN, TWIN, LAST = "experiment.yaml", "plan.json", "twin.safetensors", "last.ckpt"
SEED_FOLDER = re.compile(r"seed-\d+")
"""A folder that is one seed of the model that the folder around it is named after."""


@dataclass(frozen=True)
class RunFolder:
    """A folder that `train` makes; whether it is there, and what of it, is for the reader to see."""

    path: Path

    @classmethod
    def of(cls, run_or_twin: Path) -> "RunFolder":
        """The run folder that is meant by a folder, or by a file in it."""
        return cls(run_or_twin if run_or_twin.is_dir() else run_or_twin.parent)

    @property
    def experiment(self) -> Path:
        """Every setting, resolved."""
        return self.path / EXPERIMENT

    @property
    def plan(self) -> Path:
        """How many steps the run takes."""
        return self.path / PLAN

    @property
    def twin(self) -> Path:
        """The best twin so far."""
        return self.path / TWIN

    @property
    def last(self) -> Path:
        """Where to resume."""
        return self.path / LAST

    @property
    def logs(self) -> Path:
        """The folder of the history and of loggers."""
        return self.path / "logs"

    @property
    def metrics(self) -> Path:
        """The history: a row per epoch."""
        return self.logs / "metrics.csv"

    def evaluation(self, split: str) -> Path:
        """The scores on a split; the sums they are made of stand beside them as .npz."""
        return self.path / f"evaluation_{split}.json"

    @property
    def audit(self) -> Path:
        """What the audit found."""
        return self.path / "audit.json"

    @property
    def test_evaluations(self) -> Path:
        """How often the test split was looked at."""
        return self.path / "test_evaluations.json"

    @property
    def matched_units(self) -> Path:
        """Scores of units that were recorded before, beside those of then."""
        return self.path / "matched_units.csv"

    @property
    def held_out_units(self) -> Path:
        """The run folder of heads for the units that were held out from this run's training."""
        return self.path / "held_out_units"

    @property
    def report(self) -> Path:
        """The page about the twin."""
        return self.path / "report.html"

    @property
    def analysis(self) -> Path:
        """The folder of what `look` and `tune` found."""
        return self.path / "analysis"

    @property
    def model_name(self) -> str:
        """What a run is called unless the user says otherwise: its folder, or the one around a folder `seed-N`."""
        folder = self.path.resolve()
        return folder.parent.name if SEED_FOLDER.fullmatch(folder.name) else folder.name

    def require(self) -> None:
        """Refuse a folder that is not there.

        Raises:
            ConfigError: it is not.
        """
        if not self.path.is_dir():
            raise ConfigError(f"{self.path}: no such run folder")

    # --- The history ----------------------------------------------------------------------------------------------

    def history(self) -> tuple[Epoch, ...]:
        """How the training stood after each epoch; none where nothing was written yet.

        Raises:
            DataError: the file is damaged, or is no such table.
        """
        path = self.metrics
        if not path.exists():
            return ()
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file, strict=True))
            if any(None in row for row in rows):
                raise ValueError("a row has more fields than the header")
            return tuple(Epoch.from_row(row) for row in rows)
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise DataError(
                f"{path}: is no history of a training ({type(error).__name__}: {error}); expected a row of numbers for "
                "each epoch. Delete it, or train again"
            ) from None

    def write_history(self, epochs: Sequence[Epoch]) -> None:
        """Write the whole history anew; there is at least one epoch."""
        write_csv(self.metrics, [epoch.to_json() for epoch in epochs])

    def training_so_far(self) -> tuple[int | None, float | None]:
        """Optimiser steps and seconds, as the last row of the history has them."""
        epochs = self.history()
        return (epochs[-1].step, epochs[-1].seconds) if epochs else (None, None)

    # --- The experiment that claims it ----------------------------------------------------------------------------

    def claimed_by(self) -> ClaimedExperiment | None:
        """The experiment that the folder was made for; None where none stands in it.

        Raises:
            ConfigError: the record is damaged.
        """
        if not self.experiment.exists():
            return None
        raw = read_yaml(self.experiment)
        try:
            return ClaimedExperiment.from_json(raw)
        except ConfigError as error:
            raise ConfigError(
                f"{self.experiment}: is no experiment that 'train' recorded ({error})"
            ) from None

    def require_free(self) -> None:
        """Refuse a folder that holds something else than a run.

        Raises:
            ConfigError: it does.
        """
        # Another process of the same run may have made the folder, and be about to record the experiment.
        ours = f".{EXPERIMENT}."
        foreign = self.path.exists() and any(not p.name.startswith(ours) for p in self.path.iterdir())
        if foreign and not self.experiment.exists():
            raise ConfigError(f"{self.path} exists and is no run folder of ours; choose another --out")

    def claim(self, experiment: ClaimedExperiment) -> ClaimedExperiment:
        """The experiment that the folder was made for, which is `experiment` where it is made here and now.

        Raises:
            ConfigError: there is such a folder, and it is no run folder; or the record in it is damaged.
        """
        self.require_free()
        if not self.experiment.exists():
            write_text(self.experiment, dump_yaml(experiment.to_json()))
        return self.claimed_by() or experiment
