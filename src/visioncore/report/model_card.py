"""The card of a twin on the hub: what it is of, what it is worth, and what it must not be used for.

It says what stands in the twin and in its run folder, and what the user states. Of all else it says "not stated".
"""

import json
from collections.abc import Iterable
from pathlib import Path

from visioncore.audit.findings import AuditResult
from visioncore.config import AsWritten, Config, dump_yaml
from visioncore.errors import DataError
from visioncore.evaluation.record import read_test_evaluations
from visioncore.evaluation.records import Interval, ScoredSection
from visioncore.evaluation.result import EvaluationResult
from visioncore.model import Ensemble, Twin
from visioncore.run_folder import RunFolder

NOT_STATED = "not stated"
_MOST_ROWS = 40
_AREAS = ("area", "brain_area", "brain_region")
"""Columns of units that name where they are."""


class Stated(Config):
    """What the user says of a twin, since no file of it does."""

    species: str | None = None
    area: str | None = None
    """Where units have a column of it, that is taken."""
    task: str | None = None
    """What the animal did and saw."""
    licence: str | None = None
    """Of the weights, as the hub spells it, such as cc-by-4.0."""
    data_licence: str | None = None
    not_for: tuple[str, ...] = ()
    """Uses that are ruled out, beside those that are of any twin."""


def model_card(twin: Twin | Ensemble, run: Path, stated: Stated, repo: str) -> str:
    """README.md for the hub: YAML front matter, and the card as Markdown.

    Args:
        run: a run folder (or a twin's file), whose evaluation, audit and count of test evaluations are told where they
            are of this very twin.
        repo: owner/name.

    Raises:
        DataError: a record in the run folder is damaged.
    """
    front: AsWritten = {"library_name": "visioncore", "tags": ["visioncore", "digital-twin", "neuroscience"]}
    if stated.licence is not None:
        front["license"] = stated.licence
    parts = (
        _what(twin, stated),
        _scores(twin, RunFolder.of(run)),
        _use(twin, repo),
        _limits(twin, stated),
        _origin(twin),
    )
    return f"---\n{dump_yaml(front)}---\n\n" + "\n".join(
        [f"# {repo}\n", *(line for part in parts for line in part)]
    )


def _what(twin: Twin | Ensemble, stated: Stated) -> list[str]:
    spec = twin.spec
    sampling = spec.sampling
    subjects = dict.fromkeys(own.subject for own in spec.sessions)
    rate = "static images" if sampling.rate_hz is None else f"{sampling.rate_hz:g} Hz"
    kinds = {"counts": "spike counts", "trace": "traces"}
    n_units = sum(len(own.unit_ids) for own in spec.sessions)
    kept = (
        f"An ensemble of {len(twin.members)} digital twins"
        if isinstance(twin, Ensemble)
        else "A digital twin"
    )
    rows = {
        "Species": stated.species or NOT_STATED,
        "Area": stated.area or _areas(twin) or NOT_STATED,
        "Task": stated.task or NOT_STATED,
        "Licence of the data": stated.data_licence or NOT_STATED,
        "Licence of the weights": stated.licence or NOT_STATED,
        "Subjects": f"{len(subjects)}: {_listed(subjects)}",
        "Sessions": f"{len(spec.sessions)}: {_listed(own.id for own in spec.sessions)}",
        "Units": f"{n_units}, recorded as "
        + " and ".join(sorted({kinds[own.response_kind] for own in spec.sessions})),
        "Stimulus": f"{sampling.channels} x {sampling.height} x {sampling.width} pixels, {rate}",
        "Behaviour it needs": _listed(spec.behaviour_names) if twin.uses_behaviour else "none",
        "Format of the recordings": _formats(twin) or NOT_STATED,
    }
    return [
        f"{kept} of visual neurons: from video{' and behaviour' if twin.uses_behaviour else ''} it predicts the "
        "response of each recorded unit, bin by bin.\n",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in rows.items()),
        "",
    ]


def _areas(twin: Twin | Ensemble) -> str:
    """What is measured of units; in simulated recordings nothing is."""
    found = {
        str(value)
        for own in twin.spec.sessions
        for name in _AREAS
        for value in own.units.get(name, ())
        if value is not None
    }
    return _listed(sorted(found))


def _formats(twin: Twin | Ensemble) -> str:
    made = _first(twin).provenance.experiment
    if made is None:
        return ""
    data = made.data.to_json()
    sources = data.get("recordings") or [data]
    return _listed(dict.fromkeys(str(own.get("source", own).get("type", "")) for own in sources))


def _scores(twin: Twin | Ensemble, folder: RunFolder) -> list[str]:
    result = _evaluation(folder, twin.digest)
    if result is None:
        return [
            "## Scores\n",
            f"How well it predicts is {NOT_STATED}: no evaluation of this very twin stands in its run folder.\n",
        ]
    settings = result.settings
    named = {"All units": result.overall}
    if 1 < len(result.by_subject) < len(result.sessions):
        named |= {f"Subject {k}": v for k, v in result.by_subject.items()}
    if 1 < len(result.sessions) <= _MOST_ROWS:
        named |= {f"Session {k}": v for k, v in result.sessions.items()}
    bins = "single images" if settings.bin_ms is None else f"bins of {settings.bin_ms:.3g} ms"
    seen = {True: "the recording that it was trained on", False: "another recording", None: "a recording"}
    lines = [
        "## Scores\n",
        "| | bits/spike | of ceiling | correlation | units |"
        if settings.counts
        else "| | correlation | units |",
        "|---|---|---|---|---|" if settings.counts else "|---|---|---|",
        *(_row(name, section, settings.counts) for name, section in named.items()),
        "",
        f"On the {settings.split} split of {seen[settings.trained_on_these_data]}, in {bins}, means over units with "
        f"95 % intervals; the first {settings.burn_in_s:g} s of every block are left out. The null, which scores 0: "
        f"{settings.null}. Behaviour: {settings.behaviour}.\n",
    ]
    looks = read_test_evaluations(folder.path)
    if looks.entries:
        lines.append(f"{str(looks).capitalize()}.\n")
    audit = _audit(folder, twin.digest)
    if audit is None:
        return [*lines, "No audit for leaks between splits stands beside it.\n"]
    found = "passed" if audit.passed else "**failed**: there are reasons not to believe the scores"
    return [
        *lines,
        f"The audit for leaks between splits {found}.\n",
        *(f"- {finding.sentence}" for finding in audit.findings if finding.level in ("warn", "fail")),
        "",
    ]


def _row(name: str, section: ScoredSection, counts: bool) -> str:
    correlation = _number(section.correlation.mean, section.correlation.ci95)
    if not counts:
        return f"| {_cell(name)} | {correlation} | {section.n_units} |"
    bits = _number(section.bits_per_spike.mean, section.bits_per_spike.ci95)
    share = "" if section.fraction_of_ceiling is None else f"{section.fraction_of_ceiling:.1%}"
    return f"| {_cell(name)} | {bits} | {share} | {correlation} | {section.n_units} |"


def _number(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" + ("" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})")


def _evaluation(folder: RunFolder, digest: str) -> EvaluationResult | None:
    path = folder.evaluation("test")
    if not path.exists():
        return None
    try:
        result = EvaluationResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, DataError) as error:
        raise DataError(f"{path}: {error}") from None
    return result if result.settings.twin_digest == digest else None


def _audit(folder: RunFolder, digest: str) -> AuditResult | None:
    if not folder.audit.exists():
        return None
    try:
        result = AuditResult.from_json(json.loads(folder.audit.read_text(encoding="utf-8")))
    except (ValueError, DataError) as error:
        raise DataError(f"{folder.audit}: {error}") from None
    return result if result.settings.twin_digest == digest else None


def _use(twin: Twin | Ensemble, repo: str) -> list[str]:
    load = "load_predictor" if isinstance(twin, Ensemble) else "load_twin"
    home = "visioncore.checkpoint" if isinstance(twin, Ensemble) else "visioncore"
    return [
        "## Use\n",
        "```python",
        f"from {home} import {load}",
        f'twin = {load}("hf://{repo}")  # pip install "visioncore[hub]"; add @REVISION to get these weights for ever',
        "```\n",
        "New units on its trunk: `visioncore transfer hf://" + repo + " --data NEW.yaml --out RUN`.\n",
    ]


def _limits(twin: Twin | Ensemble, stated: Stated) -> list[str]:
    ruled_out = (
        "It is a model of the units listed in it, in the animals listed above. Of other units, animals or species it "
        "says nothing before heads are fitted for them and scored.",
        "It must not be used in the place of an experiment: what it predicts for stimuli unlike those it was scored on "
        "(other statistics, sizes, rates, luminance) is a hypothesis.",
        "It must not be used for diagnosis, treatment or any other decision about patients.",
        "Its scores compare with those of other models only on the same units and bins.",
        *stated.not_for,
    )
    return ["## What it must not be used for\n", *(f"- {text}" for text in ruled_out), ""]


def _origin(twin: Twin | Ensemble) -> list[str]:
    first = _first(twin).provenance
    rows = {
        "Digest": twin.digest,
        "VisionCore": first.visioncore,
        "Commit of the code": first.commit,
        "Seed": first.seed,
        "Fingerprint of the data": first.data_fingerprint,
        "Trained on the trunk of": first.made_from,
        "... which is": None if first.origin is None else first.origin.hub,
    }
    return [
        "## Where it comes from\n",
        *(f"- {name}: `{value}`" for name, value in rows.items() if value is not None),
        "",
        "Every setting of its training stands in the header of `twin.safetensors`.\n",
    ]


def _first(twin: Twin | Ensemble) -> Twin:
    return twin.members[0] if isinstance(twin, Ensemble) else twin


def _listed(names: Iterable[str]) -> str:
    """All names, or the first of many."""
    every = list(names)
    return ", ".join(every[:12]) + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
