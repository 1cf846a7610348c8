"""How large a picture is: the fields of a sequence's header that say so. Pure.

H.264 §7.3.2.1.1, H.265 §7.3.2.2.1, H.262 §6.2.2.1 (ITU-T).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

Size = tuple[int, int]
"""Width and height in pixels."""
LONGEST: Final = 1024
"""Bytes of a header after which the size has been said."""
_START: Final = b"\0\0\1"
_WITH_CHROMA: Final = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
"""profile_idc of H.264 whose headers tell the chroma format."""
_PLAUSIBLE: Final = range(16, 16385)


class _Bits:
    """Bits of a header, most significant first. ``ValueError`` where they end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        """``u(count)``."""
        self._left -= count
        if self._left < 0:
            raise ValueError("the header ends too early")
        return self._value >> self._left & (1 << count) - 1

    def unsigned(self) -> int:
        """``ue(v)``, Exp-Golomb (H.264 §9.1)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("no such number")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """``se(v)``."""
        number = self.unsigned()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    def edges(self) -> tuple[int, int]:
        """What is cut off left and right, and at the top and the bottom, if the next flag says so."""
        if not self.read(1):
            return 0, 0
        left, right, top, bottom = (self.unsigned() for _ in range(4))
        return left + right, top + bottom


def size_of(codec: str, data: bytes) -> Size | None:
    """The size that a header in ``data``, bytes of an elementary stream, tells; ``None`` if none does."""
    if codec not in _READERS:
        return None
    at = data.find(_START)
    while 0 <= at < len(data) - 4:
        end = data.find(_START, at + 3)
        unit = data[at + 3 : min(at + 3 + LONGEST, len(data) if end < 0 else end)]
        try:
            size = _READERS[codec](unit) if unit else None
        except ValueError:
            size = None
        if size is not None and size[0] in _PLAUSIBLE and size[1] in _PLAUSIBLE:
            return size
        at = end
    return None


def _plain(unit: bytes) -> bytes:
    """Without emulation_prevention_three_byte."""
    return unit.replace(b"\0\0\3", b"\0\0")


def _h262(unit: bytes) -> Size | None:
    if unit[0] != 0xB3:
        return None
    bits = _Bits(unit[1:])
    return bits.read(12), bits.read(12)


def _h264(unit: bytes) -> Size | None:
    if unit[0] & 0x1F != 7:
        return None
    bits = _Bits(_plain(unit[1:]))
    profile = bits.read(8)
    bits.read(16)  # constraint_set_flags, level_idc
    bits.unsigned()  # seq_parameter_set_id
    chroma = _h264_chroma(bits) if profile in _WITH_CHROMA else 1
    bits.unsigned()  # log2_max_frame_num_minus4
    _skip_order(bits)
    bits.unsigned()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    width, units = (bits.unsigned() + 1) * 16, (bits.unsigned() + 1) * 16
    fields = 2 - bits.read(1)  # frame_mbs_only_flag
    bits.read(fields)  # mb_adaptive_frame_field_flag, direct_8x8_inference_flag
    across, down = bits.edges()
    wide, high = 2 if chroma in (1, 2) else 1, 2 if chroma == 1 else 1
    return width - wide * across, fields * (units - high * down)


def _h264_chroma(bits: _Bits) -> int:
    """chroma_format_idc, and past the scaling lists."""
    chroma = bits.unsigned()
    if chroma == 3:
        bits.read(1)  # separate_colour_plane_flag
    bits.unsigned()  # bit_depth_luma_minus8
    bits.unsigned()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.read(1):  # seq_scaling_matrix_present_flag
        for number in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_list(bits, 16 if number < 6 else 64)
    return chroma


def _skip_list(bits: _Bits, count: int) -> None:
    """scaling_list (§7.3.2.1.1.1)."""
    last = 8
    for _ in range(count):
        last = (last + bits.signed()) % 256
        if not last:
            return


def _skip_order(bits: _Bits) -> None:
    """What is said of pic_order_cnt."""
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        bits.read(1)  # delta_pic_order_always_zero_flag
        bits.signed()  # offset_for_non_ref_pic
        bits.signed()  # offset_for_top_to_bottom_field
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()


def _h265(unit: bytes) -> Size | None:
    if unit[0] >> 1 & 0x3F != 33:
        return None
    bits = _Bits(_plain(unit[2:]))
    bits.read(4)  # sps_video_parameter_set_id
    layers = bits.read(3)  # sps_max_sub_layers_minus1
    bits.read(1)  # sps_temporal_id_nesting_flag
    _skip_profile(bits, layers)
    bits.unsigned()  # sps_seq_parameter_set_id
    chroma = bits.unsigned()
    if chroma == 3:
        bits.read(1)  # separate_colour_plane_flag
    width, height = bits.unsigned(), bits.unsigned()
    across, down = bits.edges()
    return width - (2 if chroma in (1, 2) else 1) * across, height - (2 if chroma == 1 else 1) * down


def _skip_profile(bits: _Bits, layers: int) -> None:
    """profile_tier_level (§7.3.3)."""
    bits.read(96)
    told = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in told:
        bits.read(88 * profile + 8 * level)


_READERS: Final[Mapping[str, Callable[[bytes], Size | None]]] = {
    "mpeg1video": _h262,
    "mpeg2video": _h262,
    "h264": _h264,
    "hevc": _h265,
}
CODECS: Final = frozenset(_READERS)
"""Those of which the size can be told, named as FFmpeg does."""
