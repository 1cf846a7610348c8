"""The scanner against any cutting, any damage, and the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.mpegts import PACKET, Scanner
from tests.support import ts
from tests.support.fed import Fed

CODECS = ["h264", "hevc", "mpeg2video"]
CHANNEL = ts.programme(pictures=20)
quick = settings(deadline=None, max_examples=60, derandomize=True)


def cut(data: bytes, lengths: Iterable[int]) -> list[bytes]:
    pieces, at = [], 0
    for length in lengths:
        pieces.append(data[at : at + length])
        at += length
    return [*pieces, data[at:]]


def _spoiled() -> bytes:
    rng = random.Random(7)
    mux = ts.Mux()
    samples = [ts.programme(pictures=12, gop=5, mux=mux, codec=c, flagged=False, nulls=1) for c in CODECS]
    samples.append(ts.programme(pictures=12, codec=None, mux=mux))
    data = bytearray(b"\x33" * 100 + b"".join(sample.data for sample in samples))
    for _ in range(60):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    del data[20_000:20_050]
    return bytes(data)


SPOILED = _spoiled()
WHOLE = Fed([SPOILED]).outcome()


@pytest.mark.parametrize("length", [1, 2, 187, 188, 189, 376, 1316, 4096])
def test_pieces_of_any_length_give_the_same(length: int) -> None:
    assert Fed(SPOILED[n : n + length] for n in range(0, len(SPOILED), length)).outcome() == WHOLE


@quick
@given(st.lists(st.one_of(st.integers(0, 400), st.integers(0, 30_000)), max_size=60))
def test_any_cutting_gives_the_same(lengths: list[int]) -> None:
    assert Fed(cut(SPOILED, lengths)).outcome() == WHOLE


_packet = st.one_of(
    st.binary(min_size=187, max_size=187).map(lambda rest: b"\x47" + rest),
    st.integers(0, len(CHANNEL.data) // PACKET - 1).map(
        lambda n: CHANNEL.data[n * PACKET : (n + 1) * PACKET]
    ),
    st.tuples(
        st.sampled_from([0, ts.PMT_PID, ts.VIDEO_PID, ts.AUDIO_PID]), st.binary(min_size=185, max_size=185)
    ).map(lambda pair: bytes((0x47, 0x40 | pair[0] >> 8, pair[0] & 0xFF)) + pair[1]),
    st.binary(max_size=400),
)


@quick
@given(st.lists(_packet, max_size=40), st.lists(st.integers(0, 700), max_size=20), st.booleans())
def test_rubbish_never_breaks_it(parts: list[bytes], lengths: list[int], primed: bool) -> None:
    stream = (CHANNEL.data[: 10 * PACKET] if primed else b"") + b"".join(parts)
    whole, pieces = Fed([stream, b""]), Fed([*cut(stream, lengths), b""])
    assert pieces.outcome() == whole.outcome()


@quick
@given(st.lists(st.tuples(st.integers(0, len(CHANNEL.data) - 1), st.integers(0, 7)), max_size=200))
def test_bit_errors_never_break_it(flips: list[tuple[int, int]]) -> None:
    data = bytearray(CHANNEL.data)
    for at, bit in flips:
        data[at] ^= 1 << bit
    fed = Fed([bytes(data)])
    assert len(fed.data) + fed.scanner.dropped_bytes <= len(data)


# --- speed: generous bounds, the machine is shared


def _best_seconds(scanner: Scanner, piece: bytes) -> float:
    best = 1e9
    for _ in range(7):
        begin = time.thread_time()
        scanner.feed(piece)
        best = min(best, time.thread_time() - begin)
    return best


@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "unflagged"])
def test_a_piece_of_200_kb_is_scanned_at_1_gbit_per_second(flagged: bool) -> None:
    data = ts.programme(pictures=80, gop=40, flagged=flagged, nulls=8).data
    piece = data[:200_000]
    assert len(piece) == 200_000
    scanner = Scanner()
    scanner.feed(data)
    assert len(piece) * 8 / _best_seconds(scanner, piece[: 1063 * PACKET]) > 1e9


@pytest.mark.parametrize(
    "packet",
    [
        b"\x47\x1f\xff\x10" + b"\x47" * 183,  # never where it should be
        b"\x47\x40\x00\x10\x00\x00\xb3\xfd" + b"\x00" * 180,  # sections that never end
        b"\x47\x41\x00\x10\x00\x00\x01\xe0\x00\x00\x80\x00\x00" + b"\x00" * 175,  # pictures that never decide
        b"\x47\x00\x00\x10" + b"\x00" * 184 + b"\x00" * 188,  # sync in every other place
    ],
    ids=["sync everywhere", "endless section", "undecided pictures", "half the sync"],
)
def test_time_is_linear_in_what_is_fed(packet: bytes) -> None:
    def seconds(count: int) -> float:
        best = 1e9
        for _ in range(3):
            begin = time.thread_time()
            Fed([CHANNEL.data[: 10 * PACKET], packet * count])
            best = min(best, time.thread_time() - begin)
        return best

    assert seconds(8000) < 30 * seconds(1000) + 0.01
