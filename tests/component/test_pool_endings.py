"""Deleted, failed, coming back: no provider ever sees two, and everybody learns why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from m3u_proxy.errors import Closed, ProxyError, Unavailable, UpstreamError
from m3u_proxy.model import State
from tests.support.channel import channel
from tests.support.definitions import URL, a_stream, a_transcode
from tests.support.house import GRACE, House
from tests.support.stepped import Script, SteppedSource, settle, until

TS = channel(30).data
OTHER_URL = "http://provider.example/live/u/p/102.ts"


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Without limits."""
    made = House(monkeypatch)
    yield made
    await made.aclose()


async def outcome(joiner: asyncio.Task[None]) -> str:
    with pytest.raises(ProxyError) as caught:
        await joiner
    return caught.value.reason


# --- deleting


async def test_when_a_delete_returns_everything_of_the_stream_is_gone(house: House) -> None:
    stream = house.audience.define(a_stream())
    _, viewer = house.watch()
    await settle()
    cut: list[str] = []
    with viewer.cut_by(cut.append):
        await house.audience.delete(stream.id, "manual_deletion")
    assert cut == ["manual_deletion"]
    assert house.scripts[URL].open == 0
    assert house.audience.viewers.count(stream.id) == 0
    assert house.audience.catalog.get(stream.id) is None
    assert house.told() == ["stream_started", "client_connected", "client_disconnected", "stream_stopped"]
    assert house.events[-1].data["reason"] == "manual_deletion"


async def test_deleting_a_transcode_ends_ffmpeg_and_its_source(house: House) -> None:
    stream = house.audience.define(a_transcode())
    house.poll()
    (await house.scripts[URL].attempt(1)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)
    await house.audience.delete(stream.id, "manual_deletion")
    assert house.scripts[URL].open == 0
    assert sum(house.ffmpeg.running.values()) == 0
    house.check()


async def test_deleting_one_of_two_outputs_leaves_the_other(house: House) -> None:
    hls = house.audience.define(a_transcode())
    house.audience.define(a_stream())
    house.poll()
    relay, viewer = house.watch()
    await settle()
    await house.audience.delete(hls.id, "manual_deletion")
    assert relay.state is not State.CLOSED
    assert list(house.audience.viewers) == [viewer]
    assert len(house.scripts[URL].opened) == house.scripts[URL].open == 1


async def test_a_joiner_of_a_stream_that_is_deleted_fails_at_once(house: House) -> None:
    stream = house.audience.define(a_stream())
    house.scripts[URL].may_open.clear()
    relay, _ = house.watch()
    joiner = asyncio.create_task(relay.ready())
    await settle()
    await house.audience.delete(stream.id, "manual_deletion")
    assert await outcome(joiner) == "closed"
    assert house.scripts[URL].open == 0


async def test_a_joiner_of_a_deleted_stream_gets_no_response_although_its_source_lives_on(
    house: House,
) -> None:
    """Another output keeps the source: the joiner is cut when it would begin to be served."""
    house.audience.define(a_transcode())
    direct = house.audience.define(a_stream())
    house.poll()
    _, viewer = house.watch()
    await house.audience.delete(direct.id, "manual_deletion")
    cut: list[str] = []
    with viewer.cut_by(cut.append):
        assert cut == ["manual_deletion"]
    house.check()


async def test_a_delete_waits_for_what_is_closing_already(house: House) -> None:
    stream = house.audience.define(a_stream())
    script = house.scripts[URL]
    _, viewer = house.watch()
    await settle()
    house.audience.leave(viewer, "client_left")
    script.may_close.clear()
    house.pass_time(GRACE)
    await settle()
    deleting = asyncio.create_task(house.audience.delete(stream.id, "manual_deletion"))
    await settle()
    assert not deleting.done()
    assert house.audience.catalog.get(stream.id) is None  # the counts have dropped at once
    script.may_close.set()
    await deleting
    assert script.open == 0


async def test_a_delete_whose_caller_has_gone_is_carried_out(house: House) -> None:
    stream = house.audience.define(a_stream())
    script = house.scripts[URL]
    house.watch()
    await settle()
    script.may_close.clear()
    deleting = asyncio.create_task(house.audience.delete(stream.id, "manual_deletion"))
    await settle()
    deleting.cancel()
    await asyncio.wait([deleting])
    script.may_close.set()
    await until(lambda: script.open == 0)


# --- coming back while the old one is closing


async def closing(house: House) -> tuple[str, Script]:
    """A stream whose source does not let go yet; nobody watches."""
    stream = house.audience.define(a_stream())
    script = house.scripts[URL]
    _, viewer = house.watch()
    await settle()
    house.audience.leave(viewer, "client_left")
    script.may_close.clear()
    house.pass_time(GRACE)
    await settle()
    assert script.open == 1
    return stream.id, script


async def test_a_joiner_waits_until_the_old_source_is_closed(house: House) -> None:
    _, script = await closing(house)
    relay, _ = house.watch()
    await settle()
    assert len(script.opened) == 1
    script.may_close.set()
    (await script.attempt(2)).feed(TS)
    await relay.ready()
    assert script.most_open == 1


async def test_however_often_it_is_deleted_and_joined_meanwhile_there_is_one_source(house: House) -> None:
    stream_id, script = await closing(house)
    deletes = []
    for number in range(4):
        house.audience.define(a_stream())
        relay, _ = house.watch(f"tv {number}")
        joiner = asyncio.create_task(relay.ready())
        await settle()
        deletes.append(asyncio.create_task(house.audience.delete(stream_id, "manual_deletion")))
        assert await outcome(joiner) == "closed"
    assert not any(delete.done() for delete in deletes)
    house.audience.define(a_stream())
    house.watch("last")
    await settle()
    assert (len(script.opened), script.open) == (1, 1)
    script.may_close.set()
    await script.attempt(2)
    await asyncio.gather(*deletes)
    assert script.most_open == 1
    house.check()


async def test_a_writer_that_follows_one_that_is_closing_goes_on_with_its_numbers(house: House) -> None:
    house.audience.define(a_transcode())
    first, viewer = house.poll()
    (await house.scripts[URL].attempt(1)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)
    for _ in range(5):
        first.publish()
    house.audience.leave(viewer, "client_left")
    house.ffmpeg.may_end.clear()
    house.pass_time(GRACE)
    await settle()
    second, _ = house.poll()
    assert second is not first
    assert second.timeline.next == 5
    house.ffmpeg.may_end.set()
    (await house.scripts[URL].attempt(2)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)


async def test_a_relay_that_failed_under_a_slow_ffmpeg_does_not_take_its_successor_along(
    house: House,
) -> None:
    """The old writer still ends; deleting it must end its own source only, which is gone already."""
    hls = house.audience.define(a_transcode())
    house.audience.define(a_stream())
    house.poll()
    script = house.scripts[URL]
    (await script.attempt(1)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)
    script.refusal = UpstreamError("refused", "no")
    script.last.lose("http_429", status=429, retry_after=60.0)
    await until(lambda: script.open == 0)
    await settle()
    script.refusal = None
    house.ffmpeg.may_end.clear()
    house.clock.now += 61.0
    relay, viewer = house.watch()
    (await script.attempt(2)).feed(TS)
    deleting = asyncio.create_task(house.audience.delete(hls.id, "manual_deletion"))
    await settle()
    house.ffmpeg.may_end.set()
    await deleting
    await relay.ready()
    house.check()
    house.audience.leave(viewer, "client_left")
    house.pass_time(GRACE)
    await until(lambda: script.open == 0)


# --- failing


async def test_a_failure_is_remembered_and_then_tried_again(house: House) -> None:
    stream = house.audience.define(a_stream())
    script = house.scripts[URL]
    script.refusal = UpstreamError("refused", "The provider refused the connection")
    relay, viewer = house.watch()
    with pytest.raises(UpstreamError, match="refused the connection"):
        await relay.ready()
    house.audience.leave(viewer, "refused")
    await settle()

    error = house.refused()
    assert (error.reason, len(script.opened)) == ("refused", 1)
    assert error.retry_after == pytest.approx(2.0)
    house.clock.now += 1.9
    assert house.refused().retry_after == pytest.approx(1.0)
    house.clock.now += 0.1
    script.refusal = None
    relay, _ = house.watch()
    (await script.attempt(2)).feed(TS)
    await relay.ready()
    assert house.told(stream.id).count("stream_failed") == 1
    assert house.audience.catalog.find(stream.id).errors == 1


async def test_everybody_who_is_refused_gets_an_error_of_their_own(house: House) -> None:
    house.audience.define(a_stream())
    house.scripts[URL].refusal = UpstreamError("refused", "no")
    house.watch()
    await settle()
    assert house.refused() is not house.refused()


async def fail_once_more(house: House) -> float:
    """One more attempt that fails; seconds for which it is remembered."""
    house.watch(f"tv {house.clock.now}")
    await settle()
    error = house.refused()
    assert error.retry_after is not None
    house.clock.now += error.retry_after
    return error.retry_after


async def test_the_longer_it_fails_the_rarer_it_is_tried(house: House) -> None:
    house.audience.define(a_stream())
    house.scripts[URL].refusal = UpstreamError("refused", "no")
    pauses = [await fail_once_more(house) for _ in range(6)]
    assert pauses == pytest.approx([2, 4, 8, 16, 30, 30])


async def test_a_provider_that_asks_for_time_is_left_alone_for_it(house: House) -> None:
    house.audience.define(a_stream())
    house.scripts[URL].refusal = UpstreamError("http_429", "too many", status=429, retry_after=20.0)
    assert await fail_once_more(house) == pytest.approx(20)


async def test_while_no_source_may_be_asked_nothing_is_begun_and_nothing_told(house: House) -> None:
    """F28: a player that asks every second must not drown the timeline and the webhooks."""
    stream = house.audience.define(a_stream())
    pacer = house.pool.parts.pacer
    pacer.denied(URL, house.clock.now, "retry_after", 40.0)
    house.watch()
    await settle()
    for left in range(39, 0, -1):
        house.clock.now += 1.0
        error = house.refused()
        assert error.reason == "paced"
        assert error.retry_after == pytest.approx(left)
    assert len(house.pool.ever) == 1
    assert house.told(stream.id).count("stream_failed") == 1
    assert len(house.pool.history(stream)) == 1
    house.clock.now += 1.0
    house.watch()
    await house.scripts[URL].attempt(1)


async def test_a_source_that_may_be_asked_again_earlier_is_asked(house: House) -> None:
    house.audience.define(a_stream())
    pacer = house.pool.parts.pacer
    pacer.denied(URL, house.clock.now, "retry_after", 40.0)
    house.watch()
    await settle()
    house.clock.now += 1.0
    assert house.refused().reason == "paced"
    pacer.healthy(URL, house.clock.now)
    house.watch()
    await house.scripts[URL].attempt(1)


async def test_a_source_that_failed_for_one_output_is_not_asked_for_the_other(house: House) -> None:
    house.audience.define(a_stream())
    house.audience.define(a_transcode())
    house.scripts[URL].refusal = UpstreamError("refused", "no")
    house.watch()
    await settle()
    with pytest.raises(UpstreamError, match="no"):
        house.poll()
    assert len(house.scripts[URL].opened) == 1
    assert house.ffmpeg.made == []


async def test_a_failure_is_told_to_those_who_share_it_and_not_to_the_deleted(house: House) -> None:
    first = house.audience.define(a_transcode())
    second = house.audience.define(replace(a_transcode(), id="b" * 32))  # the same in other words
    house.poll("one", first.id)
    writer, _ = house.poll("two", second.id)
    await house.audience.delete(first.id, "manual_deletion")
    house.audience.define(first)
    assert house.audience.viewers.count(second.id) == 1
    (await house.scripts[URL].attempt(1)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)
    writer.lost.set_result(Unavailable("FFmpeg ended", reason="ffmpeg_error"))
    await settle()
    assert "stream_failed" not in house.told(first.id)
    assert house.told(second.id).count("stream_failed") == 1


async def test_a_failure_that_lies_back_is_forgotten(house: House) -> None:
    house.audience.define(a_stream())
    house.scripts[URL].refusal = UpstreamError("refused", "no")
    for _ in range(3):
        await fail_once_more(house)
    house.pass_time(60.0)
    assert await fail_once_more(house) == pytest.approx(2)


async def test_deleting_a_stream_forgives_it(house: House) -> None:
    stream = house.audience.define(a_stream())
    house.scripts[URL].refusal = UpstreamError("refused", "no")
    house.watch()
    await settle()
    await house.audience.delete(stream.id, "manual_deletion")
    house.audience.define(a_stream())
    house.scripts[URL].refusal = None
    house.watch()
    assert len((await house.scripts[URL].attempt(2))._script.opened) == 2


async def test_a_source_that_fails_fails_what_is_made_of_it(house: House) -> None:
    stream = house.audience.define(a_transcode())
    house.scripts[URL].refusal = UpstreamError("refused", "no")
    writer, viewer = house.poll()
    with pytest.raises(UpstreamError):
        await writer.ready()
    await settle()
    house.audience.leave(viewer, "refused")
    assert house.pool.running() == []
    assert house.told(stream.id).count("stream_failed") == 1
    assert house.ffmpeg.running == {}
    house.check()


async def test_a_writer_that_is_lost_lets_its_source_go(house: House) -> None:
    stream = house.audience.define(a_transcode())
    writer, viewer = house.poll()
    (await house.scripts[URL].attempt(1)).feed(TS)
    await until(lambda: sum(house.ffmpeg.running.values()) == 1)
    writer.lost.set_result(Unavailable("FFmpeg cannot write", reason="write_error"))
    await settle()
    house.pass_time(0.25)
    await until(lambda: house.scripts[URL].open == 0)
    assert house.told(stream.id)[-1] == "stream_failed"
    with pytest.raises(Unavailable, match="cannot write"):
        house.poll("late")
    assert list(house.audience.viewers) == [viewer]  # it will ask again, or be silent


async def test_a_player_that_stayed_hears_of_the_next_failure_too(house: House) -> None:
    stream = house.audience.define(a_transcode())
    for failures in (1, 2):
        writer, _ = house.poll()
        (await house.scripts[URL].attempt(failures)).feed(TS)
        await until(lambda: sum(house.ffmpeg.running.values()) == 1)
        writer.lost.set_result(Unavailable("FFmpeg ended", reason="ffmpeg_error"))
        await settle()
        assert house.told(stream.id).count("stream_failed") == failures
        house.pass_time(6.0)
        await settle()
    house.check()


async def test_a_crash_is_a_failure_and_not_a_reason_to_hammer(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(SteppedSource, "read", None)
    stream = house.audience.define(a_stream())
    relay, _ = house.watch()
    with pytest.raises(Closed):
        await relay.ready()
    await settle()
    assert house.refused().reason == "crash"
    assert house.scripts[URL].open == 0
    assert house.told(stream.id).count("stream_failed") == 1
    assert "crashed" in caplog.text
