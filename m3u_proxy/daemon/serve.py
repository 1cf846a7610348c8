"""The daemon from its settings to its exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop

from m3u_proxy.daemon.app import Daemon
from m3u_proxy.daemon.demo import DemoSource
from m3u_proxy.errors import StartError
from m3u_proxy.log import Logs
from m3u_proxy.model import endpoint_of
from m3u_proxy.settings import Settings
from m3u_proxy.web.definitions import plain_stream, transcoded_stream
from m3u_proxy.web.schemas.streams import StreamRequest, TranscodeRequest

DEMO_TEMPLATE = "-i {input_url} -c copy -f hls index.m3u8"
DONE, FAILED = 0, 1


def serve(settings: Settings, *, demo: bool) -> int:
    """Run until a signal: 0; 1 if it could not start, with one line on stderr that says why."""
    with (
        Logs(settings.log_level, settings.log_format, anonymize=settings.log_anonymize) as logs,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        try:
            runner.run(_run(Daemon(settings, lambda: logs.dropped), demo=demo))
        except StartError as error:
            sys.stderr.write(f"m3u-proxy: {error.detail}\n")
            return FAILED
    return DONE


async def _run(daemon: Daemon, *, demo: bool) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(daemon)
        if demo:
            await stack.enter_async_context(_demo(daemon))
        await daemon.stopped()


@asynccontextmanager
async def _demo(daemon: Daemon) -> AsyncIterator[None]:
    """The test channel, through the proxy like any other: as it is, and as HLS."""
    ffmpeg, context = daemon.binaries.ffmpeg, daemon.context
    if ffmpeg is None:
        sys.stdout.write("No demo channel: there is no FFmpeg.\n")
        yield
        return
    async with DemoSource(ffmpeg.path, ffmpeg.encoders, daemon.kit) as source:
        daemon.judge.allow(*source.address)
        plain = StreamRequest(url=source.url, metadata=_title("Demo channel"), permanent=True)
        hls = TranscodeRequest(
            url=source.url, profile=DEMO_TEMPLATE, metadata=_title("Demo channel, HLS"), permanent=True
        )
        streams = [
            context.audience.define(plain_stream(context, plain), lasting=False),
            context.audience.define(transcoded_stream(context, hls), lasting=False),
        ]
        base = f"http://localhost:{daemon.addresses[0][1]}{context.config.root_path}"
        lines = ["", "Demo channel", f"  in a browser   {base}/ui"]
        forms = zip(("MPEG-TS", "HLS"), streams, strict=True)
        lines += [
            f"  in VLC         {base}{endpoint_of(stream.id, stream.kind)}   ({form})"
            for form, stream in forms
        ]
        sys.stdout.write("\n".join([*lines, "", ""]))
        sys.stdout.flush()
        yield


def _title(title: str) -> dict[str, str]:
    """Metadata of a demo stream; the page starts one that says ``demo`` by itself."""
    return {"title": title, "demo": "true"}
