"""``/streams``: requests and answers, word for word."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import md5
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Origin
from tests.support.rawhttp import ask, with_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = "http://provider.example/live/u/p/101.ts"
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/115.0.0.0 Safari/537.36"
)
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


async def refused(daemon: Daemon, path: str = "/streams", **body: Any) -> list[dict[str, Any]]:
    """Rows of a 422."""
    async with daemon.http.post(path, json=body) as response:
        answer = await response.json()
        assert response.status == 422, answer
        rows: list[dict[str, Any]] = answer["detail"]
        assert all({"type", "loc", "msg", "input"} <= row.keys() for row in rows), rows
        return rows


async def test_a_stream_is_made(daemon: Daemon) -> None:
    answer = await daemon.post(
        "/streams",
        url=EXAMPLE,
        failover_urls=["http://backup.example/live/u/p/101.ts"],
        metadata={"id": "101", "type": "channel"},
    )
    assert answer == {
        "stream_id": "1e504d534b5eac4979fb73c871810a37",
        "primary_url": "http://provider.example/live/u/p/101.ts",
        "failover_urls": ["http://backup.example/live/u/p/101.ts"],
        "user_agent": AGENT,
        "stream_type": "direct",
        "stream_endpoint": "/stream/1e504d534b5eac4979fb73c871810a37",
        "playlist_url": "/stream/1e504d534b5eac4979fb73c871810a37",
        "direct_url": "/stream/1e504d534b5eac4979fb73c871810a37",
        "message": "Stream created successfully (direct)",
        "metadata": {"id": "101", "type": "channel"},
    }


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://provider.example/a.m3u8", "hls"),
        ("http://provider.example/a.M3U8?token=1", "hls"),
        ("http://provider.example/a.ts?list=b.m3u8", "direct"),
        ("http://provider.example/live/u/p/7", "direct"),
        ("HTTPS://provider.example/movie/u/p/7.mkv", "direct"),
        ("http://provider.example/?q=<script>javascript:data:", "direct"),
    ],
)
async def test_the_kind_is_judged_from_the_path(daemon: Daemon, url: str, kind: str) -> None:
    answer = await daemon.post("/streams", url=url)
    digest = md5(url.encode(), usedforsecurity=False).hexdigest()
    endpoint = f"/hls/{digest}/playlist.m3u8" if kind == "hls" else f"/stream/{digest}"
    assert answer["stream_id"] == digest
    assert answer["stream_type"] == kind
    assert {answer["stream_endpoint"], answer["playlist_url"], answer["direct_url"]} == {endpoint}
    assert "metadata" not in answer


async def test_what_is_given_does_not_change_the_id(daemon: Daemon) -> None:
    answer = await daemon.post(
        "/streams", url=EXAMPLE, user_agent="VLC/3.0", headers={"X-A": "b"}, unknown="ignored"
    )
    assert answer["stream_id"] == "1e504d534b5eac4979fb73c871810a37"
    assert answer["user_agent"] == "VLC/3.0"


async def test_metadata_comes_back_as_python_prints_it(daemon: Daemon) -> None:
    """Trap 6: values come back as text."""
    given = {"n": 7, "x": 1.0, "yes": True, "no": False, "s": "a=b;\n'\"", "": "empty"}
    shown = {"n": "7", "x": "1.0", "yes": "True", "no": "False", "s": "a=b;\n'\"", "": "empty"}
    answer = await daemon.post("/streams", url="http://provider.example/metadata.ts", metadata=given)
    assert answer["metadata"] == shown
    listed = await daemon.get(f"/streams/{answer['stream_id']}")
    assert listed["stream"]["metadata"] == shown
    assert "transcoding" not in listed["stream"]["metadata"]


@pytest.mark.parametrize("empty", [None, []])
async def test_null_and_an_empty_list_are_the_default(daemon: Daemon, empty: object) -> None:
    """Trap 27: ``[]`` is an empty map."""
    answer = await daemon.post(
        "/streams",
        url="http://provider.example/empty.ts",
        metadata=empty,
        headers=empty,
        failover_urls=empty,
        failover_resolver_url=None,
        user_agent=None,
    )
    row = (await daemon.get(f"/streams/{answer['stream_id']}"))["stream"]
    assert (row["metadata"], row["headers"], row["failover_urls"]) == ({}, {}, [])
    assert row["user_agent"] == AGENT


async def test_null_header_values_are_dropped_and_numbers_are_text(daemon: Daemon) -> None:
    """Trap 32: a header that is null is dropped, not refused."""
    headers = {"X-Keep": "1", "X-Null": None, "X-Number": 5}
    answer = await daemon.post("/streams", url="http://provider.example/headers.ts", headers=headers)
    row = (await daemon.get(f"/streams/{answer['stream_id']}"))["stream"]
    assert row["headers"] == {"X-Keep": "1", "X-Number": "5"}


async def test_slashes_may_be_escaped(daemon: Daemon) -> None:
    reply = await ask(daemon.port, with_body("/streams", b'{"url":"http:\\/\\/provider.example\\/live.ts"}'))
    assert reply.status == 200
    assert reply.json()["primary_url"] == "http://provider.example/live.ts"


async def test_a_row_of_the_listing(daemon: Daemon) -> None:
    url = "http://provider.example/row.ts"
    made = await daemon.post("/streams", url=url, failover_resolver_url="http://editor.example/r")
    listing = await daemon.get("/streams")
    assert listing["total"] == len(listing["streams"])
    (row,) = (row for row in listing["streams"] if row["stream_id"] == made["stream_id"])
    assert ISO.fullmatch(row.pop("created_at"))
    assert ISO.fullmatch(row.pop("last_access"))
    expected = {
        "stream_id": made["stream_id"],
        "original_url": url,
        "current_url": url,
        "user_agent": AGENT,
        "client_count": 0,
        "total_bytes_served": 0,
        "total_segments_served": 0,
        "error_count": 0,
        "is_active": True,
        "has_failover": True,
        "failover_urls": [],
        "failover_resolver_url": "http://editor.example/r",
        "current_failover_index": 0,
        "failover_attempts": 0,
        "last_failover_time": None,
        "stream_type": "Live Continuous",
        "metadata": {},
        "headers": {},
        "media_info": {},
        "output_media_info": {},
    }
    assert {name: row[name] for name in expected} == expected


async def test_a_client_of_a_stream(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    path = f"{made['stream_endpoint']}?client_id=tv%2Fone&username=bob"
    headers = {"User-Agent": "VLC/3.0", "X-Forwarded-For": "203.0.113.7, 10.0.0.1"}
    async with daemon.http.get(path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["X-Client-ID"] == "tv/one"
        assert response.headers["X-Stream-ID"] == made["stream_id"]
        await response.content.readexactly(188)
        shown = await daemon.get(f"/streams/{made['stream_id']}")
        assert shown["client_count"] == 1
        (client,) = shown["clients"]
        assert client.pop("bytes_served") >= 188
        assert datetime.fromisoformat(client.pop("created_at")) <= datetime.fromisoformat(
            client.pop("last_access")
        )
        assert client == {
            "client_id": "tv/one",
            "stream_id": made["stream_id"],
            "user_agent": "VLC/3.0",
            "ip_address": "203.0.113.7",
            "username": "bob",
            "segments_served": 0,
            "is_connected": True,
        }
        assert shown["stream"]["client_count"] == 1
        health = await daemon.get("/health")
        assert health["stats"]["total_clients"] >= 1  # players of earlier tests may still be counted
        await daemon.post("/streams", url=origin.url("/live.ts"), metadata={"id": "other"})
        await response.content.readexactly(188 * 100)  # asking again harms nobody
    await daemon.http.delete(f"/streams/{made['stream_id']}")


async def test_a_delete_is_over_when_it_is_answered(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    async with daemon.http.get(made["stream_endpoint"]) as response:
        await response.content.readexactly(188)
        async with daemon.http.delete(f"/streams/{made['stream_id']}") as deleted:
            assert deleted.status == 200
            assert await deleted.json() == {"message": f"Stream {made['stream_id']} deleted"}
        rows = (await daemon.get("/clients"))["clients"]
        assert made["stream_id"] not in {row["stream_id"] for row in rows}
    await origin.until(lambda: origin.path("/live.ts").live == 0, within=1.0)
    for method in ("GET", "DELETE"):
        async with daemon.http.request(method, f"/streams/{made['stream_id']}") as response:
            assert response.status == 404
            assert await response.json() == {"detail": "Stream not found"}
    async with daemon.http.get(made["stream_endpoint"]) as response:
        assert response.status == 404


async def test_creation_contacts_nobody(daemon: Daemon, origin: Origin) -> None:
    """Trap 9: creating is instant and contacts nobody."""
    before = len(origin.connections)
    url = origin.url("/untouched.ts")
    made = await daemon.post("/streams", url=url, failover_urls=[url + "2"], failover_resolver_url=url)
    async with daemon.http.head(made["stream_endpoint"]) as response:
        assert response.status == 200
    assert len(origin.connections) == before


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("url", None, ["body", "url"]),
        ("url", 7, ["body", "url"]),
        ("failover_urls", "http://a.example/", ["body", "failover_urls"]),
        ("failover_urls", [7], ["body", "failover_urls", 0]),
        ("failover_resolver_url", {}, ["body", "failover_resolver_url"]),
        ("user_agent", 7, ["body", "user_agent"]),
        ("user_agent", "a\r\nX-B: c", ["body", "user_agent"]),
        ("user_agent", "a" * 10_240, ["body", "user_agent"]),
        ("metadata", "x", ["body", "metadata"]),
        ("metadata", {"k": None}, ["body", "metadata"]),
        ("metadata", {"k": [1]}, ["body", "metadata"]),
        ("metadata", {str(n): 1 for n in range(65)}, ["body", "metadata"]),
        ("metadata", {"k": "v" * 1025}, ["body", "metadata"]),
        ("headers", ["x"], ["body", "headers"]),
        ("headers", {"X-A": "b\nX-C: d"}, ["body", "headers"]),
        ("headers", {"X-A": "b\0"}, ["body", "headers"]),
        ("headers", {"X-A": "b\x1b[31m"}, ["body", "headers"]),
        ("headers", {"X A": "b"}, ["body", "headers"]),
        ("headers", {"X-A": "b" * 10_240}, ["body", "headers"]),
        ("headers", {"X-A": {}}, ["body", "headers"]),
        ("headers", {f"X-{n}": "b" for n in range(33)}, ["body", "headers"]),
        ("permanent", "perhaps", ["body", "permanent"]),
    ],
)
async def test_a_bad_field_is_named(daemon: Daemon, field: str, value: object, where: list[object]) -> None:
    before = await daemon.stream_ids()
    body: dict[str, Any] = {"url": "http://provider.example/bad.ts", field: value}
    (row,) = await refused(daemon, **body)
    assert row["loc"] == where
    assert await daemon.stream_ids() <= before


async def test_a_refused_metadata_value_names_its_key(daemon: Daemon) -> None:
    (row,) = await refused(daemon, url=EXAMPLE, metadata={"k": None})
    assert row["msg"] == "Value error, metadata value for 'k' must be string, int, float, or bool"


async def test_a_refusal_shows_no_secret(daemon: Daemon) -> None:
    url = "ftp://user:CANARY@provider.example/live/CANARY/CANARY/1.ts?password=CANARY"
    answers = [
        await refused(daemon, url=url),
        await refused(daemon, url=EXAMPLE, failover_urls=[url]),
        await refused(daemon, url=EXAMPLE, headers={"Authorization": "CANARY\n"}),
        await refused(daemon, url=EXAMPLE, headers={"bad name": "CANARY"}),
    ]
    assert "CANARY" not in str(answers)
