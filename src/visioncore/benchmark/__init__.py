"""Several models on several recordings under one budget: trained, scored on test once, and compared."""

from visioncore.benchmark.execution import Benchmark, RunProgress, last_words
from visioncore.benchmark.suite import PlannedRun, SuiteConfig, planned_runs, read_suite

__all__ = [
    "Benchmark",
    "PlannedRun",
    "RunProgress",
    "SuiteConfig",
    "last_words",
    "planned_runs",
    "read_suite",
]
