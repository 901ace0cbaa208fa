"""Receptive fields: of the recording, and of the twin beside it."""

from visioncore.lab.receptive_fields.find import receptive_fields
from visioncore.lab.receptive_fields.kernels import Fields, Kernels, measure
from visioncore.lab.receptive_fields.result import ReceptiveFields, Truth

__all__ = ["Fields", "Kernels", "ReceptiveFields", "Truth", "measure", "receptive_fields"]
