"""From the scores of the controls to findings: what must fall, how far, and what may be left."""

from visioncore.audit.findings import Finding, Level
from visioncore.audit.lines import Line, Score
from visioncore.audit.numbers import ControlNumbers, Fall, StimulusNumbers

TOLERATED_REST = 0.1
"""Of what the right stimulus adds, the share that a control may keep however sure that is: with enough data,
traces of luminance and contrast that no control removes become significant."""
CRITERIA = ("correlation", "recalibrated_bits_per_spike")
LABELS = {"correlation": "correlation", "recalibrated_bits_per_spike": "recalibrated bits/spike"}

SURVIVES: dict[str, tuple[str, ...]] = {
    "video shifted": ("behaviour only", "time since onset"),
    "trials shuffled": ("behaviour only", "time since onset"),
    "other readout": ("behaviour only", "time since onset", "shared by all units"),
    "pixels scrambled": ("behaviour only", "time since onset", "shared by all units"),
    "no input": ("time since onset",),
}
"""The levels that each control may keep: what it does not take away."""
NOT_RUN: dict[str, str] = {
    "video shifted": "Not run: in a session the test split shows one stimulus, too short or too even to be shifted.",
    "trials shuffled": "Not run: in a session the test split has no second stimulus.",
    "other readout": "Not run: there is no second unit to exchange the unit with.",
    "pixels scrambled": "Not run: in a session every frame is of one value all over: there is nothing to scramble.",
}
REMEDIES = {
    "video shifted": "the twin knows the responses by another way than the video; look for responses, or signals "
    "derived from them, in its inputs",
    "trials shuffled": "trials are alike in more than their onset: look for one stimulus under several ids",
    "other readout": "the score says little about single units; look for units recorded twice",
    "pixels scrambled": "the twin does not use where things are; look at its receptive fields",
    "no input": "without any input the rates follow a clock: the twin has memorised when responses occur",
}


def about_controls(lines: dict[str, Line]) -> list[Finding]:
    """Whether the stimulus matters at all, and whether every control falls to what it may keep."""
    intact = lines["intact"].scores
    skill = intact["correlation"].ci95
    if skill is None:
        sentence = (
            f"Too few blocks and units for an interval (correlation {intact['correlation'].mean:.3f} intact): the "
            "controls are listed, and not judged."
        )
        return [
            Finding(
                check="stimulus",
                level="note",
                sentence=sentence,
                numbers=StimulusNumbers(),
                remedy="audit with more test data",
            )
        ]
    if not skill[0] > 0:
        sentence = (
            f"The twin predicts nothing on the test split (correlation {_told(intact['correlation'])}): the controls "
            "have nothing to fall from."
        )
        return [
            Finding(
                check="stimulus",
                level="note",
                sentence=sentence,
                numbers=StimulusNumbers(),
                remedy="train the twin, or look at its curves",
            )
        ]
    first = _about_stimulus(lines)
    return [first, *(_about_control(lines, name) for name in SURVIVES if name in lines)] + [
        Finding(check=name, level="note", sentence=NOT_RUN[name], numbers=ControlNumbers())
        for name in SURVIVES
        if name not in lines
    ]


def _about_stimulus(lines: dict[str, Line]) -> Finding:
    adds = {name: _difference(lines, "intact", "behaviour only", name) for name in _criteria(lines)}
    numbers = StimulusNumbers(**{name: difference.estimate for name, difference in adds.items()})
    told = "; ".join(f"{LABELS[name]} {_told(difference)}" for name, difference in adds.items())
    if all(_surely_positive(difference) for difference in adds.values()):
        sentence = f"The stimulus matters: intact less behaviour only (mean grey), {told}."
        return Finding(check="stimulus", level="pass", sentence=sentence, numbers=numbers)
    sentence = f"The twin ignores the stimulus: on a grey screen it is no worse (intact less behaviour only, {told})."
    remedy = "its score is not about vision; look at receptive fields and training curves"
    return Finding(check="stimulus", level="fail", sentence=sentence, numbers=numbers, remedy=remedy)


def _about_control(lines: dict[str, Line], name: str) -> Finding:
    fall_of: dict[str, Fall] = {}
    told, above, falls = [], [], []
    for score in _criteria(lines):
        own, intact = lines[name].scores[score], lines["intact"].scores[score]
        kept = max(
            (lines[level] for level in SURVIVES[name] if level in lines),
            key=lambda line: line.scores[score].mean,
        )
        excess, fall = own.less(kept.scores[score]), intact.less(own)
        adds = max(intact.mean - kept.scores[score].mean, 0.0)
        remains = _surely_positive(excess) and excess.mean > TOLERATED_REST * adds
        fall_of[score] = Fall(
            level=kept.name,
            above_level=excess.estimate,
            below_intact=fall.estimate,
            rest_tolerated=TOLERATED_REST * adds,
        )
        told.append(
            f"{LABELS[score]} {own.mean:.3f} (intact {intact.mean:.3f}; {kept.name} {kept.scores[score].mean:.3f})"
        )
        above += [score] if remains else []
        falls += [score] if _surely_positive(fall) else []
    numbers = ControlNumbers(**fall_of)
    level: Level = "fail" if above or not falls else "pass"
    scores = "; ".join(told)
    if level == "pass":
        return Finding(
            check=name, level=level, sentence=f"Falls to what it may keep: {scores}.", numbers=numbers
        )
    if not falls:
        return Finding(
            check=name,
            level=level,
            sentence=f"The score survives: {scores}.",
            numbers=numbers,
            remedy=REMEDIES[name],
        )
    why = " and ".join(LABELS[score] for score in above)
    return Finding(
        check=name,
        level=level,
        sentence=f"Does not fall far enough in {why}: {scores}.",
        numbers=numbers,
        remedy=REMEDIES[name],
    )


def _criteria(lines: dict[str, Line]) -> list[str]:
    return [name for name in CRITERIA if name in lines["intact"].scores]


def _difference(lines: dict[str, Line], a: str, b: str, score: str) -> Score:
    return lines[a].scores[score].less(lines[b].scores[score])


def _surely_positive(score: Score) -> bool:
    interval = score.ci95
    return interval is not None and interval[0] > 0


def _told(score: Score) -> str:
    interval = score.ci95
    return f"{score.mean:.3f}" + ("" if interval is None else f", {interval[0]:.3f} to {interval[1]:.3f}")
