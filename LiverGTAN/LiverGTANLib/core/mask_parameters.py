"""What makes a mask of an analysis: settings, region and clicks. Equal recipes give equal masks."""

from collections.abc import Hashable
from dataclasses import dataclass

from .clicks import Click
from .postprocess import DEFAULTS, PostprocessSettings
from .region import Region


@dataclass(frozen=True, eq=False)
class MaskParameters:
    """What a person has set; nothing of it needs the network again."""

    settings: PostprocessSettings = DEFAULTS
    region: Region | None = None
    clicks: tuple[Click, ...] = ()

    @property
    def key(self) -> Hashable:
        """Equal for equal recipes."""
        return self.settings, self.region and self.region.key, self.clicks

    @property
    def parts(self) -> tuple[PostprocessSettings, Region | None, tuple[Click, ...]]:
        """In the order in which `segmenter.mask` and its relatives take them after the analysis."""
        return self.settings, self.region, self.clicks


DEFAULT_MASK_PARAMETERS = MaskParameters()
