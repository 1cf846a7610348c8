"""Which file names inside a directory of ours may be deleted with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.storage.directories import is_own_name

OWN = [
    "index.m3u8",
    "live.m3u8",
    "live_vtt.m3u8",
    "master.m3u8",
    "init.mp4",
    ".m3u_proxy",
    "segment_0.ts",
    "segment_000017.ts",
    "segment_17.m4s",
    "segment_17.aac",
    "segment_17.vtt",
    "segment_20250131_235959_007.ts",
    "segment_20250131_235959_1000.ts",
]

FOREIGN = [
    "",
    ".",
    "..",
    ".tmp",
    "index.m3u8.tmp.tmp",
    "index.m3u8~",
    "index.m3u8.bak",
    "INDEX.M3U8",
    "indexXm3u8",
    "other.m3u8",
    "segment_.ts",
    "segment_1.mp4",
    "segment_1.tsx",
    "segment_-1.ts",
    "segment_1_2.ts",
    "segment_²³.ts",
    "segment_٣.ts",
    "segment_" + "9" * 300 + ".ts",
    "segment_20250131_235959_007.m4s",
    "segment_2025_235959_007.ts",
    "my_segment_1.ts",
    "sub/segment_1.ts",
    "/segment_1.ts",
    "../segment_1.ts",
    "segment_1.ts\n",
    "\nsegment_1.ts",
    "segment_1.ts\0",
    ".m3u_proxy2",
    "recording.ts",
]


@pytest.mark.parametrize("name", OWN)
def test_own_names_and_their_unfinished_forms(name: str) -> None:
    assert is_own_name(name)
    assert is_own_name(name + ".tmp")


@pytest.mark.parametrize("name", FOREIGN)
def test_every_other_name_is_foreign(name: str) -> None:
    assert not is_own_name(name)


@given(st.sampled_from(OWN), st.integers(0, 40), st.characters())
def test_no_foreign_character_hides_in_an_own_name(name: str, at: int, char: str) -> None:
    """Whatever is inserted anywhere: what is still ours is plain ASCII, short, and without a separator."""
    spoiled = name[:at] + char + name[at:]
    if is_own_name(spoiled):
        assert spoiled.isascii()
        assert not set(spoiled) & set("/\\\0\n\r ")
        assert len(spoiled) <= 60
