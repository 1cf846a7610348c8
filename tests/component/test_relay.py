"""A relay fed by hand: what its viewers get, whatever the source does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from m3u_proxy.errors import Closed, ProxyError, UpstreamError
from m3u_proxy.model import Kind, State, StreamKey
from m3u_proxy.pool.live import intake as intake_module
from m3u_proxy.pool.live import relay as relay_module
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.tally import Tally
from tests.support import ts
from tests.support.channel import SDT_PID, channel, pieces
from tests.support.stepped import Player, Script, ended, running, settle, until
from tests.support.succession import attempts_at, unpaced
from tests.support.tsverify import slices_of, verify

ONE = channel(60)
TWO = channel(60, counters={0: 3, ts.PMT_PID: 9, ts.VIDEO_PID: 5, ts.AUDIO_PID: 12, SDT_PID: 8})
"""What another connection to the same channel brings: the same PIDs, other counters."""
KEY = StreamKey("0123456789abcdef")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)
    monkeypatch.setattr(relay_module, "SHORTEST_PULSE", 0.0)
    monkeypatch.setattr(relay_module, "PULSE_PER_VIEWER", 0.0)


def a_relay(script: Script, *, tally: Tally | None = None, reconnect: float = 30.0, **limits: float) -> Relay:
    tally = tally or Tally()
    return Relay(
        KEY,
        Kind.LIVE,
        attempts_at(script, tally, budget=reconnect),
        limits=RelayLimits(**limits),  # type: ignore[arg-type]
        tally=tally,
    )


@contextmanager
def watching(relay: Relay) -> Iterator[tuple[Player, Outlet]]:
    player = Player()
    outlet = Outlet(player)
    relay.attach(outlet)
    try:
        yield player, outlet
    finally:
        relay.detach(outlet)


def joined(relay: Relay) -> tuple[Player, Outlet]:
    player = Player()
    outlet = Outlet(player)
    relay.attach(outlet)
    return player, outlet


async def taken(relay: Relay, size: int) -> None:
    """Wait until so many bytes have come in and have been handed on."""
    await until(lambda: relay.bytes_in == size and not relay._parts)
    await settle()


def without_flags(capture: bytes) -> bytes:
    """What is left without the packets that say nothing but *here is a break*."""
    packets = (capture[at : at + 188] for at in range(0, len(capture), 188))
    return b"".join(packet for packet in packets if packet[3] & 0x30 != 0x20 or packet[5] != 0x80)


def ahead_of_video(data: bytes) -> bytes:
    """The packets from the first PAT on that are none of the video's."""
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    pids = [(packet[1] & 0x1F) << 8 | packet[2] for packet in packets]
    first = pids.index(0) if 0 in pids else len(pids)
    return b"".join(
        packet for packet, pid in list(zip(packets, pids, strict=True))[first:] if pid != ts.VIDEO_PID
    )


async def reason_of(joiner: asyncio.Task[None]) -> str:
    with pytest.raises(ProxyError) as caught:
        await joiner
    return caught.value.reason


# --- joining


@pytest.mark.parametrize("size", [100, 188, 1316, 65536])
async def test_a_cold_joiner_gets_tables_and_a_keyframe_first(size: int) -> None:
    """The connection begins in the middle of a group of pictures, its tables come again meanwhile."""
    script = Script()
    relay = a_relay(script)
    late = ONE.keyframes[0] + 188 * 5
    async with running(relay):
        with watching(relay) as (player, _):
            script.last.feed(*pieces(ONE.data[late:], size))
            await relay.ready()
            await taken(relay, len(ONE.data) - late)

    report = verify(player.data)
    assert report.clean, report
    assert report.first_packets[:3] == ("PAT", "PMT", "video")
    assert report.first_video_is_keyframe
    assert player.data == ONE.psi[1] + ONE.data[ONE.keyframes[1] :]


async def test_nothing_is_sent_before_the_first_keyframe() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        with watching(relay) as (player, _):
            script.last.feed(ONE.data[ONE.keyframes[0] + 188 : ONE.keyframes[1]])
            await relay.ready()  # the tables are there: headers may go out
            await settle()
            assert player.data == b""
            assert not relay.is_warm
            assert relay.state is State.STARTING


async def test_a_warm_joiner_starts_at_once_with_what_is_there() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        script.last.feed(*pieces(ONE.data[: ONE.keyframes[4]], 1316))
        await relay.ready()
        await taken(relay, ONE.keyframes[4])
        assert relay.is_warm
        with watching(relay) as (player, _):
            assert player.data == ONE.psi[3] + ONE.data[ONE.keyframes[3] : ONE.keyframes[4]]
            script.last.feed(ONE.data[ONE.keyframes[4] :])
            await taken(relay, len(ONE.data))

    report = verify(player.data)
    assert report.clean, report
    assert report.first_packets[:3] == ("PAT", "PMT", "video")
    assert report.first_video_is_keyframe
    assert player.data == ONE.psi[3] + ONE.data[ONE.keyframes[3] :]


async def test_joiners_wait_together_and_are_served_together() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        joiners = [asyncio.create_task(relay.ready()) for _ in range(50)]
        await settle()
        assert not any(joiner.done() for joiner in joiners)
        script.last.feed(ONE.data)
        await asyncio.gather(*joiners)
    assert len(script.opened) == 1


# --- failing before the first byte


async def test_a_source_that_never_gives_a_byte_fails_all_joiners_together_with_one_reason() -> None:
    script = Script()
    script.may_open.clear()
    script.refusal = UpstreamError("refused", "The provider refused the connection")
    tally = Tally()
    relay = a_relay(script, tally=tally)
    async with running(relay) as task:
        joiners = [asyncio.create_task(relay.ready()) for _ in range(50)]
        await settle()
        script.may_open.set()
        reasons = {await reason_of(joiner) for joiner in joiners}
        await ended(task)
    assert reasons == {"refused"}
    assert len(script.opened) == 1
    assert script.open == 0
    assert tally.upstream_errors == {"refused": 1}
    assert tally.reconnects == 0
    assert relay.state is State.FAILED
    assert relay.snapshot().reason == "refused"


async def test_an_error_does_not_keep_the_frames_of_those_who_got_it() -> None:
    script = Script()
    script.refusal = UpstreamError("refused", "no")
    relay = a_relay(script)
    async with running(relay) as task:
        await ended(task)
        errors = []
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await relay.ready()
            errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert all(error is not relay.error for error in errors)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>Subscription expired</body></html>" * 40,
        b"#EXTM3U\n#EXT-X-VERSION:3\n" * 100,
        b"max connections reached\n" * 100,
        os.urandom(16384).replace(b"\x47", b"\x46"),
    ],
    ids=["html", "playlist", "text", "noise"],
)
async def test_what_is_no_transport_stream_reaches_no_viewer(body: bytes) -> None:
    """F22."""
    script = Script()
    relay = a_relay(script)
    async with running(relay) as task:
        player, outlet = joined(relay)
        joiner = asyncio.create_task(relay.ready())
        script.last.feed(*pieces(body, 1000))
        script.last.lose("eof")
        await ended(task)
        assert await reason_of(joiner) == "not_media"
    assert player.data == b""
    assert outlet.ended.result() == "not_media"
    assert len(script.opened) == 1


# --- losing the source


@pytest.mark.parametrize("size", [188, 1316, 65536])
@pytest.mark.parametrize(("start", "begun"), [(0, 0), (TWO.keyframes[0] + 564, 1)], ids=["at", "behind"])
async def test_a_reconnect_is_one_flagged_seam(size: int, start: int, begun: int) -> None:
    """F4: Some PIDs come only long after the seam; each is flagged when it comes.

    What comes ahead of the first keyframe goes on without its video, from the first table on.
    """
    script, tally = Script(), Tally()
    relay = a_relay(script, tally=tally)
    cut = 188 * 201 + 50
    async with running(relay):
        with watching(relay) as (player, outlet):
            script.last.feed(*pieces(ONE.data[:cut], size))
            script.last.lose("reset")
            second = await script.attempt(2)
            assert relay.snapshot().state is State.RECONNECTING
            second.feed(*pieces(TWO.data[start:], size))
            await taken(relay, cut + len(TWO.data) - start)
            assert relay.snapshot().state is State.LIVE

    report = verify(player.data)
    assert report.clean, report
    assert set(report.flagged_discontinuities) == {0, ts.PMT_PID, ts.VIDEO_PID, ts.AUDIO_PID, SDT_PID}
    assert set(report.flagged_discontinuities.values()) == {1}
    assert without_flags(player.data) == b"".join(
        [
            ONE.psi[0] + ONE.data[ONE.keyframes[0] : cut // 188 * 188],
            ahead_of_video(TWO.data[start : TWO.keyframes[begun]]) or TWO.psi[begun],
            TWO.data[TWO.keyframes[begun] :],
        ]
    )
    assert outlet.sent == len(player.data)
    assert tally.upstream_errors == {"reset": 1}
    assert tally.reconnects == 1
    assert relay.state is State.CLOSED


async def test_who_joins_after_a_reconnect_sees_nothing_of_it() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        script.last.feed(ONE.data[: 188 * 150])
        script.last.lose()
        (await script.attempt(2)).feed(*pieces(TWO.data, 1316))
        await taken(relay, 188 * 150 + len(TWO.data))
        with watching(relay) as (player, _):
            pass
    report = verify(player.data)
    assert report.clean, report
    assert report.first_video_is_keyframe
    assert not report.flagged_discontinuities


async def test_who_joins_at_the_seam_itself_starts_at_the_keyframe_behind_the_flags() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        script.last.feed(ONE.data)
        script.last.lose()
        (await script.attempt(2)).feed(TWO.data[: TWO.keyframes[1]])
        await taken(relay, len(ONE.data) + TWO.keyframes[1])
        with watching(relay) as (player, _):
            assert player.data == TWO.psi[0] + TWO.data[TWO.keyframes[0] : TWO.keyframes[1]]


async def test_who_joins_while_the_source_is_away_gets_what_is_there_and_then_the_rest() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        script.last.feed(ONE.data[: ONE.keyframes[3]])
        script.last.lose()
        second = await script.attempt(2)
        await until(lambda: not relay._parts)
        with watching(relay) as (player, outlet):
            assert outlet.sent > 188
            second.feed(*pieces(TWO.data, 500))
            await taken(relay, ONE.keyframes[3] + len(TWO.data))
    report = verify(player.data)
    assert report.clean, report
    assert report.first_video_is_keyframe
    assert report.flagged_discontinuities


async def test_the_next_connection_opens_only_when_the_last_one_is_closed() -> None:
    """F30."""
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        script.last.feed(ONE.data)
        script.may_close.clear()
        script.last.lose("stall")
        await settle()
        assert (len(script.opened), script.open) == (1, 1)
        script.may_close.set()
        await script.attempt(2)
    assert script.most_open == 1
    assert script.open == 0


async def test_a_source_that_stays_away_is_given_up_and_everybody_learns_why() -> None:
    """F28."""
    script = Script()
    relay = a_relay(script, reconnect=0.05)
    async with running(relay) as task:
        player, outlet = joined(relay)
        script.last.feed(ONE.data)
        await until(lambda: player.data)
        script.refusal = UpstreamError("http_5xx", "The provider answered with HTTP status 503")
        script.last.lose("eof")
        await ended(task)
        assert outlet.ended.result() == "http_5xx"
        late = Outlet(Player())
        relay.attach(late)
        assert late.ended.result() == "http_5xx"
    assert relay.state is State.FAILED
    assert script.open == 0


async def test_a_provider_that_asks_for_more_time_than_there_is_is_not_asked_again() -> None:
    script = Script()
    relay = a_relay(script, reconnect=10.0)
    async with running(relay) as task:
        script.last.feed(ONE.data)
        script.last.lose("http_429", status=429, retry_after=20.0)
        await ended(task)
    assert relay.state is State.FAILED
    assert len(script.opened) == 1


async def test_ffmpeg_behind_a_relay_is_started_again_without_delay() -> None:
    """What an FFmpeg asks for after its death is meant for players."""
    script = Script()
    relay = a_relay(script, reconnect=10.0)
    async with running(relay):
        script.last.feed(ONE.data)
        script.last.lose("ffmpeg_signal", retry_after=20.0)
        await script.attempt(2)


# --- sources that are no ordinary channel


async def test_a_source_without_keyframes_plays_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "KEYFRAME_PATIENCE", 0.05)
    sample = channel(60, keys=False)
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        with watching(relay) as (player, outlet):
            half = 188 * 100
            script.last.feed(*pieces(sample.data[:half], 1316))
            await until(lambda: relay.bytes_in == half)
            assert outlet.sent == 0
            loop = asyncio.get_running_loop()
            deadline = loop.time() + 0.06
            await until(lambda: loop.time() > deadline)
            script.last.feed(*pieces(sample.data[half:], 1316))
            await taken(relay, len(sample.data))
    assert player.data == sample.data
    assert verify(player.data).clean


async def test_who_joins_a_source_without_keyframes_starts_at_the_live_edge_with_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also while a chunk is being gathered whose tables are newer than those sent so far."""
    monkeypatch.setattr(intake_module, "KEYFRAME_PATIENCE", 0.0)
    monkeypatch.setattr(relay_module, "SHORTEST_PULSE", 0.02)
    sample = channel(120, keys=False)
    script = Script()
    relay = a_relay(script)
    captures: list[Player] = []
    async with running(relay):
        for piece in pieces(sample.data, 1316):
            script.last.feed(piece)
            await settle()
            if relay.is_warm:
                captures.append(joined(relay)[0])
        await taken(relay, len(sample.data))
    assert len(captures) > 50
    for player in captures[:-40]:
        report = verify(player.data)
        assert report.clean, report
        assert report.first_packets[:2] == ("PAT", "PMT")


async def test_a_reconnect_of_a_source_without_keyframes_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "KEYFRAME_PATIENCE", 0.0)
    counters = {0: 3, ts.PMT_PID: 9, ts.VIDEO_PID: 5, ts.AUDIO_PID: 12, SDT_PID: 8}
    one, two = channel(60, keys=False), channel(60, keys=False, counters=counters)
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        with watching(relay) as (player, _):
            script.last.feed(*pieces(one.data, 30_000))
            script.last.lose()
            second = await script.attempt(2)
            second.feed(*pieces(two.data, 30_000))
            await taken(relay, len(one.data) + len(two.data))
    report = verify(player.data)
    assert report.clean, report
    assert without_flags(player.data) == one.data + two.data
    assert report.flagged_discontinuities


async def test_audio_alone_plays_from_its_first_frame() -> None:
    """F45."""
    sample = ts.programme(codec=None, pictures=80)
    script = Script()
    relay = a_relay(script)
    async with running(relay):
        with watching(relay) as (player, _):
            script.last.feed(*pieces(sample.data, 1316))
            await relay.ready()
            await taken(relay, len(sample.data))
        with watching(relay) as (late, _):
            pass
    for capture in (player.data, late.data):
        report = verify(capture)
        assert report.clean, report
        assert report.first_packets[:3] == ("PAT", "PMT", "audio")
    heard = {"container": "mpegts", "audio_codec": "aac", "audio_channels": 2}
    assert relay.snapshot().media_info == heard


# --- slow viewers


async def test_a_slow_viewer_falls_out_of_the_ring_and_goes_on_at_a_keyframe() -> None:
    tally = Tally()
    script = Script()
    relay = a_relay(script, tally=tally, ring=60_000, queue=20_000)
    long = channel(400, gop=25)
    async with running(relay):
        with watching(relay) as (quick, at_edge), watching(relay) as (slow, outlet):
            slow.paused = True
            source = script.last
            for piece in pieces(long.data[: long.keyframes[12]], 1316):
                source.feed(piece)
                await taken(relay, relay.bytes_in + len(piece))
            assert outlet.skips == 0
            slow.resume()
            await until(lambda: outlet.number == at_edge.number)
            source.feed(*pieces(long.data[long.keyframes[12] :], 1316))
            await taken(relay, len(long.data))
            await until(lambda: outlet.number == at_edge.number)

    assert outlet.skips == 1
    assert tally.skips == 1
    assert relay.snapshot().skips == 1
    report = verify(slow.data)
    assert report.clean, report
    assert report.flagged_discontinuities
    runs = slices_of(slow.data, long.data)
    assert len(runs) == 2
    assert all(offset in long.keyframes and length % 188 == 0 for offset, length in runs)
    assert slices_of(quick.data, long.data) == [(long.keyframes[0], len(long.data) - long.keyframes[0])]


# --- life and counters


async def test_ending_a_relay_closes_its_source_and_cuts_everybody() -> None:
    script = Script()
    relay = a_relay(script)
    async with running(relay) as task:
        _, outlet = joined(relay)
        script.last.feed(ONE.data)
        await relay.ready()
        task.cancel()
        await asyncio.wait([task])
        assert script.open == 0
        assert outlet.ended.result() == "closed"
        assert relay.state is State.CLOSED
        with pytest.raises(Closed):
            await relay.ready()
        late = Outlet(Player())
        relay.attach(late)
        assert late.ended.done()


async def test_ending_a_relay_that_waits_for_its_source_frees_those_who_wait_with_it() -> None:
    script = Script()
    script.may_open.clear()
    relay = a_relay(script)
    async with running(relay) as task:
        joiner = asyncio.create_task(relay.ready())
        await settle()
        task.cancel()
        assert await reason_of(joiner) == "closed"
    assert script.open == 0


async def test_a_relay_that_is_ended_while_its_source_closes_waits_for_that() -> None:
    script = Script()
    relay = a_relay(script, reconnect=0.0)
    async with running(relay) as task:
        script.may_close.clear()
        script.last.lose("reset")
        await settle()
        task.cancel()
        await settle()
        assert not task.done()
        script.may_close.set()
        await asyncio.wait([task])
    assert script.open == 0


async def test_a_relay_begins_when_its_predecessor_has_ended() -> None:
    script = Script()
    relay = a_relay(script)
    closing = asyncio.Event()
    before = asyncio.create_task(_wait(closing))
    task = asyncio.create_task(relay.run(before))
    await settle()
    assert script.opened == []
    closing.set()
    await script.attempt(1)
    task.cancel()
    await asyncio.wait([task])


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def test_bytes_are_counted_as_they_come() -> None:
    script, tally = Script(), Tally()
    relay = a_relay(script, tally=tally)
    async with running(relay):
        script.last.feed(*pieces(ONE.data, 999))
        await until(lambda: relay.bytes_in == len(ONE.data))
        snapshot = relay.snapshot()
        assert snapshot.upstream_connections == 1
        assert snapshot.state is State.LIVE
        told = {"container": "mpegts", "video_codec": "h264", "audio_codec": "aac", "audio_channels": 2}
        assert snapshot.media_info == told
    assert snapshot.bytes_in == len(ONE.data)
    assert tally.bytes_in == {Kind.LIVE: len(ONE.data)}
    assert relay.snapshot().upstream_connections == 0


async def test_ffmpeg_is_fed_like_any_other_viewer() -> None:
    script = Script()
    relay = a_relay(script)
    out, into = os.pipe()
    try:
        os.set_blocking(into, False)
        os.set_blocking(out, False)
        async with running(relay):
            tap = relay.tap()
            tap.connect(into)
            script.last.feed(ONE.data[: ONE.keyframes[2]])
            await until(lambda: tap.sent)
            got = os.read(out, 1 << 20)
            tap.close()
            tap.close()
            script.last.feed(ONE.data[ONE.keyframes[2] :])
            await settle()
            with pytest.raises(BlockingIOError):
                os.read(out, 1)
            assert tap.sent == len(got)
            assert not tap.ended.done()
        assert verify(got).first_video_is_keyframe
    finally:
        os.close(out)
        os.close(into)
