"""What the handlers share, put together by the composition root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from aiohttp import web

from m3u_proxy.ffmpeg.command.profiles import Profile, profiles
from m3u_proxy.ffmpeg.hardware import Hardware
from m3u_proxy.ffmpeg.tools import Tools
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.guide import Guides
from m3u_proxy.lineup.importer import Importer
from m3u_proxy.lineup.place import OpenSource
from m3u_proxy.lineup.surveys import Surveys
from m3u_proxy.lineup.windows import Windows
from m3u_proxy.model import SilenceCheck
from m3u_proxy.observe.webhooks import Webhooks
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.checkup import Checkup
from m3u_proxy.pool.hls.segments import SegmentCache
from m3u_proxy.upstream.reach import Reach
from m3u_proxy.upstream.url import Target
from m3u_proxy.web.links import Links
from m3u_proxy.web.schemas.answers import ConfigurationShown, RedisShown, WorkerShown
from m3u_proxy.web.tries import Tries


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Plain values from the settings that HTTP needs."""

    root_path: str
    """Prefix under which every route answers too; empty for none."""
    api_token: str | None
    user_agent: str
    """Default for requests upstream."""
    join_wait: float
    """Seconds a joiner waits for its first byte or playlist."""
    body_limit: int
    """Bytes of a request body."""
    body_timeout: float
    """Seconds for a request body to arrive."""
    version: str
    pseudonym: str = ""
    """What ``Via`` calls us in requests upstream that may come back."""
    docs_url: str = "/docs"
    redoc_url: str = "/redoc"
    openapi_url: str = "/openapi.json"
    """Where the API is described."""
    strict_live_ts: bool = False
    """Every stream is endless, whatever its provider says."""
    use_sticky_session: bool = False
    """Whether a live stream stays with the host of a redirect, where its maker does not say."""
    is_behind_nginx: bool = False
    """Whether segments of ours are sent by nginx, from the file that an ``X-Accel-Redirect`` names."""
    silence: SilenceCheck | None = None
    """How the sound of a stream is checked that says nothing of it."""
    public_url: str | None = None
    """Base of absolute URLs in lineups; ``None``: as the request says."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of the settings and of the machine. No secret is among it."""

    ffmpeg_version: str | None
    redis: RedisShown
    configuration: ConfigurationShown
    worker: WorkerShown


@dataclass(slots=True)
class Health:
    """What readiness and health look at; kept current by their owners."""

    ffmpeg_missing: str | None = None
    """Why there is no FFmpeg; ``None`` when there is one."""
    disk_pressure: Callable[[], bool] = lambda: False
    disk_state: Callable[[], str] = lambda: "ok"
    loop_lag: Callable[[], float] = lambda: 0.0
    crashing: Callable[[], bool] = lambda: False
    draining: bool = False


@dataclass(frozen=True)
class Context:
    """Everything a handler may reach."""

    config: WebConfig
    audience: Audience
    windows: Windows
    surveys: Surveys
    segments: SegmentCache
    webhooks: Webhooks
    links: Links
    checkup: Checkup
    reach: Reach
    facts: Facts
    health: Health
    check_url: Callable[[str, str], str]
    """Judge a URL given by an editor: field name and URL; the URL, or ``InvalidField``."""
    is_ours: Callable[[Target], bool]
    """Whether a target is one of our own listeners, named by address or as ``localhost``."""
    request_headers: Callable[[str, str, Mapping[str, str]], Mapping[str, str]]
    """Headers sent upstream: URL, user agent, the caller's own."""
    metrics: Callable[[str], tuple[bytes, str]]
    """Exposition for an Accept header: body and content type."""
    first_byte: Callable[[str, bool, float], None]
    """Note a joiner's wait: kind, whether it was warm, seconds."""
    tries: Tries
    """Wrong tokens, by address."""
    channels: Channels
    """The lineup."""
    importer: Importer
    """Who takes another one."""
    open_document: OpenSource
    """Makes a source for a lineup at a URL."""
    guides: Guides
    """What is on when."""
    hardware: Hardware = field(default_factory=Hardware)
    """What encodes."""
    profiles: Mapping[str, Profile] = field(default_factory=profiles)
    """The built-in ones, for that hardware."""
    tools: Callable[[], Tools] = Tools
    """Versions of what resolves pages, once they are known."""
    auth_failures: Counter[str] = field(default_factory=Counter)
    """Requests without the right token, by what was wrong: ``missing`` or ``wrong``."""
    responses: Counter[str] = field(default_factory=Counter)
    """Answers by status code."""
    started_at: float = 0.0

    def uptime(self) -> float:
        """Seconds since the start."""
        return monotonic() - self.started_at


CONTEXT = web.AppKey("context", Context)
