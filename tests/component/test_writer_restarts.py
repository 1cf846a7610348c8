"""A writer whose FFmpeg dies, hangs or lies: another one goes on with the same playlist."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from m3u_proxy.errors import Unavailable, UpstreamError
from m3u_proxy.ffmpeg import pipe
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.hls import health
from m3u_proxy.ffmpeg.hls.shelf import Segment
from m3u_proxy.ffmpeg.hls.writer import GIVEN_UP, HlsOutput, HlsWriter
from m3u_proxy.ffmpeg.pipe import PipeSource
from m3u_proxy.ffmpeg.process import speed
from m3u_proxy.ffmpeg.process.confine import Confinement
from m3u_proxy.ffmpeg.process.restarts import Pace
from m3u_proxy.ffmpeg.process.run import Kit, Ledger
from m3u_proxy.media.timeline import MAP
from m3u_proxy.model import Naming, State, StreamKey
from m3u_proxy.storage.directories import claim
from tests.support.children import allow_spawning
from tests.support.fake_ffmpeg import FakeFFmpeg, alive, until
from tests.support.player import polls
from tests.support.stepped import turn

PATIENT = Pace(losses=100, step=0.0, starts=100)
"""For tests that lose one FFmpeg after the other on purpose."""
SECRET = "http://user:hunter2@provider.example/live/user/hunter2/1.ts"


@pytest.fixture(autouse=True)
def spawning_blocks(no_blocking_calls: BlockBuster | None) -> None:
    """For 1 ms, by decision: it belongs to the main thread."""
    allow_spawning(no_blocking_calls)


@pytest.fixture
def fake(tmp_path: Path) -> FakeFFmpeg:
    """An FFmpeg that does as it is told."""
    return FakeFFmpeg(tmp_path, segment_every=0.03)


class Tap:
    """One FFmpeg's place at a live source, which has a packet for it every now and then."""

    input = Input()

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.sent = 0
        self.closed = False

    def connect(self, stdin: int | None) -> None:
        if self.closed:
            return
        assert stdin is not None
        with suppress(BrokenPipeError):
            self.sent += os.write(stdin, bytes(188))
        self._loop.call_later(0.05, self.connect, stdin)

    def close(self) -> None:
        self.closed = True


class Feed:
    """A live source. ``refusal`` is why it cannot be read any more."""

    has_adts = False

    def __init__(self) -> None:
        self.taps: list[Tap] = []
        self.refusal: UpstreamError | None = None

    async def ready(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def tap(self) -> Tap:
        assert all(tap.closed for tap in self.taps), "the earlier FFmpeg still reads"
        self.taps.append(Tap())
        return self.taps[-1]


class Bench:
    """A writer at work, and everything around it."""

    def __init__(
        self,
        fake: FakeFFmpeg,
        pace: Pace,
        *,
        stall: float,
        term_kill: float,
        fmp4: bool,
        linger: float | None,
    ) -> None:
        self.fake, self.feed, self.ledger = fake, Feed(), Ledger()
        self.root = fake.path.parent / "hls"
        self.root.mkdir()
        self.refusals: list[OSError] = []
        """What the system says to the starts to come."""
        self.disk_is_full = False
        kind = ["-hls_segment_type", "fmp4"] if fmp4 else []
        segment = "segment_%d.m4s" if fmp4 else "segment_%d.ts"

        def argv(progress_fd: int, source: Input, first: int) -> list[str]:
            if self.refusals:
                raise self.refusals.pop()
            words = [str(fake.path), "-progress", f"pipe:{progress_fd}", "-i", source.url, "-f", "hls", *kind]
            if linger is None:
                words += [
                    "-hls_flags",
                    "delete_segments+temp_file+omit_endlist",
                    "-hls_delete_threshold",
                    "2",
                ]
                return [*words, "-hls_segment_filename", segment, "index.m3u8"]
            words += ["-hls_flags", "temp_file+omit_endlist", "-strftime", "1", "-start_number", str(first)]
            return [*words, "-hls_segment_filename", "segment_%Y%m%d_%H%M%S_%%03d.ts", "index.m3u8"]

        naming = Naming.NUMBERED if linger is None else Naming.DATED
        extra = 2 if linger is None else 300

        self.writer = HlsWriter(
            StreamKey.of("http://provider.example/live.ts"),
            HlsOutput(argv, 2.0, 6, extra, stall, pace, naming, linger or 0.0),
            feed=self.feed,
            kit=Kit(Confinement(marker="test"), self.ledger, term_kill),
            claim=partial(claim, self.root, "channel", instance="test", kind="hls"),
            admit=self._admit,
        )

    def _admit(self) -> None:
        if self.disk_is_full:
            raise Unavailable("The disk is full", reason="disk_full")

    @property
    def pid(self) -> int | None:
        return self.writer.snapshot().ffmpeg_pid

    async def grown(self, by: int = 2) -> None:
        """Wait until the playlist is longer by so many segments."""
        wanted = self.writer.timeline.next + by
        await until(lambda: self.writer.timeline.next >= wanted)

    async def failed(self) -> str:
        """Wait until it is given up; the reason."""
        await until(lambda: self.writer.state is State.FAILED)
        assert self.writer.error is not None
        return self.writer.error.reason


@asynccontextmanager
async def bench(
    fake: FakeFFmpeg,
    pace: Pace = PATIENT,
    *,
    stall: float = 10.0,
    term_kill: float = 1.0,
    fmp4: bool = False,
    linger: float | None = None,
    began: bool = True,
) -> AsyncIterator[Bench]:
    """Ended with the test; then nothing is left of any FFmpeg, if one ``began``."""
    made = Bench(fake, pace, stall=stall, term_kill=term_kill, fmp4=fmp4, linger=linger)
    task = asyncio.create_task(made.writer.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert not any(alive(run["pid"]) for run in fake.runs())
        assert list(made.root.iterdir()) == []
        assert made.writer.files == {}
        assert all(tap.closed for tap in made.feed.taps)
        assert made.ledger.running == ({"transcode_hls": 0} if began else {})


class Reader:
    """A player that polls: it reads every segment once, and notes whatever it would stumble over."""

    def __init__(self, writer: HlsWriter) -> None:
        self.mistakes: list[str] = []
        self._writer = writer
        self._known: dict[int, tuple[str, int]] = {}
        self._opened: list[Segment] = []
        self._first = 0

    @property
    def numbers(self) -> list[int]:
        """Media sequence numbers it has met."""
        return sorted(self._known)

    @property
    def seams(self) -> list[int]:
        """Discontinuity sequence number (RFC 8216 §6.2.1) of every segment, in order."""
        return [seam for _, (_, seam) in sorted(self._known.items())]

    async def run(self) -> None:
        async for _ in polls(0.01):
            async with asyncio.timeout(0.1):
                await self._writer.ready()
            self._read(self._writer.timeline.render(lambda number, name: f"{number}/{name}"))
            while self._opened:
                if not await asyncio.to_thread(self._opened[-1].read):
                    self.mistakes.append(f"{self._opened[-1].name} is empty")
                self._opened.pop().close()

    def _read(self, text: str) -> None:
        number, seam = self._value(text, "MEDIA-SEQUENCE"), self._value(text, "DISCONTINUITY-SEQUENCE")
        if number < self._first or "ENDLIST" in text:
            self.mistakes.append(f"after {self._first}: {text}")
        self._first = number
        for line in text.splitlines():
            seam += line == "#EXT-X-DISCONTINUITY"
            found = re.search(r"^(-?\d+)/|URI=\"(-?\d+)/", line)
            if found is None:
                continue
            if found[1] is not None:
                if int(found[1]) != number or self._known.get(number, (line, seam)) != (line, seam):
                    self.mistakes.append(f"{line} where {number} is due: {self._known.get(number)}")
                number += 1
            self._open(int(found[1] or found[2]), line, seam)

    def _open(self, number: int, line: str, seam: int) -> None:
        segment = self._writer.files.get(number)
        if segment is None or segment.fd < 0:
            self.mistakes.append(f"{line} is listed and cannot be fetched")
        elif number not in self._known:
            if number >= 0:
                self._known[number] = (line, seam)
            self._opened.append(Segment(segment.name, segment.size, os.dup(segment.fd)))

    def close(self) -> None:
        """Let go of what it has not read."""
        for own in self._opened:
            own.close()

    @staticmethod
    def _value(text: str, tag: str) -> int:
        found = re.search(rf"^#EXT-X-{tag}:(\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0


@asynccontextmanager
async def reading(writer: HlsWriter) -> AsyncIterator[Reader]:
    """A player that follows the playlist all the while and finds nothing amiss."""
    reader = Reader(writer)
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task  # raises why the playlist was refused, if it was
        reader.close()
    assert reader.mistakes == []


async def test_killed_ten_times_in_a_row_a_player_sees_ten_seams_and_nothing_else(fake: FakeFFmpeg) -> None:
    """F49: SIGKILL, ten times."""
    async with bench(fake) as it:
        await it.writer.ready()
        async with reading(it.writer) as reader:
            for kills in range(10):
                await it.grown()
                pid = it.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await fake.run(kills + 2)
            await it.grown(1)
            await until(lambda: bool(reader.seams) and reader.seams[-1] == 10)
        assert sorted(set(reader.seams)) == list(range(11))
        assert it.ledger.exits == {"signal": 10}
        assert it.ledger.restarts == {"transcode_hls": 10}
        assert it.writer.snapshot().bytes_in == sum(tap.sent for tap in it.feed.taps)
        assert len(list(it.root.iterdir())) == 1
        assert it.writer.state is State.LIVE


LOSSES: dict[str, Callable[[FakeFFmpeg], None]] = {
    "ffmpeg_eof": lambda fake: fake.set(exit_after=0.4, segment_every=0.03, endlist=True),
    "ffmpeg_error": lambda fake: fake.set(exit_after=0.4, segment_every=0.03, exit_code=1),
    "ffmpeg_signal": lambda fake: fake.set(exit_after=0.4, segment_every=0.03, exit_signal=11),
    "stall": lambda fake: fake.set(stop_itself_after=0.4, segment_every=0.03),
}


@pytest.mark.parametrize("reason", LOSSES)
async def test_a_lost_ffmpeg_is_replaced_under_its_player(
    fake: FakeFFmpeg, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    LOSSES[reason](fake)
    async with bench(fake, stall=0.6, term_kill=0.2) as it:
        await it.writer.ready()
        first = fake.runs()[0]["pid"]
        async with reading(it.writer) as reader:
            fake.set(segment_every=0.03)
            await until(lambda: it.writer.state is State.RECONNECTING)
            snapshot = it.writer.snapshot()
            assert (snapshot.state, snapshot.reason) == (State.RECONNECTING, reason)
            await fake.run(2)
            assert not alive(first)
            await until(lambda: bool(reader.seams) and reader.seams[-1] == 1)
            await until(lambda: it.writer.state is State.LIVE)
            assert it.writer.snapshot().reason is None
        assert it.ledger.exits == {"stopped" if reason == "stall" else reason.removeprefix("ffmpeg_"): 1}
        assert reader.numbers == list(range(len(reader.numbers)))
    said = [one.getMessage() for one in caplog.records if "ffmpeg lost" in one.getMessage()]
    assert len(said) == 1
    assert "next start in 0 s" in said[0]


async def test_bad_arguments_are_tried_three_times_and_then_told(fake: FakeFFmpeg) -> None:
    """F47: exits at once."""
    fake.set(exit_after=0.3, exit_code=1, segments=0, lines=[(0.0, f"Unrecognized option 'q' {SECRET}")])
    async with bench(fake, Pace(step=0.1)) as it:
        waiting = asyncio.create_task(it.writer.ready())
        assert await it.failed() == "ffmpeg_error"
        error = it.writer.error
        assert error is not None
        assert "code 1): Unrecognized option 'q'" in error.detail
        assert "hunter2" not in error.detail
        assert error.retry_after == GIVEN_UP
        with pytest.raises(type(error), match="Unrecognized option"):
            await waiting
        await until(lambda: not list(it.root.iterdir()))
        assert len(fake.runs()) == 3
        assert it.ledger.exits == {"error": 3}
        assert it.ledger.restarts == {"transcode_hls": 2}


async def test_one_that_dies_again_and_again_is_paced_and_its_playlist_stays(fake: FakeFFmpeg) -> None:
    """F52: dies again and again."""
    fake.set(exit_after=0.2, exit_code=1, segment_every=0.03)
    async with bench(fake, Pace(losses=100, step=0.0, starts=3, per=60.0)) as it:
        await it.writer.ready()
        async with reading(it.writer):
            await until(lambda: it.ledger.exits["error"] == 3)
            await until(lambda: not list(it.root.iterdir()))
            snapshot = it.writer.snapshot()
            assert (snapshot.state, snapshot.reason) == (State.RECONNECTING, "ffmpeg_error")
            assert snapshot.ffmpeg_pid is None
            await asyncio.wait_for(it.writer.ready(), 0.1)  # a joiner does not wait for the next one
        assert len(fake.runs()) == 3
    assert it.writer.state is State.CLOSED


async def test_a_deaf_ffmpeg_is_killed_before_its_directory_goes_and_another_begins(fake: FakeFFmpeg) -> None:
    """F51: ignores SIGTERM while it floods."""
    fake.set(segment_every=0.03, freeze_after=2, ignore_sigterm=True, stdin="ignore", flood_bytes=1 << 22)
    async with bench(fake, stall=0.5, term_kill=0.3) as it:
        await it.writer.ready()
        pid = fake.runs()[0]["pid"]
        (directory,) = it.root.iterdir()
        fake.set(segment_every=0.03)
        while directory.exists() or len(fake.runs()) < 2:
            assert directory.exists() or not alive(pid)
            assert len(fake.runs()) < 2 or not alive(pid)
            await turn()
        await it.grown()


async def test_what_it_finished_before_it_died_is_shown_even_if_nobody_had_looked(fake: FakeFFmpeg) -> None:
    fake.set(exit_after=0.03, exit_signal=9, segments=3, segment_every=0.0)
    async with bench(fake, Pace(step=60.0)) as it:
        await fake.run()
        fake.set(exit_after=0.03, exit_signal=9, segments=1, segment_every=0.0)
        await until(lambda: it.writer.timeline.next == 4)
        await it.writer.ready()
        numbers = [(entry.number, entry.discontinuity) for entry in it.writer.timeline.listed()]
        assert numbers == [(0, False), (1, False), (2, False), (3, True)]
        assert set(it.writer.files) == {0, 1, 2, 3}
        await until(lambda: it.writer.state is State.RECONNECTING)


async def test_fragmented_mp4_goes_on_with_the_section_of_the_new_ffmpeg(fake: FakeFFmpeg) -> None:
    async with bench(fake, fmp4=True) as it:
        await it.writer.ready()
        async with reading(it.writer) as reader:
            pid = it.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: bool(reader.seams) and reader.seams[-1] == 1)
            await it.grown(8)
            assert {number for number in it.writer.files if number < 0} == {MAP - 1}


async def test_a_write_error_is_the_end_at_once(fake: FakeFFmpeg) -> None:
    line = "av_interleaved_write_frame(): No space left on device"
    fake.set(segment_every=0.03, lines=[(0.3, line)])
    async with bench(fake) as it:
        assert await it.failed() == "write_error"
        assert len(fake.runs()) == 1
        assert it.ledger.write_errors == {"no_space": 1}


async def test_empty_files_are_a_loss(fake: FakeFFmpeg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HOLLOW_PATIENCE", 0.1)
    fake.set(segment_every=0.03, segment_bytes=0)
    async with bench(fake, Pace(losses=2)) as it:
        await until(lambda: it.writer.snapshot().reason == "write_error")
        assert await it.failed() == "write_error"
        assert len(fake.runs()) == 2
        assert it.ledger.write_errors == {"empty_output": 2}


async def test_a_source_that_failed_is_not_asked_by_another_ffmpeg(fake: FakeFFmpeg) -> None:
    async with bench(fake) as it:
        await it.writer.ready()
        it.feed.taps[0].ended.set_result("http_404")
        assert await it.failed() == "http_404"
        assert len(fake.runs()) == 1


async def test_a_source_that_fails_between_two_ffmpegs_is_the_reason(fake: FakeFFmpeg) -> None:
    fake.set(exit_after=0.3, segment_every=0.03)
    async with bench(fake) as it:
        await it.writer.ready()
        it.feed.refusal = UpstreamError("refused", "The provider refuses")
        assert await it.failed() == "refused"
        assert len(fake.runs()) == 1


async def test_on_a_full_disk_no_other_ffmpeg_begins(fake: FakeFFmpeg) -> None:
    fake.set(exit_after=0.3, segment_every=0.03)
    async with bench(fake) as it:
        await it.writer.ready()
        it.disk_is_full = True
        assert await it.failed() == "disk_full"
        assert len(fake.runs()) == 1


async def test_a_start_that_the_system_refuses_is_tried_again_for_those_who_watch(fake: FakeFFmpeg) -> None:
    """F82."""
    async with bench(fake) as it:
        await it.writer.ready()
        async with reading(it.writer) as reader:
            it.refusals.append(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
            pid = it.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: bool(reader.seams) and reader.seams[-1] == 1)
        assert it.refusals == []
        assert it.ledger.starts == {"transcode_hls": 2}


async def test_a_first_start_that_the_system_refuses_is_told_at_once(fake: FakeFFmpeg) -> None:
    """F82."""
    async with bench(fake, began=False) as it:
        it.refusals.append(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        assert await it.failed() == "spawn"
        assert fake.runs() == []


async def test_one_that_is_too_slow_is_spoken_of(
    fake: FakeFFmpeg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F55: speed below 1x."""
    monkeypatch.setattr(speed, "SPEED_SPAN", 0.3)
    fake.set(segment_every=0.03, stdin="ignore", progress_every=1.0)
    async with bench(fake) as it:
        await until(lambda: any("too slow: 0.00 of real time" in one.getMessage() for one in caplog.records))
        assert it.writer.snapshot().media_info["speed"] == 1.0
        assert it.writer.state is State.LIVE


# --- FFmpeg as a source: the relay above it decides, and has to be told


PIPES: dict[str, Callable[[FakeFFmpeg], None]] = {
    "ffmpeg_eof": lambda fake: fake.set(stdout_bytes=188, exit_after=0.1, lines=[(0.0, "last words")]),
    "ffmpeg_error": lambda fake: fake.set(
        stdout_bytes=188, exit_after=0.1, exit_code=1, lines=[(0.0, f"last words of {SECRET}")]
    ),
    "ffmpeg_signal": lambda fake: fake.set(
        stdout_bytes=188, exit_after=0.1, exit_signal=11, lines=[(0.0, "last words")]
    ),
    "stall": lambda fake: fake.set(stdout_bytes=188, lines=[(0.0, "last words")]),
}


@pytest.mark.parametrize("reason", PIPES)
async def test_a_pipe_says_why_it_has_ended_and_what_ffmpeg_said_last(fake: FakeFFmpeg, reason: str) -> None:
    PIPES[reason](fake)
    feed, ledger = Feed(), Ledger()

    def argv(progress_fd: int, source: Input) -> list[str]:
        return [str(fake.path), "-progress", f"pipe:{progress_fd}", "-i", source.url, "pipe:1"]

    kit = Kit(Confinement(marker="test"), ledger, 1.0)
    source = PipeSource(argv, feed=feed, kit=kit, kind="transcode_ts", stream="channel", stall=0.4)
    await source.open()
    try:
        assert await source.read()
        with pytest.raises(UpstreamError) as caught:
            await source.read()
    finally:
        await source.aclose()
    assert caught.value.reason == reason
    assert "last words" in caught.value.detail
    assert "hunter2" not in caught.value.detail
    assert feed.taps[0].closed
    assert ledger.running == {"transcode_ts": 0}


async def test_a_pipe_that_is_too_slow_is_spoken_of(
    fake: FakeFFmpeg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F55: speed below 1x, although bytes come."""
    monkeypatch.setattr(speed, "SPEED_SPAN", 0.3)
    monkeypatch.setattr(pipe, "LOOK_INTERVAL", 0.05)
    fake.set(stdout_bytes=1 << 40, stdin="ignore", progress_every=1.0)
    ledger = Ledger()

    def argv(progress_fd: int, source: Input) -> list[str]:
        return [str(fake.path), "-progress", f"pipe:{progress_fd}", "-i", source.url, "pipe:1"]

    kit = Kit(Confinement(marker="test"), ledger, 1.0)
    source = PipeSource(argv, feed=Feed(), kit=kit, kind="transcode_ts", stream="channel", stall=5.0)
    await source.open()
    try:
        async with asyncio.timeout(20.0):
            while not ledger.slow:
                assert await source.read()
                await turn()
    finally:
        await source.aclose()
    assert ledger.slow == {"transcode_ts": 1}
    assert any("too slow: 0.00 of real time" in one.getMessage() for one in caplog.records)


async def test_dated_segments_never_repeat_a_name_and_go_in_time(fake: FakeFFmpeg) -> None:
    async with bench(fake, linger=0.3) as it:
        await it.writer.ready()
        seen: dict[int, str] = {}
        async with reading(it.writer) as reader:
            for kills in range(3):
                await it.grown(30)
                (directory,) = it.root.iterdir()
                on_disk = {path.name for path in directory.glob("segment_*.ts")}
                listed = it.writer.timeline.listed()
                assert {entry.name for entry in listed} <= on_disk
                assert len(on_disk) < 30, "more than the window and what left it within the last moments"
                seen |= {number: segment.name for number, segment in it.writer.files.items()}
                pid = it.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await fake.run(kills + 2)
            await it.grown(1)
            await until(lambda: bool(reader.seams) and reader.seams[-1] == 3)
        assert len(set(seen.values())) == len(seen)
        assert all(int(name[:-3].rpartition("_")[2]) == number for number, name in seen.items())
