"""The shape of HLS output: lengths, numbers and names of segments, and FFmpeg's options for them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from m3u_proxy.model import Naming

SEGMENT_SECONDS = (0.5, 30.0)
WINDOW_SEGMENTS = (2, 300)
EXTRA_SEGMENTS = 20

Number = TypeVar("Number", int, float)

_FLAGS = "omit_endlist+temp_file+independent_segments+program_date_time"


class Template(Protocol):
    """What the author of a template wants."""

    def setting(self, name: str) -> str | None:
        """Value of an output option, if it is there."""


@dataclass(frozen=True, slots=True)
class HlsOptions:
    """Shape of the HLS output: seconds, segments listed, segments kept on disk beyond those."""

    segment_duration: float
    window: int
    keep_extra: int
    naming: Naming = Naming.NUMBERED
    linger: float = 0.0
    """Seconds for which dated segments are kept after they have left the playlist."""

    def of(self, template: Template) -> HlsOptions:
        """These, with what the template names instead, within bounds. A window of 0 asks for the longest."""
        duration, window, extra = (
            template.setting(name) for name in ("hls_time", "hls_list_size", "hls_delete_threshold")
        )
        shape = self
        if duration is not None:
            shape = replace(shape, segment_duration=within(float(duration), SEGMENT_SECONDS))
        if window is not None:
            shape = replace(shape, window=within(int(window) or WINDOW_SEGMENTS[1], WINDOW_SEGMENTS))
        if extra is not None:
            shape = replace(shape, keep_extra=within(int(extra), (self.keep_extra, EXTRA_SEGMENTS)))
        return shape


def within(value: Number, bounds: tuple[Number, Number]) -> Number:
    """The nearest to ``value`` that lies within the bounds."""
    return max(bounds[0], min(value, bounds[1]))


def segment_names(shape: HlsOptions, *, suffix: str, first: int) -> Iterator[str]:
    """Options that say how segments are called, and whether FFmpeg deletes them."""
    if shape.naming is Naming.NUMBERED:
        yield from ("-hls_delete_threshold", str(shape.keep_extra))
        yield from ("-hls_flags", f"delete_segments+{_FLAGS}")
        yield from ("-hls_segment_filename", f"segment_%d.{suffix}")
        return
    # The number behind the second tells segments apart that are begun within one.
    yield from ("-strftime", "1", "-start_number", str(first))
    yield from ("-hls_flags", f"second_level_segment_index+{_FLAGS}")
    yield from ("-hls_segment_filename", f"segment_%Y%m%d_%H%M%S_%%03d.{suffix}")
