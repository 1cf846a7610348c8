"""The composition root: builds everything in order, from plain values, and closes it in reverse."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from secrets import token_hex
from time import monotonic, time
from typing import Self

from m3u_proxy import __version__
from m3u_proxy.daemon import limits, wiring, wiring_lineup, wiring_web
from m3u_proxy.daemon.background import Background
from m3u_proxy.daemon.upkeep import Upkeep
from m3u_proxy.errors import StartError
from m3u_proxy.events import Bus
from m3u_proxy.ffmpeg.binary import Binaries, locate
from m3u_proxy.ffmpeg.command.profiles import profiles
from m3u_proxy.ffmpeg.process.run import Kit, Ledger
from m3u_proxy.ffmpeg.tools import Tools, look_up
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.observe.census import CensusTaker
from m3u_proxy.observe.figures import Figures
from m3u_proxy.observe.lag import LoopLag
from m3u_proxy.observe.metrics import Metrics
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls.segments import SegmentCache
from m3u_proxy.pool.loopback import Grants
from m3u_proxy.settings import Settings
from m3u_proxy.settings.effects import idle
from m3u_proxy.storage import directories
from m3u_proxy.storage.paces import Paces
from m3u_proxy.upstream.headers import request_headers
from m3u_proxy.upstream.reach import Reach
from m3u_proxy.web.context import Context, Health
from m3u_proxy.web.door import Arrivals
from m3u_proxy.web.links import Links
from m3u_proxy.web.listener import Deadlines, Listener, bind
from m3u_proxy.web.players.loopback import loopback_application
from m3u_proxy.web.routes import application, metrics_application
from m3u_proxy.web.tries import Tries

log = logging.getLogger(__name__)

GC_THRESHOLD = 20_000
"""Objects between two collections: requests leave few cycles, and a look at 700 finds none."""


class Daemon:
    """The running program. ``async with`` starts and ends it; ``stopped()`` waits for a signal.

    Raises ``StartError`` from entering, with nothing left behind.
    """

    def __init__(self, settings: Settings, log_dropped: Callable[[], int]) -> None:
        self._settings = settings
        self._log_dropped = log_dropped
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self.instance = token_hex(8)
        self.pseudonym = f"m3u-proxy-{token_hex(4)}"
        """In ``Via``; tells nothing of this machine."""
        self.health = Health()
        self.tools = Tools()
        self.census = CensusTaker(self.instance)
        self.arrivals = Arrivals()
        self._inside: list[tuple[str, int]] = []
        """Where FFmpeg reads: nobody else's business, and no target."""
        self.addresses: list[tuple[str, int]] = []
        """Address and port of every listening socket."""

    async def __aenter__(self) -> Self:
        try:
            await self._build()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        log.info("stopped")

    async def stopped(self) -> None:
        """Wait for SIGTERM or SIGINT; a second one ends the process at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        await self._stop.wait()

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            log.warning("second %s: stopping hard", number.name)
            os._exit(1)  # children have a parent-death signal
        log.info("%s: draining", number.name)
        self._stop.set()

    async def _build(self) -> None:
        sockets, of_metrics = await self._look_around()
        bus, budget = Bus(), Budget(self._settings.segment_cache_size)
        await self._build_pool(bus, budget)
        self._build_lineup()
        await asyncio.to_thread(self.lineups.guides.recall)
        await self._recall(bus)
        await self._let_in(sockets, of_metrics, SegmentCache(budget))
        self._keep_house()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        for host, port in self.addresses:
            log.info("m3u_proxy %s listens on %s port %d", __version__, host, port)

    async def _look_around(self) -> tuple[list[socket.socket], list[socket.socket]]:
        """What there is to work with: a directory for segments, FFmpeg, hardware.

        Returns sockets that are bound: of the main port, and of that for metrics alone.
        """
        settings = self._settings
        _tell_idle(settings)
        limits.raise_descriptor_limit()
        await asyncio.to_thread(directories.prepare, settings.hls_temp_dir)
        if settings.metrics_port is not None and settings.metrics_port == settings.port != 0:
            raise StartError(f"PORT and METRICS_PORT are both {settings.port}")
        sockets = self._bound(settings.port)
        of_metrics = [] if settings.metrics_port is None else self._bound(settings.metrics_port)
        self.binaries = await locate(settings.ffmpeg_path, settings.ffprobe_path)
        self.health.ffmpeg_missing = self.binaries.reason if self.binaries.ffmpeg is None else None
        _tell_ffmpeg(self.binaries)
        self.hardware = await wiring.hardware(settings, self.binaries)
        self.upkeep = Upkeep(settings, self.instance)
        await self.upkeep.look()
        return sockets, of_metrics

    async def _build_pool(self, bus: Bus, budget: Budget) -> None:
        """Streams and their viewers, with all that they need."""
        settings = self._settings
        self.background = await self._stack.enter_async_context(Background())
        self._deadlines = Deadlines(settings.header_timeout, settings.idle_timeout)
        self.ledger = Ledger()
        self.kit = Kit(limits.confinement(self.instance), self.ledger, settings.term_kill)
        self.judge = wiring.judge(settings, own=lambda: self.addresses + self._inside)
        grants = await self._serve_loopback()
        self.audience = wiring.audience(
            settings,
            judge=self.judge,
            budget=budget,
            grants=grants,
            transcoder=wiring.transcoder(
                settings, self.binaries, self.kit, self.instance, self.upkeep.guard.allow_writer
            ),
            max_viewers=limits.viewer_limit(settings.max_viewers),
            bus=bus,
            pseudonym=self.pseudonym,
        )

    def _build_lineup(self) -> None:
        """Channels, and what is done with them."""
        settings = self._settings
        self.channels = Channels()
        self.channel_streams = streams = wiring_lineup.channel_streams(settings, self.channels, self.audience)
        self.windows = wiring_lineup.windows(settings, self.channels, self.audience, streams)
        self.checkup = wiring.checkup(self.audience.pool, self.binaries, self.kit)
        accounts = self.audience.pool.parts.accounts
        self.surveys = wiring_lineup.surveys(self.channels, streams, self.checkup, accounts)
        self.lineups = wiring_lineup.lineups(settings, self.channels, self.audience.pool.parts)
        self._stack.push_async_callback(self.lineups.guides.aclose)

    async def _recall(self, bus: Bus) -> None:
        """What an earlier run has left for us; from now on it is kept for the next one."""
        settings = self._settings
        self.paces = Paces(self.audience.pool.parts.pacer, settings.state_dir)
        await self.paces.load()
        self._stack.push_async_callback(self.paces.save)
        keeping = await wiring.keeping(settings, self.judge, self.audience.catalog, self.channels, bus)
        self.keeping = await self._stack.enter_async_context(keeping)
        self._stack.push_async_callback(self.audience.aclose, "shutdown")
        self._stack.push_async_callback(self.surveys.aclose)

    async def _let_in(
        self, sockets: list[socket.socket], of_metrics: list[socket.socket], segments: SegmentCache
    ) -> None:
        """Serve players and editors, until the draining with which the end begins."""
        self._stack.push_async_callback(segments.aclose)
        self.context = self._context(segments)
        self._listener = Listener(application(self.context), sockets, self._deadlines, self.arrivals)
        self._stack.push_async_callback(self._listener.aclose)
        await self._listener.start()
        if of_metrics:
            await self._serve_metrics(self.context, of_metrics)
        self._stack.push_async_callback(self._drain)

    def _context(self, segments: SegmentCache) -> Context:
        settings = self._settings
        auth_failures: Counter[str] = Counter()
        responses: Counter[str] = Counter()
        metrics = Metrics(self._figures(segments, auth_failures, responses))
        self.lag = LoopLag(metrics.loop_lag.observe)
        self._watch_health()
        return Context(
            config=wiring_web.web_config(settings, self.pseudonym),
            audience=self.audience,
            windows=self.windows,
            surveys=self.surveys,
            segments=segments,
            webhooks=self.keeping.webhooks,
            links=Links(settings.root_path),
            checkup=self.checkup,
            reach=Reach(self.judge, tls_verify=settings.upstream_tls_verify),
            facts=wiring_web.facts(settings, self.binaries),
            tools=lambda: self.tools,
            health=self.health,
            check_url=self._check_url,
            is_ours=self.judge.is_ours,
            request_headers=request_headers,
            metrics=metrics.exposition,
            channels=self.channels,
            importer=self.lineups.importer,
            open_document=self.lineups.open_source,
            guides=self.lineups.guides,
            hardware=self.hardware,
            profiles=profiles(self.hardware.encoding, self.hardware.device),
            first_byte=metrics.note_first_byte,
            auth_failures=auth_failures,
            responses=responses,
            tries=Tries(settings.auth_tries),
            started_at=monotonic(),
        )

    def _watch_health(self) -> None:
        """Who is asked how things are."""
        self.health.disk_pressure = lambda: self.upkeep.guard.pressure
        self.health.disk_state = self.upkeep.space
        self.health.loop_lag = lambda: self.lag.seconds
        self.health.crashing = lambda: self.background.degraded

    def _figures(
        self, segments: SegmentCache, auth_failures: Counter[str], responses: Counter[str]
    ) -> Figures:
        """Where metrics find their numbers."""
        return Figures(
            audience=self.audience,
            ledger=self.ledger,
            segments=segments,
            webhooks=self.keeping.webhooks,
            disk=self.upkeep.guard,
            disk_limits=self.upkeep.limits,
            housekeeping=self.upkeep.counts,
            crashes=self.background.crashes,
            auth_failures=auth_failures,
            responses=responses,
            refused=self.arrivals.refused,
            accept_errors=lambda: self.arrivals.accept_errors,
            blocked=self.judge.blocked,
            census=lambda: self.census.last,
            log_dropped=self._log_dropped,
            started_at=time(),
            version=__version__,
        )

    def _check_url(self, field: str, url: str) -> str:
        self.judge.precheck(url, field)
        return url

    async def _serve_loopback(self) -> Grants:
        """Where FFmpeg reads what is no live stream. No setting reaches it, and nothing but loopback does."""
        sockets = bind("127.0.0.1", 0)
        host, port = sockets[0].getsockname()
        self._inside.append((host, port))
        grants = Grants(lambda: f"http://{host}:{port}")
        listener = Listener(
            loopback_application(grants), sockets, self._deadlines, self.arrivals, inside=True
        )
        self._stack.push_async_callback(listener.aclose)
        await listener.start()
        return grants

    def _bound(self, port: int) -> list[socket.socket]:
        """Sockets for HOST, before anything else begins: nobody is served for a moment only."""
        sockets = bind(self._settings.host, port)
        for sock in sockets:
            self._stack.callback(sock.close)  # also if something fails before anybody listens
        self.addresses += [sock.getsockname()[:2] for sock in sockets]
        return sockets

    async def _serve_metrics(self, context: Context, sockets: list[socket.socket]) -> None:
        listener = Listener(metrics_application(context), sockets, self._deadlines, self.arrivals)
        self._stack.push_async_callback(listener.aclose)
        await listener.start()

    def _keep_house(self) -> None:
        keep = self.background.keep
        keep("sweeper", self.audience.run)
        keep("windows", self.windows.run)
        keep("channel-streams", self.channel_streams.run)
        keep("loop-lag", self.lag.run)
        keep("census", self.census.run)
        keep("pacing", self.paces.run)
        keep("tools", self._look_up_tools)
        if self.lineups.watch is not None:
            keep("lineup", self.lineups.watch.run)
        self.upkeep.begin(self.background)

    async def _look_up_tools(self) -> None:
        """Serving does not wait for it: each of them takes a second to start."""
        self.tools = await look_up()

    async def _drain(self) -> None:
        """Let nobody in, let segments on their way arrive, end everything else."""
        self.health.draining = self.audience.draining = True
        await self._listener.close_door()
        self.keeping.hurry()
        closing = asyncio.create_task(self.audience.aclose("shutdown"), name="drain")
        try:
            async with asyncio.timeout(self._settings.drain):
                await self.audience.sending.over()
        except TimeoutError:
            log.warning("drain deadline: segments on their way are cut")
        await closing


def _tell_idle(settings: Settings) -> None:
    if names := idle(settings):
        log.warning("set, but without effect in this version: %s", ", ".join(names))


def _tell_ffmpeg(binaries: Binaries) -> None:
    ffmpeg = binaries.ffmpeg
    if ffmpeg is None:
        log.warning("no FFmpeg, transcoding is off: %s", binaries.reason)
    else:
        log.info("ffmpeg %s from %s (%s)", ffmpeg.version, ffmpeg.path, ffmpeg.found_in)
