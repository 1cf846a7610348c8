"""Who starts what, who shares it, and what is left when they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from m3u_proxy.errors import NotFound, Unavailable
from m3u_proxy.model import State
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.snapshots import describe
from m3u_proxy.pool.viewers import Viewer
from tests.support.channel import channel
from tests.support.definitions import URL, a_stream, a_transcode
from tests.support.house import GRACE, House
from tests.support.stepped import Player, settle, until

TS = channel(30).data
OTHER_URL = "http://provider.example/live/u/p/102.ts"


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Without limits."""
    made = House(monkeypatch)
    yield made
    await made.aclose()


@pytest.fixture
async def narrow(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """For two viewers and one FFmpeg."""
    made = House(monkeypatch, max_viewers=2, max_ffmpeg=1)
    yield made
    await made.aclose()


# --- sharing


async def test_a_definition_contacts_nobody(house: House) -> None:
    house.audience.define(a_stream())
    house.audience.define(a_transcode())
    await settle()
    assert house.scripts == {}
    assert house.pool.running() == []
    assert house.told() == ["stream_started", "stream_started"]


async def test_five_hundred_joiners_are_one_connection(house: House) -> None:
    stream = house.audience.define(a_stream())
    script = house.scripts[URL]
    script.may_open.clear()

    async def join(number: int) -> Viewer:
        relay, viewer = house.watch(f"tv {number}")
        await relay.ready()
        return viewer

    joiners = [asyncio.create_task(join(number)) for number in range(500)]
    await settle()
    assert house.audience.viewers.count(stream.id) == 500
    script.may_open.set()
    (await script.attempt(1)).feed(TS)
    viewers = await asyncio.gather(*joiners)
    assert len(script.opened) == 1
    house.check()

    for viewer in viewers:
        house.audience.leave(viewer, "client_left")
    assert house.audience.viewers.count(stream.id) == 0
    house.check()
    assert house.told() == [
        "stream_started",
        *["client_connected"] * 500,
        *["client_disconnected"] * 500,
    ]


async def test_direct_and_transcoded_viewers_share_the_source(house: House) -> None:
    direct, hls, pipe = a_stream(), a_transcode(), a_transcode(output="pipe")
    for stream in (direct, hls, pipe):
        house.audience.define(stream)
    house.poll("hls", hls.id)
    house.watch("pipe", pipe.id)
    house.watch("direct", direct.id)
    await settle()
    assert len(house.scripts[URL].opened) == 1
    assert len(house.pool.running()) == 3
    house.check()


async def test_streams_of_different_sources_share_nothing(house: House) -> None:
    house.audience.define(a_stream())
    other = house.audience.define(a_stream(OTHER_URL))
    house.watch()
    house.watch("one", other.id)
    await settle()
    assert [len(script.opened) for script in house.scripts.values()] == [1, 1]


async def test_two_players_with_one_id_do_not_end_each_other(house: House) -> None:
    house.audience.define(a_stream())
    _, first = house.watch("tv")
    _, second = house.watch("tv")
    assert first.client.id == "tv"
    assert second.client.id.startswith("tv_")
    house.audience.leave(second, "client_left")
    assert list(house.audience.viewers) == [first]


async def test_an_hls_player_is_one_viewer_however_often_it_asks(house: House) -> None:
    house.audience.define(a_transcode())
    viewers = {id(house.poll()[1]) for _ in range(20)}
    assert len(viewers) == 1
    assert house.told().count("client_connected") == 1
    house.check()


async def test_an_unknown_stream_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        house.watch(stream="0" * 32)
    with pytest.raises(NotFound):
        house.poll(stream="0" * 32)
    with pytest.raises(NotFound):
        await house.audience.delete("0" * 32, "manual_deletion")


# --- leaving


async def test_a_source_is_kept_for_the_grace_and_not_longer(house: House) -> None:
    house.audience.define(a_stream())
    script = house.scripts[URL]
    _, viewer = house.watch()
    await settle()
    house.audience.leave(viewer, "client_left")
    house.audience.leave(viewer, "twice")
    house.pass_time(GRACE - 0.1)
    await settle()
    assert script.open == 1
    house.pass_time(0.1)
    await until(lambda: script.open == 0)
    assert house.pool.running() == []


async def test_who_comes_back_within_the_grace_finds_the_same_source(house: House) -> None:
    house.audience.define(a_stream())
    relay, viewer = house.watch()
    house.audience.leave(viewer, "client_left")
    house.pass_time(GRACE - 0.1)
    again, _ = house.watch()
    house.pass_time(10 * GRACE)
    await settle()
    assert again is relay
    assert len(house.scripts[URL].opened) == 1


async def test_a_transcode_and_its_source_go_together(house: House) -> None:
    """The source has had its grace when FFmpeg has had it."""
    house.audience.define(a_transcode())
    house.scripts[URL].may_open.set()
    _, viewer = house.poll()
    (await house.scripts[URL].attempt(1)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)
    house.audience.leave(viewer, "client_left")
    house.pass_time(GRACE)
    await until(lambda: house.scripts[URL].open == 0)
    await settle()
    house.pass_time(0.25)
    await settle()
    assert sum(house.ffmpeg.running.values()) == 0
    assert house.pool.running() == []


async def test_a_source_with_another_user_survives_the_transcode(house: House) -> None:
    house.audience.define(a_transcode())
    house.audience.define(a_stream())
    _, on_hls = house.poll()
    house.watch()
    house.audience.leave(on_hls, "client_left")
    house.pass_time(2 * GRACE)
    await settle()
    assert house.scripts[URL].open == 1
    assert len(house.pool.running()) == 1
    house.check()


async def test_the_run_of_a_stream_ends_within_three_seconds_of_its_last_viewer(house: House) -> None:
    stream = house.audience.define(a_stream(metadata={"provider_profile_id": "4"}))
    _, viewer = house.watch()
    house.audience.leave(viewer, "client_left")
    left_at = house.clock.now
    house.pass_time(0.15)  # the sweeps do not wait for him to leave
    while "stream_stopped" not in house.told():
        house.pass_time(0.25)
    assert house.clock.now - left_at <= 3.0
    last = house.events[-1]
    assert (last.data["reason"], last.stream_id) == ("last_client_disconnected", stream.id)
    assert last.data["metadata"] == {"provider_profile_id": "4"}


async def test_who_comes_back_in_time_goes_on_with_the_run(house: House) -> None:
    house.audience.define(a_stream())
    for _ in range(3):
        _, viewer = house.watch()
        house.pass_time(5.0)
        house.audience.leave(viewer, "client_left")
        house.pass_time(1.0)
    assert house.told().count("stream_started") == 1
    assert house.told().count("stream_stopped") == 0


async def test_a_later_viewer_of_a_known_stream_opens_a_new_run(house: House) -> None:
    stream = house.audience.define(a_stream())
    for _ in range(2):
        _, viewer = house.watch()
        house.audience.leave(viewer, "client_left")
        house.pass_time(60.0)
    assert (
        house.told(stream.id)
        == [
            "stream_started",
            "client_connected",
            "client_disconnected",
            "stream_stopped",
        ]
        * 2
    )


async def test_a_stream_that_nobody_opens_stops_when_it_leaves_the_lists(house: House) -> None:
    house.audience.define(a_stream())
    house.pass_time(44.9)
    assert house.told() == ["stream_started"]
    house.pass_time(0.5)
    assert house.told() == ["stream_started", "stream_stopped"]
    assert house.events[-1].data["reason"] == "inactive_timeout"
    assert house.audience.catalog.listed() == []


async def test_a_stream_that_left_the_lists_comes_back_with_its_viewer(house: House) -> None:
    stream = house.audience.define(a_stream())
    house.pass_time(60.0)
    assert house.audience.catalog.listed() == []
    house.watch()
    assert [record.stream for record in house.audience.catalog.listed()] == [stream]
    assert house.told() == ["stream_started", "stream_stopped", "stream_started", "client_connected"]


async def test_a_player_that_is_paused_for_too_long_is_found_by_the_sweep(house: House) -> None:
    player = Player()
    player.paused = True
    outlet = Outlet(player)
    outlet.moved_at = house.clock.now
    outlet.write(b"x")
    house.audience.peers.add(outlet)
    house.pass_time(599.0)
    assert not outlet.ended.done()
    house.pass_time(4.0)
    assert outlet.ended.result() == "paused"


async def test_counts_of_a_viewer_that_left_stay_with_its_stream(house: House) -> None:
    stream = house.audience.define(a_stream())
    _, viewer = house.watch()
    viewer.live_bytes = lambda: 1000
    record = house.audience.catalog.find(stream.id)
    assert describe(record, house.audience).bytes_served == 1000
    house.audience.leave(viewer, "client_left")
    assert describe(record, house.audience).bytes_served == 1000
    assert describe(record, house.audience).clients == 0
    assert house.events[-1].data["bytes_served"] == 1000
    assert house.pool.tally.left == {"client_left": 1}
    assert house.pool.tally.bytes_out == {"live": 1000}


async def test_a_silent_hls_player_is_gone_after_its_patience(house: House) -> None:
    house.audience.define(a_transcode())
    _, viewer = house.poll()
    house.pass_time(12.0)
    assert list(house.audience.viewers) == [viewer]
    house.pass_time(0.25)
    assert list(house.audience.viewers) == []
    assert house.events[-1].data["reason"] == "timeout"


async def test_long_segments_give_an_hls_player_more_patience(house: House) -> None:
    house.audience.define(a_transcode())
    writer, _ = house.poll()
    writer.timeline = type(writer.timeline)(6, 2, 10.0)
    house.pass_time(30.0)
    assert len(house.audience.viewers) == 1
    house.pass_time(0.25)
    assert len(house.audience.viewers) == 0


async def test_a_player_that_waits_for_a_segment_is_not_silent(house: House) -> None:
    house.audience.define(a_transcode())
    _, viewer = house.poll()
    quiet = asyncio.create_task(house.audience.sending.over())
    with house.audience.sending(viewer):
        with house.audience.sending(viewer):
            await settle()
        await settle()
        house.pass_time(600.0)
        assert list(house.audience.viewers) == [viewer]
        assert not quiet.done()
    await settle()
    assert quiet.done()
    house.pass_time(12.0)
    assert list(house.audience.viewers) == [viewer]


# --- limits


async def test_a_viewer_too_many_is_refused_before_anything_starts(narrow: House) -> None:
    narrow.audience.define(a_stream())
    other = narrow.audience.define(a_stream(OTHER_URL))
    narrow.watch("a")
    narrow.watch("b")
    await settle()
    error = narrow.refused(stream=other.id)
    assert (error.reason, error.retry_after) == ("max_viewers", 2.0)
    await settle()
    assert list(narrow.scripts) == [URL]
    assert narrow.pool.tally.rejected == {"max_viewers": 1}
    assert narrow.told(other.id) == ["stream_started"]


async def test_an_hls_player_that_is_here_is_served_at_the_limit(narrow: House) -> None:
    narrow.audience.define(a_transcode())
    for client_id in ("a", "b", "a", "b"):
        narrow.poll(client_id)
    with pytest.raises(Unavailable):
        narrow.poll("c")
    assert len(narrow.audience.viewers) == 2


async def test_an_ffmpeg_too_many_is_refused_before_its_source_is_contacted(narrow: House) -> None:
    narrow.audience.define(a_transcode())
    other = narrow.audience.define(a_transcode(OTHER_URL, output="pipe"))
    narrow.poll()
    await settle()
    assert narrow.refused(stream=other.id).reason == "max_ffmpeg"
    await settle()
    assert list(narrow.scripts) == [URL]
    assert narrow.pool.tally.rejected == {"max_ffmpeg": 1}
    narrow.poll("second")  # of the one that runs there may be more viewers


@pytest.mark.parametrize("lack", ["missing", "full"])
async def test_without_ffmpeg_or_room_on_the_disk_no_source_is_contacted(house: House, lack: str) -> None:
    setattr(house.ffmpeg, lack, True)
    house.audience.define(a_transcode())
    with pytest.raises(Unavailable):
        house.poll()
    await settle()
    assert house.scripts == {}
    assert len(house.audience.viewers) == 0


async def test_a_draining_audience_lets_nobody_in(house: House) -> None:
    house.audience.define(a_stream())
    house.audience.draining = True
    assert house.refused().reason == "draining"


# --- the end


async def test_at_the_end_endless_bodies_are_cut_and_everything_is_closed(house: House) -> None:
    house.audience.define(a_stream())
    house.audience.define(a_transcode())
    house.audience.define(replace(a_stream(OTHER_URL), permanent=True))
    _, direct = house.watch()
    _, hls = house.poll()
    await settle()
    cut: list[str] = []
    with direct.cut_by(lambda reason: cut.append("direct " + reason)), hls.cut_by(cut.append):
        await house.audience.aclose("shutdown")
    assert cut == ["direct shutdown"]  # a segment on its way may arrive
    assert house.scripts[URL].open == 0
    assert house.told().count("stream_stopped") == 3
    assert {event.data["reason"] for event in house.events if event.type == "stream_stopped"} == {"shutdown"}


async def test_a_snapshot_shows_what_runs(house: House) -> None:
    stream = house.audience.define(a_stream())
    record = house.audience.catalog.find(stream.id)
    assert describe(record, house.audience).run is None
    house.watch()
    (await house.scripts[URL].attempt(1)).feed(TS)
    await until(lambda: house.pool.running()[0].state is State.LIVE)
    shown = describe(record, house.audience)
    assert shown.clients == 1
    assert shown.run is not None
    assert shown.run.upstream_connections == 1
    assert house.audience.playlists(stream.id) is None
