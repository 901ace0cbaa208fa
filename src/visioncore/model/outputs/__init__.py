"""The outputs for counts and those for traces, two closed unions by `type`.

A new one is one file with its config, its module and `tiny()`, and one line here.
"""

from typing import Annotated

from pydantic import Field

from visioncore.config import dump_config
from visioncore.errors import ConfigError
from visioncore.model.outputs.base import BaseOutputConfig, CountOutput, RateOutput
from visioncore.model.outputs.exponential import ExponentialOutputConfig
from visioncore.model.outputs.softplus import SoftplusOutput, SoftplusOutputConfig
from visioncore.model.outputs.trace import (
    AffineTraceConfig,
    BaseTraceOutputConfig,
    TraceOutput,
    TraceOutputConfig,
)
from visioncore.spec import ResponseKind

OutputConfig = Annotated[SoftplusOutputConfig | ExponentialOutputConfig, Field(discriminator="type")]

__all__ = [
    "AffineTraceConfig",
    "BaseOutputConfig",
    "BaseTraceOutputConfig",
    "CountOutput",
    "ExponentialOutputConfig",
    "OutputConfig",
    "RateOutput",
    "SoftplusOutput",
    "SoftplusOutputConfig",
    "TraceOutput",
    "TraceOutputConfig",
    "require_output_of",
]


def require_output_of(
    kind: ResponseKind, output: BaseOutputConfig, trace_output: BaseTraceOutputConfig
) -> None:
    """Refuse an output that was chosen for responses of the other kind: it would be ignored.

    Raises:
        ConfigError: naming the key to leave out, and the one to set.
    """
    if kind == "trace" and output != SoftplusOutputConfig():
        raise ConfigError(
            f"output '{dump_config(output)['type']}' is for counts, and the data are traces; leave model.output out of "
            "the YAML, or set 'model.output={type: softplus}', which is the same, and choose by model.trace_output"
        )
    if kind == "counts" and trace_output != AffineTraceConfig():
        raise ConfigError(
            f"trace_output '{dump_config(trace_output)['type']}' is for traces, and the data are counts; leave "
            "model.trace_output out of the YAML, and choose by model.output"
        )
