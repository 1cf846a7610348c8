"""Frozen values that several rooms speak about. No behaviour that needs a loop, a clock or a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import md5, sha256

from m3u_proxy.errors import ProxyError


class State(StrEnum):
    """Life of a running thing (a relay or a writer). Changed in one method of its owner."""

    STARTING = "starting"
    LIVE = "live"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    CLOSED = "closed"


class Kind(StrEnum):
    """What a stream yields, hence which endpoint serves it."""

    LIVE = "live"
    HLS = "hls"
    VOD = "vod"
    TRANSCODE_TS = "transcode_ts"
    TRANSCODE_PIPE = "transcode_pipe"
    """Another container than MPEG-TS, in one body."""
    TRANSCODE_HLS = "transcode_hls"

    @property
    def is_hls(self) -> bool:
        """Whether players get a playlist; otherwise one body."""
        return self in (Kind.HLS, Kind.TRANSCODE_HLS)

    @property
    def is_transcoded(self) -> bool:
        """Whether FFmpeg makes it; what a plain stream yields is only certain once its source answered."""
        return self in (Kind.TRANSCODE_TS, Kind.TRANSCODE_PIPE, Kind.TRANSCODE_HLS)


@dataclass(frozen=True, slots=True)
class StreamKey:
    """Digest of what makes two requests the same bytes: source, headers that matter, output."""

    digest: str

    @classmethod
    def of(cls, *parts: str) -> StreamKey:
        """Key over ``parts``; none of them can be recovered from it, so it may be logged."""
        return cls(sha256("\x00".join(parts).encode()).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source is read: the configured URL and every header sent with the request."""

    url: str
    headers: Mapping[str, str]

    key: StreamKey = field(init=False, compare=False)
    """Two streams with an equal key share one upstream connection."""

    def __post_init__(self) -> None:
        lines = sorted(f"{name.lower()}:{value}" for name, value in self.headers.items())
        object.__setattr__(self, "key", StreamKey.of(self.url, *lines))


class Naming(StrEnum):
    """How the segments of HLS output are called on disk."""

    NUMBERED = "numbered"
    """``segment_7.ts``; FFmpeg removes them itself, and a new FFmpeg begins at 0."""
    DATED = "dated"
    """``segment_20260501_235959_007.ts``, by local time; the writer removes them, and numbers go on."""


@dataclass(frozen=True, slots=True)
class Transcode:
    """What FFmpeg makes of a source: the template as asked for, and as rendered."""

    profile: str
    template: str
    variables: Mapping[str, str]
    output_format: str
    arguments: tuple[str, ...]
    """The template, split and filled, as the caller wrote it (`ffmpeg_args`)."""
    output: str
    """``hls`` or ``pipe``."""
    container: str
    content_type: str
    naming: Naming = Naming.NUMBERED
    """Of HLS output."""


@dataclass(frozen=True, slots=True)
class SilenceCheck:
    """How a source is found to be silent. Decibels relative to full scale, seconds, and checks in a row."""

    threshold_db: float
    """No sample is louder."""
    duration: float
    """For so long at least."""
    interval: float
    failures: int
    grace: float
    """From the first media of a source to the beginning of the first interval."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A definition: what ``POST /streams`` or ``POST /transcode`` made. Not a running thing."""

    id: str
    origin: Origin
    user_agent: str
    created_at: datetime
    failover_urls: tuple[str, ...] = ()
    failover_resolver_url: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """The caller's own headers; ``origin.headers`` holds them merged over the defaults."""
    transcode: Transcode | None = None
    permanent: bool = False
    strict_live_ts: bool = False
    """Endless, whatever the provider says of lengths and ranges."""
    use_sticky_session: bool = False
    """A live stream that breaks is asked for again where redirects led, and at its own URL if that fails."""
    silence: SilenceCheck | None = None
    """How its sound is checked, if it is. Of streams that share a source the first one opened decides."""
    key: StreamKey = field(init=False, compare=False)
    """Key of the running thing that viewers of this stream share; looked up with every request."""

    def __post_init__(self) -> None:
        key = self.origin.key
        if self.transcode is not None:
            made = self.transcode
            key = StreamKey.of(key.digest, made.output, made.naming, *made.arguments)
        object.__setattr__(self, "key", key)

    @property
    def kind(self) -> Kind:
        """Decided by the output of a transcode; of a plain stream a guess, until its source has answered."""
        if self.transcode is None:
            return Kind.LIVE if self.strict_live_ts else guess_kind(self.origin.url)
        if self.transcode.output == "hls":
            return Kind.TRANSCODE_HLS
        return Kind.TRANSCODE_TS if self.transcode.container == "mpegts" else Kind.TRANSCODE_PIPE


def endpoint_of(stream_id: str, kind: Kind) -> str:
    """Path that players open, without the root path."""
    return f"/hls/{stream_id}/playlist.m3u8" if kind.is_hls else f"/stream/{stream_id}"


def window_endpoint(key: str) -> str:
    """Path of the HLS of a channel, without the root path."""
    return f"/hls_streams/{key}/master.m3u8"


_FILES = (".mp4", ".mkv", ".webm", ".avi")
_SHELVES = ("/movie/", "/series/", "/timeshift/")


def guess_kind(url: str) -> Kind:
    """What a URL looks like before anybody has asked it; `m3u_proxy.media.form` decides when it answers."""
    path = url.partition("#")[0].partition("?")[0].lower()
    if path.endswith(".m3u8"):
        return Kind.HLS
    is_file = path.endswith(_FILES) or any(shelf in path for shelf in _SHELVES)
    return Kind.VOD if is_file else Kind.LIVE


def plain_id(url: str) -> str:
    """Id of an untranscoded stream: the same for the same URL, for ever. 32 lowercase hex characters."""
    return md5(url.encode(), usedforsecurity=False).hexdigest()


def transcode_id(
    url: str, profile: str, template: str | None, variables: Mapping[str, str], kind: str
) -> str:
    """Id of a transcoded stream. An inline template or any variables become part of it.

    ``template`` is ``None`` for a named profile; ``kind`` is ``hls`` or ``direct``.
    """
    name = profile
    if template is not None or variables:
        items = [f"{key}={value}" for key, value in sorted(variables.items())]
        name = "custom:" + sha256("\x00".join([template or profile, *items]).encode()).hexdigest()[:32]
    return plain_id(f"{url}|transcoded|{name}|{kind}")


@dataclass(frozen=True, slots=True)
class Client:
    """Who is watching, as REST shows it. ``id`` is unique among the connected ones of a stream."""

    id: str
    stream_id: str
    ip_address: str
    user_agent: str
    username: str | None
    created_at: datetime
    since: str = field(init=False, compare=False)
    """``created_at`` in ISO 8601: lists show it thousands of times."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "since", self.created_at.isoformat())


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A running thing at one moment: what REST, metrics and tests read."""

    key: str
    kind: Kind
    state: State
    reason: str | None = None
    bytes_in: int = 0
    bitrate: float = 0.0
    """Bits per second over the last seconds, as received."""
    skips: int = 0
    media_info: Mapping[str, object] = field(default_factory=dict)
    upstream_connections: int = 0
    """Open to a provider now."""
    ffmpeg_pid: int | None = None


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """Which of its sources a stream reads now."""

    url: str
    index: int
    """0 is the primary, n the n-th failover."""
    attempts: int
    """Failovers so far."""


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """A definition, its counters and, while it runs, what runs."""

    stream: Stream
    kind: Kind
    """What it has turned out to yield, or looks like."""
    clients: int
    bytes_served: int
    segments_served: int
    errors: int
    last_access: datetime
    failover_at: datetime | None
    """When another source took over for the last time."""
    run: RunSnapshot | None
    upstream: RunSnapshot | None
    """What a transcode reads; a plain stream is its own."""
    source: SourceSnapshot | None
    """``None`` while nothing reads it."""
    failure: ProxyError | None
    """Why it failed a short while ago, if it did and has not run well since."""

    @property
    def is_active(self) -> bool:
        """Whether it is alive, watched or not: all but one that has failed and is not tried again yet."""
        return self.run is not None or self.failure is None
