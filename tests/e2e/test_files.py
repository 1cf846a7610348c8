"""Files at a provider, read in parts and after cuts."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import File, HlsOrigin
from tests.support.hls_reading import (
    endpoint,
)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
async def test_a_range_sweep_equals_the_file(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia, name: str
) -> None:
    body, kind = {"film.mp4": (media.mp4, "video/mp4"), "film.mkv": (media.mkv, "video/x-matroska")}[name]
    provider.file(f"/movie/{name}", File(body, kind))
    url, size = await endpoint(daemon, provider.url(f"/movie/{name}")), len(body)
    async with http.get(url) as response:
        assert (response.status, response.content_type) == (200, kind)
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.content_length == size
        assert await response.read() == body
    swept = bytearray()
    while len(swept) < size:
        last = min(size, len(swept) + 700_001) - 1
        async with http.get(url, headers={"Range": f"bytes={len(swept)}-{last}"}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes {len(swept)}-{last}/{size}"
            swept += await response.read()
    assert swept == body
    for asked, part in (("0-0", body[:1]), ("-7", body[-7:]), (f"{size - 3}-", body[-3:])):
        async with http.get(url, headers={"Range": f"bytes={asked}"}) as response:
            assert response.status == 206
            assert await response.read() == part
    async with http.get(url, headers={"Range": f"bytes={size}-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert provider.peak(f"/movie/{name}") == 1


async def test_head_of_a_file_has_its_headers_and_no_body(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    provider.file("/movie/film.mp4", File(media.mp4, "video/mp4"))
    url = await endpoint(daemon, provider.url("/movie/film.mp4"))
    async with http.head(url) as response:
        assert (response.status, response.content_type) == (200, "video/mp4")
        assert response.headers["Content-Length"] == str(len(media.mp4))
        assert response.headers["ETag"]
        assert await response.read() == b""
    async with http.head(url, headers={"Range": "bytes=0-99"}) as response:
        assert (response.status, response.headers["Content-Length"]) == (206, "100")


async def test_a_download_that_is_cut_goes_on_at_the_same_byte(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    provider.file("/movie/film.mp4", File(media.mp4, "video/mp4"))
    hold = provider.hold("/movie/film.mp4", after=500_000)
    async with http.get(await endpoint(daemon, provider.url("/movie/film.mp4"))) as response:
        head = await response.content.readexactly(300_000)
        hold.cut()
        assert head + await response.read() == media.mp4
    first, *later = provider.asked("/movie/film.mp4")
    assert "range" not in first.headers or first.headers["range"] == "bytes=0-"
    assert later
    assert all(int(each.headers["range"][6:].split("-")[0]) > 0 for each in later)
    assert provider.peak("/movie/film.mp4") == 1


async def test_a_cut_download_of_a_server_without_ranges_is_closed(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    provider.file("/movie/film.mp4", File(media.mp4, "video/mp4", ranges=False))
    hold = provider.hold("/movie/film.mp4", after=500_000)
    got = bytearray()
    async with http.get(await endpoint(daemon, provider.url("/movie/film.mp4"))) as response:
        got += await response.content.readexactly(300_000)
        hold.cut()
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012  # what came before the end counts
            async for piece in response.content.iter_any():
                got += piece
    assert got == media.mp4[: len(got)]


# FFmpeg from these sources
