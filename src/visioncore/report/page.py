"""The page about one twin: its sections, one after the other, in one file."""

from collections.abc import Sequence
from pathlib import Path

from visioncore.data.store import RecordingStore
from visioncore.evaluation import EvaluationResult, check_fit
from visioncore.files import write_text
from visioncore.model import Ensemble, Twin
from visioncore.predictor import Predictor
from visioncore.report.environment import page_environment
from visioncore.report.sections import SECTIONS, MakeSection, Shown
from visioncore.run_folder import RunFolder


def write_report(
    twin: Predictor,
    store: RecordingStore,
    result: EvaluationResult,
    run_dir: Path,
    *,
    path: Path | None = None,
    sections: Sequence[MakeSection] = SECTIONS,
) -> Path:
    """Write the page about `result` to `path`, or to RUN/report.html: complete or not at all.

    The page needs no network and no other file. The run folder gives training curves, the experiment, an audit of
    this very twin and the record of test evaluations, where it has them. Shown are the sessions
    that twin and store share.

    Args:
        sections: what stands on the page, in this order.

    Raises:
        DataError: the store is not like the data the twin was made for, or a file of the run folder is damaged.
        CheckpointError: the twin lacks sessions or units of the store.
    """
    shown = Shown.of(twin, check_fit(twin, store), result, run_dir)
    made = [section for make in sections if (section := make(shown)) is not None]
    page = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            title=run_dir.resolve().name,
            shown=shown,
            subjects={session.subject for session in shown.store.sessions.values()},
            n_parameters=_n_parameters(twin),
            sections=made,
        )
    )
    target = path or RunFolder(run_dir).report
    write_text(target, page)
    return target


def _n_parameters(twin: Predictor) -> int | None:
    twins = twin.members if isinstance(twin, Ensemble) else (twin,)
    known = [sum(p.numel() for p in one.parameters()) for one in twins if isinstance(one, Twin)]
    return sum(known) if known else None
