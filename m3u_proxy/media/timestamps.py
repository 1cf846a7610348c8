"""Timestamps of PES packets, in ticks of 90 kHz modulo 2^33 (ISO/IEC 13818-1 §2.4.3.7). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from m3u_proxy.media.psi import PACKET, payload_start

SECOND: Final = 90_000
MASK: Final = (1 << 33) - 1


def pts_of(pes: bytes) -> int | None:
    """The presentation timestamp of a PES packet, of which the header is enough."""
    if len(pes) < 14 or pes[:3] != b"\0\0\1" or not pes[7] & 0x80:
        return None
    return _read(pes, 9)


def dts_of(pes: bytes) -> int | None:
    """The decoding timestamp: equal to the presentation timestamp where none is given."""
    if len(pes) >= 19 and pes[:3] == b"\0\0\1" and pes[7] & 0xC0 == 0xC0:
        return _read(pes, 14)
    return pts_of(pes)


def _read(pes: bytes, at: int) -> int:
    return (
        (pes[at] & 0x0E) << 29
        | pes[at + 1] << 22
        | (pes[at + 2] & 0xFE) << 14
        | pes[at + 3] << 7
        | pes[at + 4] >> 1
    )


def decoding_time(packet: bytes) -> int | None:
    """The decoding timestamp in a packet that begins a PES packet; ``None`` without, or if scrambled."""
    if len(packet) < PACKET or packet[3] & 0xC0:
        return None
    return dts_of(packet[payload_start(packet[:5]) :])


def decoding_times(data: bytes, pid: int) -> Iterator[tuple[int, int]]:
    """Where in ``data`` (whole packets) each PES packet of ``pid`` begins, and its decoding timestamp."""
    wanted = 0x4000 | pid  # payload_unit_start_indicator
    for at in range(0, len(data), PACKET):
        if (data[at + 1] & 0x5F) << 8 | data[at + 2] == wanted:
            time = decoding_time(data[at : at + PACKET])
            if time is not None:
                yield at, time
