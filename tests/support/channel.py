"""A channel as a provider's muxer makes it: beside picture and sound, a table that no PMT names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.support import ts

SDT_PID = 0x11
"""Service description (ETSI EN 300 468 table 1)."""

_STREAMS = [
    (ts.STREAM_TYPE["h264"], ts.VIDEO_PID, b""),
    (ts.STREAM_TYPE["aac"], ts.AUDIO_PID, b""),
]


def channel(
    pictures: int,
    *,
    gop: int = 10,
    keys: bool = True,
    sdt_every: int = 7,
    counters: Mapping[int, int] | None = None,
) -> ts.Sample:
    """PAT and PMT in front of every fifth picture, SDT behind the second and then every so-many-th.

    Without ``keys`` no picture can be decoded by itself. ``counters`` are the continuity counters it begins
    behind: another connection begins with others.
    """
    mux = ts.Mux(counters)
    data, keyframes, tables, latest = b"", [], [], b""
    for number in range(pictures):
        if number % 5 == 0:
            latest = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt(_STREAMS))
            data += latest
        key = keys and number % gop == 0
        if key:
            keyframes.append(len(data))
            tables.append(latest)
        es = ts.picture("h264", key=key, size=3000 if key else 500, seed=number)
        stamp = number * 3600
        data += mux.pes(ts.VIDEO_PID, es, pts=stamp, random_access=key, pcr=stamp)
        data += mux.pes(ts.AUDIO_PID, b"\xff\xf1\x50\x80" + ts.noise(300, number), pts=stamp, stream_id=0xC0)
        if number % sdt_every == 1:
            data += mux.psi(SDT_PID, ts.pat({}))
    return ts.Sample(data, tuple(keyframes), tuple(tables))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """``data`` as a network hands it on, cut without regard to packets."""
    for at in range(0, len(data), size):
        yield data[at : at + size]
