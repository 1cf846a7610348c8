"""From a request to the definition of a stream: what editors, tools and links made by hand have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from m3u_proxy.errors import BadTemplate, Unavailable
from m3u_proxy.ffmpeg.command.render import render
from m3u_proxy.media.bodies import CONTAINERS
from m3u_proxy.model import Origin, Stream, Transcode, plain_id, transcode_id
from m3u_proxy.web.attach import attached
from m3u_proxy.web.context import Context
from m3u_proxy.web.schemas.streams import StreamRequest, TranscodeRequest

DEFAULT_PROFILE = "default"
DEFAULT_OUTPUT = "mpegts"
INLINE = "custom"
"""What a profile is called whose template stands in the request."""


def plain_stream(context: Context, body: StreamRequest) -> Stream:
    """The definition of an untranscoded stream."""
    return _define(context, attached(context, body), plain_id(body.url), body.metadata or {}, None)


def transcoded_stream(context: Context, body: TranscodeRequest) -> Stream:
    """The definition of a transcoded stream; raises ``BadTemplate`` before anything is stored."""
    if body.resolver is not None:
        raise BadTemplate("resolvers are not available yet")
    if context.health.ffmpeg_missing is not None:
        raise Unavailable("ffmpeg unavailable", reason="ffmpeg_missing", retry_after=60.0)
    profile, template = _template(context, body.profile)
    wanted, body = body.url, attached(context, body)
    context.check_url("url", body.url)
    if "input_url" in body.profile_variables:
        context.check_url("profile_variables.input_url", body.profile_variables["input_url"])
    transcode = _transcode(profile, template, body)
    metadata = {
        "profile": profile,
        "profile_variables": str(dict(transcode.variables)),
        "ffmpeg_args": " ".join(transcode.arguments),
        **(body.metadata or {}),
        "transcoding": "true",
    }
    return _define(context, body, _id_of(wanted, transcode, body.profile_variables), metadata, transcode)


def _transcode(profile: str, template: str, body: TranscodeRequest) -> Transcode:
    """What FFmpeg is to make of it; raises ``BadTemplate``."""
    output_format = body.output_format or DEFAULT_OUTPUT
    rendered = render(template, body.profile_variables, input_url=body.url, output_format=output_format)
    if rendered.output == "pipe" and rendered.container not in CONTAINERS:
        raise BadTemplate(f"output format {rendered.container!r} cannot be shared; use hls or mpegts")
    built_in = {"input_url": body.url, "output_args": "pipe:1", "format": output_format}
    return Transcode(
        profile=profile,
        template=template,
        variables=built_in | body.profile_variables,
        output_format=output_format,
        arguments=rendered.arguments,
        output=rendered.output,
        container=rendered.container,
        content_type=rendered.content_type,
    )


def _id_of(url: str, transcode: Transcode, variables: Mapping[str, str]) -> str:
    """Id of the stream for a source as the editor names it; ``variables`` are those that it has sent."""
    inline = transcode.template if transcode.profile == INLINE else None
    form = "hls" if transcode.output == "hls" else "direct"
    if transcode.output_format != DEFAULT_OUTPUT:  # one more thing that makes it another stream
        variables = {"format": transcode.output_format, **variables}
    return transcode_id(url, transcode.profile, inline, variables, form)


def _template(context: Context, profile: str | None) -> tuple[str, str]:
    """Name and template."""
    wanted = (profile or DEFAULT_PROFILE).strip()
    if wanted.startswith("-"):
        return INLINE, wanted
    known = context.profiles.get(wanted)
    if known is None:
        names = ", ".join(context.profiles)
        raise BadTemplate(f"Profile '{wanted[:40]}' not found. Available profiles: {names}")
    return wanted, known.template


def _define(
    context: Context,
    body: StreamRequest,
    stream_id: str,
    metadata: Mapping[str, str],
    transcode: Transcode | None,
) -> Stream:
    """The definition that a request asks for; every URL in it has been judged."""
    url = context.check_url("url", body.url)
    failovers = tuple(
        context.check_url(f"failover_urls.{index}", one) for index, one in enumerate(body.failover_urls)
    )
    if body.failover_resolver_url:
        context.check_url("failover_resolver_url", body.failover_resolver_url)
    agent = body.user_agent or context.config.user_agent
    return Stream(
        id=stream_id,
        origin=Origin(url, context.request_headers(url, agent, body.headers)),
        user_agent=agent,
        created_at=datetime.now(UTC),
        failover_urls=failovers,
        failover_resolver_url=body.failover_resolver_url,
        metadata=metadata,
        headers=body.headers,
        transcode=transcode,
        permanent=body.permanent,
        strict_live_ts=body.strict_live_ts or context.config.strict_live_ts,
        use_sticky_session=context.config.use_sticky_session
        if body.use_sticky_session is None
        else body.use_sticky_session,
        silence=body.silence(context.config.silence),
    )
