"""Models against each other, paired: on the same units, the same bins and the same resampled blocks of time."""

from visioncore.comparison.paired import compare
from visioncore.comparison.read_run import named_run, read_run, read_runs
from visioncore.comparison.records import ComparedSection
from visioncore.comparison.result import Comparison
from visioncore.comparison.scored_run import ScoredRun

__all__ = ["ComparedSection", "Comparison", "ScoredRun", "compare", "named_run", "read_run", "read_runs"]
