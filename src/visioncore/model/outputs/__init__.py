"""The outputs for counts, a closed union by `type`; traces have their own.

A new one is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.model.outputs.base import BaseOutputConfig, CountOutput, RateOutput
from visioncore.model.outputs.exponential import ExponentialOutputConfig
from visioncore.model.outputs.softplus import SoftplusOutput, SoftplusOutputConfig
from visioncore.model.outputs.trace import TraceOutput

OutputConfig = Annotated[SoftplusOutputConfig | ExponentialOutputConfig, Field(discriminator="type")]

__all__ = [
    "BaseOutputConfig",
    "CountOutput",
    "ExponentialOutputConfig",
    "OutputConfig",
    "RateOutput",
    "SoftplusOutput",
    "SoftplusOutputConfig",
    "TraceOutput",
]
