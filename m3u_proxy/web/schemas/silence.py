"""The fields of a stream that say how its sound is checked."""

from __future__ import annotations

from typing import Annotated, Self, TypeVar

from pydantic import Field, model_validator

from m3u_proxy.model import SilenceCheck
from m3u_proxy.web.schemas.fields import Body

DAY = 86_400
_FIELDS = (
    "enable_silence_detection",
    "silence_threshold_db",
    "silence_duration",
    "silence_check_interval",
    "silence_monitoring_grace_period",
    "silence_failover_threshold",
)

T = TypeVar("T")


class SilenceFields(Body):
    """They come all or not at all; ``null`` is as good as none."""

    enable_silence_detection: bool | None = None
    """Whether the sound is checked at all."""
    silence_threshold_db: Annotated[float, Field(ge=-200, le=0)] | None = None
    """Decibels relative to full scale; what never gets louder is silence."""
    silence_duration: Annotated[float, Field(gt=0, le=DAY)] | None = None
    """Seconds without sound that count as silence."""
    silence_check_interval: Annotated[float, Field(gt=0, le=DAY)] | None = None
    """Seconds of one check."""
    silence_monitoring_grace_period: Annotated[float, Field(ge=0, le=DAY)] | None = None
    """Seconds from the first media of a source to its first check."""
    silence_failover_threshold: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Silent checks in a row after which another source takes over."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        given = {name for name, value in self if value is not None}
        missing = [name for name in _FIELDS if name not in given]
        if missing and len(missing) < len(_FIELDS):
            raise ValueError(f"the silence fields come all or not at all; missing: {', '.join(missing)}")
        return self

    def silence(self, default: SilenceCheck | None) -> SilenceCheck | None:
        """How the sound is checked, if it is: as ``default`` says where the body says nothing."""
        if self.enable_silence_detection is None:
            return default
        if not self.enable_silence_detection:
            return None
        return SilenceCheck(
            threshold_db=_given(self.silence_threshold_db),
            duration=_given(self.silence_duration),
            interval=_given(self.silence_check_interval),
            failures=_given(self.silence_failover_threshold),
            grace=_given(self.silence_monitoring_grace_period),
        )


def _given(value: T | None) -> T:
    assert value is not None  # see _is_complete
    return value
