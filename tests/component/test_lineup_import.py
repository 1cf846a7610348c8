"""Imports: which entry is which channel, what a failed one leaves behind, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path
from time import thread_time

import pytest

from m3u_proxy.daemon.app import GC_THRESHOLD
from m3u_proxy.errors import BadLineup, UpstreamError
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.importer import Importer
from m3u_proxy.lineup.plan import Fold, Mode
from m3u_proxy.lineup.rows import Rows, lineup_of, row_of
from m3u_proxy.lineup.watch import Watch
from m3u_proxy.storage.registry import Registry, Table
from m3u_proxy.upstream.source import Source
from tests.support.attempts import at
from tests.support.origin import Answer, Origin

PIECE = 64 * 1024


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


def lineup(*entries: tuple[str, str], tvg: str = "") -> bytes:
    """A lineup of names and what their URLs end with."""
    lines = [f'#EXTINF:-1 tvg-id="{tvg}",{name}\nhttp://provider.example/{url}' for name, url in entries]
    return "\n".join(["#EXTM3U", *lines]).encode()


async def pieces(text: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]


async def taken(
    channels: Channels, text: bytes, mode: Mode = Mode.REPLACE, fold: Fold = Fold.OFF
) -> tuple[int, ...]:
    """How many were imported, updated and removed."""
    report = await Importer(channels, fold=fold).take(pieces(text), mode)
    return report.imported, report.updated, report.removed


def shown(channels: Channels) -> dict[str, str]:
    """Keys in their order, and what the URLs end with."""
    return {one.key: one.url.rpartition("/")[2] for one in channels}


async def test_keys_stay_with_their_channels() -> None:
    channels = Channels()
    assert await taken(channels, lineup(("News", "1"), ("News", "2"), ("Film", "3"))) == (3, 0, 0)
    assert shown(channels) == {"news": "1", "news_2": "2", "film": "3"}
    before = {one.key: one for one in channels}
    assert await taken(channels, lineup(("Film", "3"), ("News", "2"), ("News", "1"))) == (3, 0, 0)
    assert shown(channels) == {"film": "3", "news_2": "2", "news": "1"}
    assert all(one is before[one.key] for one in channels)
    assert await taken(channels, lineup(("News", "9"), ("News", "1"), ("Film", "4"))) == (3, 2, 0)
    assert shown(channels) == {"news_2": "9", "news": "1", "film": "4"}
    assert await taken(channels, lineup(("News", "1"))) == (1, 0, 2)


async def test_a_merge_removes_nothing() -> None:
    channels = Channels()
    await taken(channels, lineup(("A", "1"), ("B", "2")))
    assert await taken(channels, lineup(("C", "3"), ("A", "9")), Mode.MERGE) == (2, 1, 0)
    assert shown(channels) == {"a": "9", "b": "2", "c": "3"}


async def test_what_was_made_by_hand_outlives_a_reload() -> None:
    channels = Channels()
    await taken(channels, lineup(("A", "1"), ("B", "2")))
    channels.add(Channel("mine", "Mine", "http://provider.example/7", by_hand=True))
    channels.put(Channel("a", "A", "http://provider.example/1", enabled=False))
    assert await taken(channels, lineup(("Mine", "8"), ("A", "1")), Mode.RELOAD) == (2, 1, 1)
    assert shown(channels) == {"mine_2": "8", "a": "1", "mine": "7"}
    assert not channels.get("a").enabled


@pytest.mark.parametrize(("fold", "tvg"), [(Fold.NAME, ""), (Fold.TVG_ID, "x")])
async def test_entries_of_one_channel_are_its_sources(fold: Fold, tvg: str) -> None:
    channels = Channels()
    text = lineup(("News", "1"), ("NEWS", "2"), ("News", "2"), ("News", "1"), tvg=tvg)
    assert await taken(channels, text, fold=fold) == (1, 0, 0)
    assert channels.get("news").failover_urls == ("http://provider.example/2",)


async def test_without_a_tvg_id_nothing_is_folded() -> None:
    channels = Channels()
    assert await taken(channels, lineup(("A", "1"), ("A", "2")), fold=Fold.TVG_ID) == (2, 0, 0)


async def test_an_edit_during_an_import_is_not_lost() -> None:
    channels = Channels()
    await taken(channels, lineup(("Old", "0")))

    async def edited() -> AsyncGenerator[bytes]:
        yield lineup(*((f"C{number}", str(number)) for number in range(5_000)))
        asyncio.get_running_loop().call_soon(
            channels.add, Channel("mine", "Mine", "http://provider.example/m", by_hand=True)
        )

    await Importer(channels).take(edited(), Mode.RELOAD)
    assert len(channels) == 5_001
    assert channels.get("mine").by_hand


async def test_a_failure_changes_nothing() -> None:
    channels = Channels()
    await taken(channels, lineup(("A", "1")))

    async def broken() -> AsyncGenerator[bytes]:
        yield lineup(("B", "2"))
        raise UpstreamError("reset", "gone")

    with pytest.raises(UpstreamError):
        await Importer(channels).take(broken(), Mode.REPLACE)
    for text in (b"", b"<html>", b"#EXTM3U\n#EXTINF:-1,A\n"):
        with pytest.raises(BadLineup, match=r"line \d"):
            await taken(channels, text)
    assert shown(channels) == {"a": "1"}


async def test_what_nobody_can_be_asked_for_is_skipped_with_its_line() -> None:
    lines = ("http://h:99999/", "http://two words/", "http://[::1/", "http://a/1?b=c d", "http://127.1/x")
    text = "#EXTM3U\n" + "".join(f"#EXTINF:-1,{n}\n{url}\n" for n, url in enumerate(lines))
    channels = Channels()
    report = await Importer(channels).take(pieces(text.encode()), Mode.REPLACE)
    assert [one.url for one in channels] == list(lines[3:])
    assert [(one.line, one.reason) for one in report.skipped] == [
        (3, "URL must have a port between 1 and 65535"),
        (5, "URL must have a valid domain"),
        (7, "URL must have a valid domain"),
    ]


async def test_others_have_their_turn() -> None:
    text = lineup(*((f"Channel {number}", f"{number}.ts") for number in range(30_000)))
    other = text.replace(b"provider", b"other")
    worst = 0.0

    async def look() -> None:
        nonlocal worst
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            last, worst = now, max(worst, now - last)

    gc.freeze()  # as the daemon does: what the tests hold is not ours to look through
    threshold = gc.get_threshold()
    gc.set_threshold(GC_THRESHOLD)
    looking = asyncio.create_task(look())
    try:
        channels = Channels()
        await taken(channels, text)
        await taken(channels, other)
    finally:
        looking.cancel()
        gc.set_threshold(*threshold)
        gc.unfreeze()
    assert len(channels) == 30_000
    assert worst < 0.05


async def test_a_restart_brings_order_and_attributes_back(tmp_path: Path) -> None:
    channels = Channels()
    with closing(await asyncio.to_thread(Registry.open, tmp_path)) as registry:
        rows = Rows(channels)
        channels.subscribe(lambda changes: registry.put_all(Table.CHANNELS, rows.of(changes), row_of))
        await taken(channels, b"#EXTM3U url-tvg=x\n" + lineup(("A", "1"), ("B", "2"), ("C", "3")))
        await taken(channels, b"#EXTM3U url-tvg=y\n" + lineup(("C", "3"), ("D", "4"), ("A", "1")))
        channels.add(Channel("last", "Last", "http://provider.example/5"))
        channels.delete("d")
        await asyncio.to_thread(registry.close)
    with closing(await asyncio.to_thread(Registry.open, tmp_path)) as again:
        found, unreadable = lineup_of(again.take_rows(Table.CHANNELS))
        assert again.rows(Table.CHANNELS) == []
        await asyncio.to_thread(again.close)
    assert unreadable == []
    assert list(found.channels.values()) == list(channels)
    assert found.attributes == {"url-tvg": "y"}


def sources(url: str, more: Mapping[str, str]) -> Source:
    return at(url, headers=dict(more))


async def test_an_address_is_asked_whether_it_has_changed(
    origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    channels = Channels()
    watch = Watch(origin.url("/l.m3u?password=CANARY"), Importer(channels), sources, refresh=60)
    changed = {"ETag": '"2"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
    origin.on(
        "/l.m3u",
        Answer(body=lineup(("A", "1")), headers={"ETag": '"1"'}),
        Answer(status=304),
        Answer(status=500),
        Answer(status=500),
        Answer(body=b"<html>"),
        Answer(body=lineup(("B", "2")), headers=changed),
        Answer(status=304),
    )
    results = [await watch.look() for _ in range(7)]
    assert results == [True, True, False, False, False, True, True]
    assert shown(channels) == {"b": "2"}
    asked = [one.get("if-none-match") for one in origin.path("/l.m3u").requests]
    assert asked == [None, '"1"', '"1"', '"1"', '"1"', '"1"', '"2"']
    assert origin.path("/l.m3u").requests[-1]["if-modified-since"] == changed["Last-Modified"]
    assert [row.levelname for row in caplog.records if "is not taken" in row.message] == ["WARNING"] * 2
    assert "CANARY" not in caplog.text


async def test_a_file_that_could_not_be_read_is_read_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lineup.m3u"
    file.write_bytes(lineup(("A", "1")))
    channels = Channels()
    watch = Watch(str(file), Importer(channels), sources, refresh=60)

    async def forbidden(path: Path, limit: int) -> AsyncGenerator[bytes]:
        raise PermissionError(13, "Permission denied")
        yield b""

    with monkeypatch.context() as patch:
        patch.setattr("m3u_proxy.lineup.watch.read_file", forbidden)
        assert [await watch.look() for _ in range(3)] == [False] * 3
    assert await watch.look()  # nobody has written it meanwhile
    assert shown(channels) == {"a": "1"}
