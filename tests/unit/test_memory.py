"""What successors are told: bounded in things and in addresses, those used last are kept."""

from __future__ import annotations

import pytest

from m3u_proxy.media.playlist import parse
from m3u_proxy.model import Kind, StreamKey
from m3u_proxy.pool import memory as module
from m3u_proxy.pool.memory import Memory
from m3u_proxy.upstream.policy import AddressClass

KEYS = [StreamKey.of(f"http://h.example/{number}") for number in range(5)]


def fill(memory: Memory, key: StreamKey, count: int) -> None:
    """Have the playlists of ``key`` name that many addresses."""
    lines = "".join(f"#EXTINF:1,\n{key.digest}{number}.ts\n" for number in range(count))
    playlist = parse(f"#EXTM3U\n{lines}".encode())
    memory.resources(key).index(
        playlist,
        lambda uri: f"http://h.example/{uri}",
        named_by=AddressClass.PUBLIC,
        depth=1,
        keep_until=1,
    )


def test_looking_remembers_nothing() -> None:
    memory = Memory(b"secret")
    assert memory.get(KEYS[0]) is None
    memory.of(KEYS[0]).kind = Kind.HLS
    trace = memory.get(KEYS[0])
    assert trace is not None
    assert trace.kind is Kind.HLS
    memory.forget(KEYS[0])
    memory.forget(KEYS[0])
    assert memory.get(KEYS[0]) is None


def test_those_used_longest_ago_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 3)
    memory = Memory(b"secret")
    for key in (*KEYS[:3], KEYS[0], KEYS[3]):
        memory.of(key)
    assert [memory.get(key) is not None for key in KEYS] == [True, False, True, True, False]


def test_a_successor_finds_the_names_of_its_predecessor() -> None:
    memory = Memory(b"secret")
    first = memory.resources(KEYS[0])
    assert memory.resources(KEYS[0]) is first
    assert memory.resources(KEYS[1]) is not first


def test_addresses_of_those_used_longest_ago_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ADDRESSES", 10)
    memory = Memory(b"secret")
    for key in KEYS[:3]:
        fill(memory, key, 5)
    memory.of(KEYS[0]).kind = Kind.HLS
    memory.resources(KEYS[3])
    held = [trace.resources for key in KEYS[:4] if (trace := memory.get(key)) is not None]
    assert [resources is not None for resources in held] == [True, False, True, True]


def test_one_that_alone_has_too_many_keeps_them_while_it_is_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ADDRESSES", 10)
    memory = Memory(b"secret")
    fill(memory, KEYS[0], 50)
    assert len(memory.resources(KEYS[0])) == 50
    memory.resources(KEYS[1])
    trace = memory.get(KEYS[0])
    assert trace is not None
    assert trace.resources is None
