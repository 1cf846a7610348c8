"""What editors wait for: counts, lists and new streams while many streams run and many viewers watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

import uvloop

from benchmarks import viewers
from benchmarks.clip import PACKET
from benchmarks.origin import Origin
from benchmarks.report import Figure
from benchmarks.turns import Rows
from m3u_proxy.daemon.app import Daemon
from m3u_proxy.model import Client, plain_id
from m3u_proxy.settings import load

STREAMS = 1_000
VIEWERS = 5_000
PLAYLISTS = 10
"""Values of the metadata that streams are looked for by."""
FLOWING = 250
"""Players of a source of 8 Mbit/s."""
FLOW_SECONDS = 40
TIMES = 200
"""Requests to each endpoint, one after the other over one connection."""
SETTLED = 5.0
"""Seconds until the sources are played although they never show a picture."""
NULL = b"\x47\x1f\xff\x10".ljust(PACKET, b"\xff")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
EVERYTHING = "streams and clients"
"""No editor asks for that, so it has no target."""
READS = {
    "counts by metadata": "/streams/counts-by-metadata?field=profile&values=0,1,2,3,4,5&active_only=1",
    "streams by metadata": "/streams/by-metadata?field=profile&value=3&active_only=1",
    "all by metadata": "/streams/by-metadata?field=playlist_uuid&value=all&active_only=1",
    "health": "/health",
    "streams": "/streams",
    "clients": "/clients",
    EVERYTHING: "/stats",
}
Ask = Callable[[int], tuple[str, str, bytes]]


def api(origin: Origin, _: Path) -> Rows:
    """1,000 live sources with 5 viewers each in this process, asked over HTTP by a thread of it."""
    with TemporaryDirectory() as home:
        found = uvloop.run(_measured(home, origin))
    name = f"api, {STREAMS} streams, {VIEWERS} viewers"
    for what, took in found.items():
        limit = None if what == EVERYTHING else 20 if what.startswith("new") else 50
        percentiles = quantiles(took, n=100)
        yield Figure(name, f"{what}, p50", percentiles[49] * 1e3, "ms")
        yield Figure(name, f"{what}, p99", percentiles[98] * 1e3, "ms", limit)


async def _measured(home: str, origin: Origin) -> dict[str, list[float]]:
    environ = {"HOST": "127.0.0.1", "PORT": "0", "STATE_DIR": home, "LIVE_CHUNK_TIMEOUT_SECONDS": "0"}
    provider = await asyncio.start_server(_give_little, "127.0.0.1", 0, backlog=STREAMS)
    async with provider, Daemon(load(environ), lambda: 0) as daemon:
        base = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}"
        port = daemon.addresses[0][1]
        await asyncio.to_thread(_define, port, base)
        _fill(daemon)
        await _running(daemon)
        found = {
            what: await asyncio.to_thread(_times, port, partial(_read, path)) for what, path in READS.items()
        }
        found |= await _while_media_flow(port, origin)
        found["new stream"] = await asyncio.to_thread(_times, port, partial(_create, f"{base}/new"))
        found["new stream, known and watched"] = await asyncio.to_thread(_times, port, partial(_create, base))
    return found


async def _while_media_flow(port: int, origin: Origin) -> dict[str, list[float]]:
    """The same reads beside players that take 2 Gbit/s from this process."""
    body = json.dumps({"url": origin.url("flow")}).encode()
    await asyncio.to_thread(_times, port, lambda _: ("POST", "/streams", body), 1)
    path = f"/stream/{plain_id(origin.url('flow'))}"
    playing = asyncio.create_task(
        asyncio.to_thread(viewers.run, "ts", port, path, FLOWING, seconds=FLOW_SECONDS, ramp=2.0)
    )
    await asyncio.sleep(4.0)
    found = {
        f"{what}, while 2 Gbit/s flow": await asyncio.to_thread(_times, port, partial(_read, READS[what]), 50)
        for what in READS
        if what != EVERYTHING
    }
    if playing.done():
        raise RuntimeError("the players were gone before the last answer")
    load = await playing
    if load.mbit_per_second < 0.9 * 8 * FLOWING:
        raise RuntimeError(f"only {load.mbit_per_second:.0f} Mbit/s flowed")
    return found


async def _give_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A live source that says what it is and nothing more."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD + NULL * 1_000)
    await reader.read()
    writer.close()


def _read(path: str, _: int) -> tuple[str, str, bytes]:
    return "GET", path, b""


def _create(base: str, number: int) -> tuple[str, str, bytes]:
    metadata = {"id": str(number), "playlist_uuid": "all", "profile": number % PLAYLISTS, "type": "channel"}
    body = {
        "url": f"{base}/live/user-{number}/pass/{number}.ts",
        "failover_urls": [f"{base}/live/user-{number}/backup/{number}.ts"],
        "metadata": metadata,
    }
    return "POST", "/streams", json.dumps(body).encode()


def _define(port: int, base: str) -> None:
    _times(port, partial(_create, base), STREAMS)


def _fill(daemon: Daemon) -> None:
    """Five viewers for each stream."""
    streams = [record.stream for record in daemon.audience.catalog.listed()]
    for number in range(VIEWERS):
        stream_id = streams[number % STREAMS].id
        now = datetime.now(UTC)
        client = Client(f"viewer-{number}", stream_id, "192.0.2.7", "VLC/3.0.18 LibVLC/3.0.18", "bob", now)
        daemon.audience.watch(stream_id, client)


async def _running(daemon: Daemon) -> None:
    """Until every source has been opened."""
    while sum(run.upstream_connections for run in daemon.audience.pool.running()) < STREAMS:
        await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLED)


def _times(port: int, ask: Ask, times: int = TIMES) -> list[float]:
    """Seconds from each request to the last byte of its answer."""
    took = []
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        for number in range(times):
            method, path, body = ask(number)
            began = perf_counter()
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read()
            took.append(perf_counter() - began)
            if response.status != 200:
                raise RuntimeError(f"{method} {path}: {response.status} {answer[:200]!r}")
    return took
