"""Players, editors, providers and time in any order: the counts stay right and no source is opened twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from m3u_proxy.errors import ProxyError, Unavailable, UpstreamError
from m3u_proxy.pool.viewers import Viewer
from tests.support.channel import channel
from tests.support.definitions import a_client, a_stream, a_transcode
from tests.support.house import House
from tests.support.stepped import Script, settle

TS = channel(12).data
URLS = ["http://provider.example/live/u/p/1.ts", "http://provider.example/live/u/p/2.ts"]
FILM = "http://provider.example/movie/u/p/3.mp4"
STREAMS = {
    "ts 1": a_stream(URLS[0]),
    "ts 2": a_stream(URLS[1]),
    "pipe 1": a_transcode(URLS[0], output="pipe"),
    "pipe 2": a_transcode(URLS[1], output="pipe"),
    "hls 1": a_transcode(URLS[0]),
    "hls 2": a_transcode(URLS[1]),
    "film": a_stream(FILM),
    "other hls 1": a_transcode(URLS[0], template="-c:v libx264"),
}
NAMES = st.sampled_from(sorted(STREAMS))
MOST_VIEWERS = 6
MOST_FFMPEG = 3


class AnyOrder(RuleBasedStateMachine):
    """Each rule is followed by as many turns of the loop as it takes until nothing happens any more."""

    viewers: Bundle[Viewer] = Bundle("viewers")
    reconnect = 1e9
    """Seconds: a source that is lost stays away, and its relay waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.deletes: list[asyncio.Task[None]] = []
        self.house = self.loop.run_until_complete(self._build())
        self.audience = self.house.audience

    async def _build(self) -> House:
        return House(
            self.patch,
            max_viewers=MOST_VIEWERS,
            max_ffmpeg=MOST_FFMPEG,
            first_delay=3600.0,
            reconnect=self.reconnect,
        )

    def _settle(self) -> None:
        self.loop.run_until_complete(settle())

    def _scripts(self) -> list[Script]:
        return [*self.house.scripts.values(), *self.house.ffmpeg.pipes.values()]

    @initialize()
    def define_all(self) -> None:
        for stream in STREAMS.values():
            self.audience.define(stream)

    @rule(name=NAMES, slot=st.sampled_from("45"))
    def define(self, name: str, slot: str) -> None:
        self.audience.define(replace(STREAMS[name], metadata={"provider_profile_id": slot}))

    @rule(target=viewers, name=NAMES, player=st.sampled_from("ab"))
    def join(self, name: str, player: str) -> Viewer | MultipleResults[Viewer]:
        stream = STREAMS[name]
        before = len(self.audience.viewers)
        known = self.audience.viewers.get(stream.id, player) is not None
        open_one = self.audience.poll if stream.kind.is_hls else self.audience.watch

        async def joined() -> Viewer:
            return open_one(stream.id, a_client(player, stream.id))[1]

        try:
            viewer = self.loop.run_until_complete(joined())
        except ProxyError as error:
            refused = error
        else:
            self._settle()
            assert len(self.audience.viewers) == before + (not (stream.kind.is_hls and known))
            return viewer
        assert len(self.audience.viewers) == before
        assert refused.reason != "max_viewers" or before == MOST_VIEWERS
        return multiple()

    @rule(target=viewers, player=st.sampled_from("ab"), is_answered=st.booleans())
    def seek(self, player: str, is_answered: bool) -> Viewer | MultipleResults[Viewer]:
        film = STREAMS["film"].id

        async def joined() -> Viewer:
            return self.audience.watch(film, a_client(player, film), is_seek=True)[1]

        try:
            viewer = self.loop.run_until_complete(joined())
        except ProxyError:
            return multiple()
        if is_answered:
            viewer.answered_at = self.house.clock.now
        self._settle()
        return viewer

    @rule(viewer=consumes(viewers))
    def leave(self, viewer: Viewer) -> None:
        self.audience.leave(viewer, "client_left")
        self.audience.leave(viewer, "twice")
        self._settle()

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        stream = STREAMS[name]
        if self.audience.catalog.get(stream.id) is not None:
            delete = self.audience.delete(stream.id, "manual_deletion")
            self.deletes.append(self.loop.create_task(delete))
            self._settle()
            assert self.audience.viewers.count(stream.id) == 0

    @rule(seconds=st.sampled_from([0.25, 2.0, 3.5, 13.0, 50.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        async def passing() -> None:
            for _ in range(4):
                self.house.pass_time(seconds / 4, step=seconds / 8)
                await settle()

        self.loop.run_until_complete(passing())

    @rule()
    def bytes_come(self) -> None:
        for script in self._scripts():
            for source in script.opened:
                if source.is_open:
                    source.feed(TS)
        for writer in self.house.ffmpeg.made:
            if self.house.ffmpeg.running[writer.key] and not writer.lost.done():
                writer.publish()
        self._settle()

    @rule(number=st.integers(0, 5))
    def a_source_is_lost(self, number: int) -> None:
        sources = [source for script in self._scripts() for source in script.opened if source.is_open]
        if sources:
            sources[number % len(sources)].lose("reset")
            self._settle()

    @rule(number=st.integers(0, 5))
    def ffmpeg_dies(self, number: int) -> None:
        writers = [one for one in self.house.ffmpeg.made if not one.lost.done()]
        if writers:
            writers[number % len(writers)].lost.set_result(Unavailable("gone", reason="ffmpeg_signal"))
            self._settle()

    @rule(refuses=st.booleans())
    def a_provider_refuses(self, refuses: bool) -> None:
        for url in URLS:
            self.house.scripts[url].refusal = UpstreamError("refused", "no") if refuses else None

    @rule(opens=st.booleans(), closes=st.booleans(), ends=st.booleans())
    def things_take_their_time(self, opens: bool, closes: bool, ends: bool) -> None:
        for script in self._scripts():
            (script.may_open.set if opens else script.may_open.clear)()
            (script.may_close.set if closes else script.may_close.clear)()
        (self.house.ffmpeg.may_end.set if ends else self.house.ffmpeg.may_end.clear)()
        self._settle()

    @invariant()
    def counts_are_right(self) -> None:
        self.house.check()
        assert len(self.audience.viewers) <= MOST_VIEWERS
        transcodes = sum(run.kind.is_transcoded for run in self.house.pool.running())
        assert transcodes <= MOST_FFMPEG
        for record in self.audience.catalog:
            assert (record.idle_since is None) == (self.audience.viewers.count(record.stream.id) > 0)

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.house.aclose())
            if self.deletes:
                self.loop.run_until_complete(asyncio.wait_for(asyncio.gather(*self.deletes), 5.0))
            self._settle()
            assert not asyncio.all_tasks(self.loop)
        finally:
            self.patch.undo()
            self.loop.close()


class AnyOrderAtOnce(AnyOrder):
    """As above, but a source that is lost is given up."""

    reconnect = 0.0


SOME = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder, TestAnyOrderAtOnce = AnyOrder.TestCase, AnyOrderAtOnce.TestCase
TestAnyOrder.settings = TestAnyOrderAtOnce.settings = SOME
