"""The demo channel's source: FFmpeg's test picture with a running clock and a tone, as live MPEG-TS.

An upstream on loopback, for the proxy one like any other. Every connection gets an FFmpeg of its own, which
ends with it: a demo that nobody watches costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Self

from aiohttp import web

from m3u_proxy.errors import ProxyError
from m3u_proxy.ffmpeg.process.child import Child
from m3u_proxy.ffmpeg.process.run import Kit

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
PATH = "/demo.ts"
KIND = "demo"
CONNECTIONS = 4
"""One is the rule; a reconnecting relay has two for a moment. Any local user may connect."""

# Drawn small and enlarged without smoothing: the clock in the corner is then legible in a small window.
_PICTURE = "testsrc2=size=640x360:rate=25,scale=1280:720:flags=neighbor,format=yuv420p"
_TONE = "sine=frequency=440:sample_rate=48000,volume=-20dB"
_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "2M", "-bufsize", "2M")
_MPEG2 = ("-c:v", "mpeg2video", "-b:v", "4M", "-bf", "0")


def command(ffmpeg: str, encoders: Collection[str]) -> list[str]:
    """FFmpeg's command line: 1280x720 at 25 Hz with a keyframe each second, in real time, to its stdout."""
    video = _X264 if "libx264" in encoders else _MPEG2
    return [
        *(ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error"),
        *("-re", "-f", "lavfi", "-i", _PICTURE, "-re", "-f", "lavfi", "-i", _TONE),
        *(*video, "-g", "25", "-c:a", "aac", "-b:a", "96k", "-ac", "2"),
        *("-muxdelay", "0", "-flush_packets", "1", "-f", "mpegts", "pipe:1"),
    ]


class DemoSource:
    """The server of the demo channel, from ``async with`` to its end; then no FFmpeg of it is left.

    ``encoders`` names those that ``ffmpeg``, an absolute path, was built with. ``url`` and ``address`` (host
    and port) hold inside the ``async with``.
    """

    def __init__(self, ffmpeg: str, encoders: Collection[str], kit: Kit) -> None:
        self.url, self.address = "", (HOST, 0)
        self._command = command(ffmpeg, encoders)
        self._kit = kit
        self._connections = 0
        app = web.Application()
        app.router.add_get(PATH, self._serve, allow_head=False)
        # A handler is cancelled when its connection is lost, also while it waits for FFmpeg.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.address = (HOST, self._runner.addresses[0][1])
        self.url = f"http://{HOST}:{self.address[1]}{PATH}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        """``GET /demo.ts``: an endless body; 503 when there are too many, or no FFmpeg."""
        if self._connections >= CONNECTIONS:
            raise web.HTTPServiceUnavailable(text="the demo has enough connections")
        child = Child(
            self._command,
            cwd=Path("/"),
            confinement=self._kit.confinement,
            stdin=False,
            stdout=True,
            on_stderr=lambda said: log.warning("demo: %s", said.decode(errors="replace").strip()),
            on_progress=lambda _: None,
        )
        running = self._kit.ledger.running
        self._connections += 1
        running[KIND] += 1
        try:
            child.start()
            response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
            await response.prepare(request)
            await _pump(child, response)
        except ProxyError as error:
            raise web.HTTPServiceUnavailable(text=error.detail) from None
        finally:
            self._connections -= 1
            await child.stop(term_kill=0.0)  # it has nothing to finish
            running[KIND] -= 1
        return response


async def _pump(child: Child, response: web.StreamResponse) -> None:
    """Pass on what the child writes, at the pace of the connection, until the end of either."""
    assert child.stdout_fd is not None
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    pipe = os.fdopen(os.dup(child.stdout_fd), "rb", buffering=0)  # the transport closes what it is given
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while data := await reader.read(1 << 16):
            await response.write(data)
    finally:
        transport.close()
