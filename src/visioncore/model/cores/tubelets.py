"""What the cores that see the video have in common: a first layer over tubelets, with the same choices for all."""

from abc import abstractmethod

from pydantic import PositiveInt, model_validator

from visioncore.config import Config
from visioncore.model.layers.strided_conv import InitialFilters, TubeletForm


class TubeletConfig(Config):
    """Base of the configs that hold a first layer. Must provide `tubelets`; they are tried when the YAML is read."""

    frames_per_tap: PositiveInt = 1
    """Frames that are averaged for one tap of the kernel; divides the kernel's frames and their stride."""
    initial_filters: InitialFilters = "random"
    """What the kernels start from: noise, or a bank of drifting Gabors."""

    @abstractmethod
    def tubelets(self) -> TubeletForm:
        """The form of the first layer.

        Raises:
            ConfigError: its parts do not fit each other.
        """

    @model_validator(mode="after")
    def _tubelets_fit(self) -> "TubeletConfig":
        self.tubelets()
        return self
