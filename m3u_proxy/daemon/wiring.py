"""From settings to the pool and its audience: plain values, and who opens sources."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from math import ceil, inf
from random import random
from secrets import token_bytes

from m3u_proxy.daemon.keeping import Keeping
from m3u_proxy.events import Bus
from m3u_proxy.ffmpeg import hardware as hw
from m3u_proxy.ffmpeg.binary import Binaries
from m3u_proxy.ffmpeg.command.shape import SEGMENT_SECONDS, WINDOW_SEGMENTS, HlsOptions, within
from m3u_proxy.ffmpeg.probe import probe
from m3u_proxy.ffmpeg.process.run import Kit
from m3u_proxy.ffmpeg.transcoder import Transcoder
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.model import Naming, SilenceCheck
from m3u_proxy.observe.webhooks import Webhooks
from m3u_proxy.pool.accounts import Accounts, LeasedSource
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.catalog import Catalog
from m3u_proxy.pool.checkup import Checkup
from m3u_proxy.pool.live.outlet import PeerWatch
from m3u_proxy.pool.live.overlap import OverlapLimits
from m3u_proxy.pool.live.prebuffer import PrebufferLimits
from m3u_proxy.pool.live.relay import RelayLimits
from m3u_proxy.pool.loopback import Grants
from m3u_proxy.pool.memory import Memory
from m3u_proxy.pool.pool import Pool
from m3u_proxy.pool.quality.checks import BitrateCheck
from m3u_proxy.pool.quality.inspection import Inspections
from m3u_proxy.pool.tally import Tally
from m3u_proxy.pool.vod.position import VodLimits
from m3u_proxy.pool.workshop import Parts
from m3u_proxy.settings import Settings
from m3u_proxy.storage.registry import Registry
from m3u_proxy.upstream.address import Judge
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.failover import FailoverLimits
from m3u_proxy.upstream.headers import request_headers
from m3u_proxy.upstream.pacing import Pacer
from m3u_proxy.upstream.post import Poster
from m3u_proxy.upstream.resolver import FailoverResolver
from m3u_proxy.upstream.source import HttpSource, Limits

log = logging.getLogger(__name__)

HEAD_START = 0.6
"""Share of a joiner's patience in which a source is to begin, if another one is there for the rest."""
PROBE = 12.0
"""Seconds that ffprobe may read a source."""
QUEUE = 1024 * 1024
"""Bytes a viewer's queue holds beyond the kernel's buffer, unless the setting is smaller."""
KEEP_EXTRA = 2
"""Segments served after they have left the playlist."""
LINGER = 0.8
"""Part of CHANNEL_CLEANUP_INTERVAL for which a channel's are: what is done about it takes time, too."""


def judge(settings: Settings, own: Callable[[], Collection[tuple[str, int]]]) -> Judge:
    """Who decides which targets may be contacted; ``own`` gives the addresses at which we listen.

    With a token, or with nobody but this machine listening, loopback targets are legitimate.
    """
    allow_loopback = settings.allow_loopback_targets
    if allow_loopback is None:
        is_local = all(ip_address(host).is_loopback for host, _ in own())
        allow_loopback = is_local or bool(settings.api_token)
        if not allow_loopback:
            log.warning("no API_TOKEN while listening beyond loopback: loopback targets are refused")
    return Judge(allow_loopback=allow_loopback, allow_private=settings.allow_private_targets, own=own)


def audience(
    settings: Settings,
    *,
    judge: Judge,
    budget: Budget,
    grants: Grants,
    transcoder: Transcoder,
    max_viewers: int,
    bus: Bus,
    pseudonym: str,
) -> Audience:
    """Streams, viewers and the pool that serves them."""
    accounts = Accounts(settings.account_limits)
    relay_limits = RelayLimits(
        ring=settings.relay_buffer_size,
        queue=min(QUEUE, settings.viewer_queue),
        filler=settings.filler,
    )
    live_limits = _live_limits(settings, relay_limits)
    parts = Parts(
        open_source=Opener(settings, judge, accounts, pseudonym),
        accounts=accounts,
        relay_limits=relay_limits,
        live_limits=live_limits,
        strict_limits=replace(live_limits, prebuffer=_prebuffer(settings)),
        vod_limits=VodLimits(resume=settings.stream_total_timeout),
        budget=budget,
        tally=Tally(),
        memory=Memory(token_bytes(32)),
        grants=grants,
        prefetch=settings.hls_prefetch,
        failover_limits=FailoverLimits(
            max_attempts=settings.max_failover_attempts,
            retries=settings.stream_retry_attempts,
            retry_delay=settings.stream_retry_delay,
            exponential=settings.stream_retry_exponential_backoff,
            budget=settings.stream_total_timeout,
            cooldown=settings.strict_live_ts_circuit_breaker_cooldown,
        ),
        pacer=Pacer(random),
        request_headers=request_headers,
        ask_resolver=FailoverResolver(judge, poster(settings, judge)).ask,
        inspections=_inspections(settings, transcoder),
        head_start=HEAD_START * settings.hls_wait_time,
    )
    pool = Pool(
        parts,
        transcoder=transcoder,
        max_ffmpeg=settings.max_ffmpeg,
        grace=settings.shared_stream_grace,
    )
    catalog = Catalog(
        limit=settings.max_streams, idle=settings.stream_timeout, retention=settings.stream_retention
    )
    peers = PeerWatch(stuck=settings.viewer_stuck, pause=settings.viewer_pause)
    return Audience(pool, catalog, bus, peers, max_viewers=max_viewers, patience=settings.client_timeout)


def shapes(settings: Settings) -> dict[Naming, HlsOptions]:
    """What HLS output looks like, where nobody says otherwise: of a transcode, and of a channel."""
    seconds = within(settings.channel_segment_duration, SEGMENT_SECONDS)
    window = within(settings.channel_max_segments, WINDOW_SEGMENTS)
    linger = LINGER * settings.channel_cleanup_interval
    extra = min(ceil(linger / seconds) + KEEP_EXTRA, WINDOW_SEGMENTS[1])
    return {
        Naming.NUMBERED: HlsOptions(settings.hls_segment_duration, settings.hls_window, KEEP_EXTRA),
        Naming.DATED: HlsOptions(seconds, window, extra, Naming.DATED, linger),
    }


def transcoder(
    settings: Settings, binaries: Binaries, kit: Kit, instance: str, admit: Callable[[], None]
) -> Transcoder:
    """Who makes the FFmpeg side of streams; ``admit`` refuses a start while the disk is too full."""
    return Transcoder(
        binaries=binaries,
        kit=kit,
        shapes=shapes(settings),
        stall=settings.seg_stall,
        root=settings.hls_temp_dir,
        instance=instance,
        admit=admit,
    )


def poster(settings: Settings, judge: Judge) -> Poster:
    """Who calls back editors."""
    return Poster(judge, tls_verify=settings.upstream_tls_verify)


async def keeping(
    settings: Settings, judge: Judge, catalog: Catalog, channels: Channels, bus: Bus
) -> Keeping:
    """Who remembers over a restart, and tells webhooks; to be entered."""
    registry = await asyncio.to_thread(Registry.open, settings.state_dir)
    return Keeping(registry, catalog, channels, Webhooks(poster(settings, judge).post), bus)


def checkup(pool: Pool, binaries: Binaries, kit: Kit) -> Checkup:
    """Who finds out whether a source can be played."""
    ffprobe = binaries.ffprobe
    look = partial(probe, ffprobe, kit, patience=PROBE) if ffprobe else None
    return Checkup(pool, pool.parts.accounts, look)


def _live_limits(settings: Settings, limits: RelayLimits) -> RelayLimits:
    if not settings.strict_live_ts_overlap_trim:
        return limits
    overlap = OverlapLimits(
        signature=settings.strict_live_ts_overlap_signature_size,
        search=settings.strict_live_ts_overlap_max_search_size,
        wait=settings.strict_live_ts_overlap_max_wait,
    )
    return replace(limits, overlap=overlap)


def _prebuffer(settings: Settings) -> PrebufferLimits:
    """Not more than half of the ring, which would never hold it."""
    size = min(settings.strict_live_ts_prebuffer_size, settings.relay_buffer_size // 2)
    return PrebufferLimits(size, settings.strict_live_ts_prebuffer_timeout)


def _strict(settings: Settings, live: Limits) -> Limits:
    """A circuit breaker is of use only where it notices silence before everyone does."""
    silence = settings.strict_live_ts_circuit_breaker_timeout
    if not 0 < silence < (live.stall or inf):
        return live
    return replace(live, stall=silence, silence="circuit_breaker")


async def hardware(settings: Settings, binaries: Binaries) -> hw.Hardware:
    """What encodes; told once."""
    said = settings.hw_accel_available, settings.hw_accel_type, settings.hw_accel_device
    found = await hw.find(*said, binaries.ffmpeg)
    hw.tell(found)
    return found


def silence(settings: Settings) -> SilenceCheck | None:
    """How the sound of a stream is checked that says nothing of it."""
    if not settings.enable_silence_detection:
        return None
    return SilenceCheck(
        threshold_db=settings.silence_threshold_db,
        duration=settings.silence_duration,
        interval=settings.silence_check_interval,
        failures=settings.silence_failover_threshold,
        grace=settings.silence_monitoring_grace_period,
    )


def _inspections(settings: Settings, transcoder: Transcoder) -> Inspections:
    bitrate = BitrateCheck(
        minimum=settings.min_bitrate_threshold,
        interval=settings.bitrate_check_interval,
        failures=settings.bitrate_failover_threshold,
        grace=settings.bitrate_monitoring_grace_period,
    )
    return Inspections(
        bitrate=bitrate if settings.enable_bitrate_monitoring else None,
        leave_slow=settings.slow_rate_failover,
        listen=transcoder.ear,
    )


class Opener:
    """Makes a source for an ask; every one of them passes the same judge and pays with a slot."""

    def __init__(self, settings: Settings, judge: Judge, accounts: Accounts, pseudonym: str) -> None:
        self._judge = judge
        self._pseudonym = pseudonym
        self._accounts = accounts
        self._tls_verify = settings.upstream_tls_verify
        connect, first = settings.default_connection_timeout, settings.default_read_timeout
        self._live = Limits(connect=connect, first_byte=first, stall=settings.live_chunk_timeout_seconds)
        self._strict = _strict(settings, self._live)
        self._file = Limits(
            connect=connect,
            first_byte=settings.vod_probe_timeout,
            stall=settings.vod_chunk_timeout_seconds,
        )

    def __call__(self, ask: Ask) -> LeasedSource:
        slot = self._accounts.slot(ask.payer or ask.url, lasting=ask.is_lasting)
        return LeasedSource(self._attempt(ask), slot)

    def _limits(self, ask: Ask) -> Limits:
        if ask.is_file:
            return self._file
        return self._strict if ask.is_strict else self._live

    def _attempt(self, ask: Ask) -> HttpSource:
        return HttpSource(
            ask.url,
            ask.headers,
            judge=self._judge,
            limits=self._limits(ask),
            tls_verify=self._tls_verify,
            named_by=ask.named_by,
            pseudonym=self._pseudonym,
        )
