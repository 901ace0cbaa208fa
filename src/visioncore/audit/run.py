"""The audit: one pass over the video for leaks, a few over the test split for controls."""

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress

import visioncore
from visioncore.audit.constants import constants_from_train, train_share, training_data, whole_counts
from visioncore.audit.controls import ROLES, Predictions, SessionControls, audited_blocks
from visioncore.audit.findings import AUDIT_VERSION, AuditResult, AuditSettings, Finding
from visioncore.audit.leaks import context, exact_duplicates, near_duplicates, repeats_astride
from visioncore.audit.lines import Line, LineScores, told
from visioncore.audit.scan import scan
from visioncore.audit.verdicts import about_controls
from visioncore.data.store import RecordingStore
from visioncore.errors import DataError
from visioncore.evaluation import check_fit
from visioncore.evaluation.population import exclusion_reasons
from visioncore.evaluation.scoring import STRETCH_S
from visioncore.predictor import Predictor


def audit(
    twin: Predictor,
    store: RecordingStore,
    *,
    seed: int = 0,
    progress: bool = True,
) -> AuditResult:
    """Look for leaks between the splits of `store`, and run the negative controls of `twin` on its test split.

    Raises:
        DataError: the store is not like the data the twin was made for, or has no test bin.
        CheckpointError: the twin lacks sessions or units of the store, or predicts NaN.
    """
    whole, store = store, check_fit(twin, store)
    tested = sum(len(audited_blocks(store, session)) for session in store.sessions.values())
    if not tested:
        raise DataError(
            f"{store.path}: the test split has no bin after burn-in, so there is nothing to audit"
        )
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
        findings = leak_findings(twin, store, bar, whole)
        controls = bar.add_task("Audit: controls", total=len(store.sessions) * len(ROLES))
        lines = control_lines(twin, store, seed, lambda: bar.advance(controls))
    findings += about_controls(lines)
    settings = AuditSettings(
        audit_version=AUDIT_VERSION,
        visioncore=visioncore.__version__,
        twin_digest=twin.digest,
        data_fingerprint=store.fingerprint,
        seed=seed,
        audited_test_blocks=tested,
        test_blocks=sum(len(session.blocks_in("test")) for session in store.sessions.values()),
        response_kind=store.spec.response_kind,
        bin_ms=None if store.spec.sampling.rate_hz is None else 1000 / store.spec.rate_hz,
    )
    return AuditResult(settings=settings, findings=tuple(findings), controls=told(lines))


def leak_findings(
    twin: Predictor, store: RecordingStore, bar: Progress, whole: RecordingStore | None = None
) -> list[Finding]:
    """What the data and the twin's file show by themselves.

    Args:
        whole: the recording with the sessions that the twin does not know; `store` where there are none.
    """
    reading = bar.add_task("Audit: reading all video", total=sum(s.n_bins for s in store.sessions.values()))
    comparing = bar.add_task("Audit: comparing frames", total=3)
    found = scan(store, lambda n: bar.advance(reading, n), train_share(twin))
    return [
        exact_duplicates(found),
        near_duplicates(found, lambda n: bar.advance(comparing, n)),
        repeats_astride(found),
        context(store, twin),
        constants_from_train(store, twin, found),
        training_data(whole or store, twin),
        whole_counts(store),
    ]


def control_lines(
    twin: Predictor, store: RecordingStore, seed: int = 0, advance: Callable[[], None] = lambda: None
) -> dict[str, Line]:
    """Score every prediction of `ROLES` that can be made in every session, on the same bins and units."""
    counts = store.spec.response_kind == "counts"
    gathered = {name: LineScores(name, counts) for name in ROLES}
    stretch_bins = max(round(STRETCH_S * store.spec.bins_per_s), 1)
    for session in store.sessions.values():
        if not audited_blocks(store, session):
            continue
        own = SessionControls(twin, store, session, seed)
        for name, predictions in _each(own):
            if predictions is None:
                gathered.pop(name, None)
            elif name in gathered:
                gathered[name].add(own.blocks, predictions, session.train_mean, stretch_bins)
            advance()
    units = [exclusion_reasons(sums, counts) == "" for sums in gathered["intact"].raw]
    return {name: scores.line(units) for name, scores in gathered.items()}


def _each(own: SessionControls) -> Iterator[tuple[str, Predictions | None]]:
    """One session's predictions under the names of `ROLES`, one at a time: each is as large as the recording."""
    intact = own.intact()
    yield "intact", intact
    yield "behaviour only", own.behaviour_only()
    yield "time since onset", own.onset()
    yield "shared by all units", own.shared(intact)
    yield "video shifted", own.shifted()
    yield "trials shuffled", own.shuffled(intact)
    yield "other readout", own.other_readout(intact)
    yield "pixels scrambled", own.scrambled()
    yield "no input", own.no_input()
