"""A section of the report, and what every section is made from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from visioncore.audit import AuditResult, load_audit
from visioncore.data.store import RecordingStore
from visioncore.errors import DataError
from visioncore.evaluation import (
    EvaluationResult,
    Metric,
    TestEvaluations,
    UnitRow,
    read_test_evaluations,
)
from visioncore.model import Ensemble
from visioncore.predictor import Predictor
from visioncore.provenance import Epoch
from visioncore.recording import Split
from visioncore.report.environment import page_environment
from visioncore.report.figures import CURVES
from visioncore.run_folder import RunFolder

SCORE_LABELS: dict[Metric, str] = {"bits_per_spike": "bits/spike", "correlation": "correlation"}


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    """Its heading; empty for none."""
    html: str
    """Taken as it is: whoever makes it escapes what comes from data, as `rendered` does."""
    anchor: str = ""
    """The id that links lead to."""
    css_class: str = ""


@dataclass(frozen=True)
class Shown:
    """What a report is about, and what its run folder tells."""

    twin: Predictor
    store: RecordingStore
    """The sessions that the twin knows."""
    result: EvaluationResult
    run_dir: Path
    scored: tuple[UnitRow, ...]
    """The units that count, best first."""
    history: tuple[Epoch, ...]
    """Empty where the folder holds none."""
    audit: AuditResult | None
    """Of this very twin."""
    evaluations: TestEvaluations

    @classmethod
    def of(cls, twin: Predictor, store: RecordingStore, result: EvaluationResult, run_dir: Path) -> Self:
        """Reads what the run folder holds.

        Raises:
            DataError: its history, or its record of test evaluations, is damaged.
        """
        metric = result.settings.selection_metric
        scored = [row for row in result.units if row.excluded_reason is None]
        return cls(
            twin=twin,
            store=store,
            result=result,
            run_dir=run_dir,
            scored=tuple(sorted(scored, key=lambda row: row.score(metric) or 0.0, reverse=True)),
            history=read_history(RunFolder(run_dir)),
            audit=load_audit(RunFolder(run_dir).audit, twin, store),
            evaluations=read_test_evaluations(run_dir),
        )

    @property
    def is_ensemble(self) -> bool:
        """Whether several twins predict as one."""
        return isinstance(self.twin, Ensemble)

    @property
    def split(self) -> Split:
        """The split that was scored."""
        return self.result.settings.split

    @property
    def metric(self) -> Metric:
        """The score by which models are chosen."""
        return self.result.settings.selection_metric

    @property
    def score_label(self) -> str:
        """`metric`, as people read it."""
        return SCORE_LABELS[self.metric]


MakeSection = Callable[[Shown], Section | None]
"""Makes a section; None where there is nothing to show."""


def rendered(template: str, shown: Shown, **content: Any) -> str:
    """The HTML of `templates/sections/TEMPLATE.html.j2`, which is given `shown` and this content by name."""
    return (
        page_environment()
        .get_template(f"sections/{template}.html.j2")
        .render(shown=shown, **content)
        .rstrip()
    )


def read_history(folder: RunFolder) -> tuple[Epoch, ...]:
    """The epochs of a training; none where there is no such file.

    Raises:
        DataError: the file is damaged, or lacks what the curves are drawn from.
    """
    epochs = folder.history()
    if missing := {key for epoch in epochs for key in CURVES if key not in epoch.model_fields_set}:
        raise DataError(
            f"{folder.metrics}: is no history of a training (no value of {', '.join(sorted(missing))}); expected "
            f"numbers under {', '.join(CURVES)}. Delete it, or train again"
        )
    return epochs
