"""One trial carried out: trained in a process of its own, watched, stopped early, judged on the validation split."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from visioncore.benchmark.commands import POLL_S, command, only_here
from visioncore.errors import ConfigError, DataError, VisionCoreError
from visioncore.evaluation import EvaluationResult
from visioncore.run_folder import RunFolder
from visioncore.search.space import SearchConfig, files_of, overrides_of
from visioncore.search.study import Work
from visioncore.training.plan import read_plan

TENTHS = 10


class _StopEarly(Exception):
    """The trial is not worth going on with."""


class _Failed(Exception):
    """The trial came to nothing; the message says why."""


@dataclass(frozen=True)
class Watched:
    """How far a trial is."""

    number: int
    fraction: float
    score: float | None
    """The best validation score so far."""


def carry_out(
    work: Work, config: SearchConfig, base: Path, out: Path, watch: Callable[[Watched], None], *, early: bool
) -> None:
    """Train and judge a trial. Whatever goes wrong with it is told of it, and nothing is raised; but a user's Ctrl-C
    leaves the trial to be gone on with.

    Args:
        early: whether it may be stopped early.
    """
    folder = trial_folder(out, work)
    log = folder.with_name(f"{folder.name}.log")
    try:
        with _when_free(log, work) as opened:
            _train(work, config, base, folder, opened, watch, early=early)
            if config.objective == "held_out_units":
                _judge(work, config, folder, opened)
        work.finish(_objective(config, folder))
    except _StopEarly:
        work.stop()
    except _Failed:
        work.fail(last_words(log))
    except (VisionCoreError, OSError) as error:
        work.fail(str(error))
    except BaseException:
        work.abandon()
        raise


@contextlib.contextmanager
def _when_free(log: Path, work: Work) -> Iterator[IO[bytes]]:
    """The log, once the training that a killed worker may have left is at its end: it is then gone on with."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                opened = stack.enter_context(only_here(log, f"trial {work.number}"))
                break
            except ConfigError:
                work.still_alive()
                time.sleep(POLL_S)
        yield opened


def _train(
    work: Work,
    config: SearchConfig,
    base: Path,
    folder: Path,
    log: IO[bytes],
    watch: Callable[[Watched], None],
    *,
    early: bool,
) -> None:
    model, data, training = files_of(config, base)
    arguments = ["train", "--model", str(model), "--data", str(data), "--out", str(folder)]
    arguments += [] if training is None else ["--training", str(training)]
    for override in overrides_of(config, work.chosen, work.seed):
        arguments += ["--set", override]
    if config.minutes_per_trial is not None:
        arguments += ["--max-minutes", repr(config.minutes_per_trial)]
    reported: set[int] = set()

    def tick() -> None:
        work.still_alive()
        now = _progress(folder)
        watch(Watched(work.number, now.fraction, now.best))
        for tenth in sorted(now.curve.keys() - reported):
            reported.add(tenth)
            if work.report(tenth, now.curve[tenth]) and early and now.fraction < 1:
                raise _StopEarly

    if not command(arguments, log, tick):
        raise _Failed
    tick()


def _judge(work: Work, config: SearchConfig, folder: Path, log: IO[bytes]) -> None:
    scores = _scores_of_held_out(folder)
    arguments = ["evaluate", str(folder), "--held-out-units", "--split", "validation", "--json", str(scores)]
    if config.minutes_per_trial is not None:
        arguments += ["--max-minutes", repr(max(config.minutes_per_trial / 4, 0.1))]
    if not command(arguments, log, work.still_alive):
        raise _Failed


def _scores_of_held_out(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_held_out.json")


def trial_folder(out: Path, work: Work) -> Path:
    """The run folder of a trial, or that of the one that it goes on with."""
    kind = "trials" if work.seed is None else "confirmed"
    return out / kind / f"{work.folder:04d}"


def _objective(config: SearchConfig, folder: Path) -> float:
    if config.objective == "validation":
        scores = [epoch.validation_score for epoch in RunFolder(folder).history()]
        known = [score for score in scores if score == score]
        if not known:
            raise DataError(f"{folder}: no validation score is defined (no spikes in the validation data?)")
        return max(known)
    written = _scores_of_held_out(folder)
    result = EvaluationResult.from_json(json.loads(written.read_text(encoding="utf-8")))
    metric = result.settings.selection_metric
    mean = (
        result.overall.bits_per_spike.mean if metric == "bits_per_spike" else result.overall.correlation.mean
    )
    if mean is None:
        raise DataError(f"{written}: has no {metric} of held-out units")
    return mean


@dataclass(frozen=True)
class _Progress:
    fraction: float
    best: float | None
    curve: dict[int, float]
    """The best validation score within each tenth of the length that is over."""


def _progress(run: Path) -> _Progress:
    folder = RunFolder(run)
    plan = read_plan(folder.plan)
    epochs = folder.history()
    if plan is None or not epochs:
        return _Progress(0.0, None, {})
    curve: dict[int, float] = {}
    best: float | None = None
    for epoch in epochs:
        if epoch.validation_score == epoch.validation_score:
            best = max(epoch.validation_score, -float("inf") if best is None else best)
        tenth = min(int(TENTHS * epoch.step / plan.max_steps), TENTHS)
        if best is not None and tenth:
            curve[tenth] = best
    return _Progress(min(epochs[-1].step / plan.max_steps, 1.0), best, curve)


def last_words(log: Path) -> str:
    """The last line that a trial printed; of one that said nothing of an error, that it was killed."""
    lines = [
        line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()
    ]
    error = next((line for line in reversed(lines) if line.startswith("error")), None)
    if error is None and any(line.startswith("Traceback") for line in lines):
        error = lines[-1]
    return error or f"it was ended without a word, as when memory runs out (all it printed: {log})"
