"""Thousands of requests that nobody would send: answered, never a fault of ours, nothing kept (G17, G14).

The requests are made of what ``/openapi.json`` says of the API, and of what it does not.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.inv import control, eventually, resident
from tests.support.origin import Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

Launch = Callable[..., AbstractAsyncContextManager[Daemon]]
REQUESTS = 2_400
AT_ONCE = 12
MIB = 1 << 20
TEXTS = [
    *(
        "",
        " ",
        "x",
        "-i",
        "null",
        "../../etc/passwd",
        "<script>",
        "\u202e\x1b[31m",
        "ü" * 300,
        "a" * 5000,
        "%00",
    ),
    *(
        "http://127.0.0.1:1/a.ts",
        "http://[::1]:1/a.m3u8",
        "https://u:p@127.0.0.1:1/",
        "http://10.255.255.1:22/",
    ),
    *("file:///etc/passwd", "http://a@b@c/", "hls", "mpegts", "default", "-i {input_url} -f mpegts pipe:1"),
]
NUMBERS = [0, 1, -1, 0.5, 2**31, 2**63, 10**30, -(10**30), 1e308]


def anything(draw: random.Random, depth: int = 0) -> Any:
    """A JSON value of any shape."""
    kind = draw.randrange(7 if depth < 4 else 5)
    if kind < 2:
        return draw.choice(TEXTS)
    if kind < 5:
        return draw.choice([*NUMBERS, True, False, None])
    if kind == 5:
        return [anything(draw, depth + 1) for _ in range(draw.randrange(5))]
    return {draw.choice(TEXTS): anything(draw, depth + 1) for _ in range(draw.randrange(5))}


def fitting(draw: random.Random, schema: dict[str, Any], shapes: dict[str, Any]) -> Any:
    """A value that a schema allows, mostly."""
    while "$ref" in schema or "anyOf" in schema:
        schema = (
            draw.choice(schema["anyOf"]) if "anyOf" in schema else shapes[schema["$ref"].rpartition("/")[2]]
        )
    if draw.random() < 0.08:
        return anything(draw)
    return draw.choice(schema["enum"]) if "enum" in schema else _typed(draw, schema, shapes)


def _typed(draw: random.Random, schema: dict[str, Any], shapes: dict[str, Any]) -> Any:
    match schema.get("type"):
        case "object":
            known = schema.get("properties", {})
            wanted = [name for name in known if name in schema.get("required", ()) or draw.random() < 0.4]
            made = {name: fitting(draw, known[name], shapes) for name in wanted}
            return (
                made if known else {draw.choice(TEXTS): draw.choice(TEXTS) for _ in range(draw.randrange(3))}
            )
        case "array":
            return [fitting(draw, schema.get("items", {}), shapes) for _ in range(draw.randrange(4))]
        case "integer" | "number":
            return draw.choice(NUMBERS)
        case "boolean":
            return draw.random() < 0.5
        case _:
            return draw.choice(TEXTS)


def request(draw: random.Random, api: dict[str, Any], ids: list[str]) -> tuple[str, str, dict[str, Any]]:
    """Method, path and what goes along."""
    path, methods = draw.choice(sorted(api["paths"].items()))
    method = draw.choice(sorted(methods)) if draw.random() < 0.9 else draw.choice(["put", "patch", "delete"])
    shapes = api["components"]["schemas"]
    about = methods.get(method, {})
    query = {
        one["name"]: str(fitting(draw, one.get("schema", {}), shapes))[:2000]
        for one in about.get("parameters", ())
        if one["in"] == "query" and draw.random() < 0.6
    }
    if draw.random() < 0.1:
        query["url"] = draw.choice(TEXTS)[:500]
    for name in ("id", "client", "name", "channel"):
        path = path.replace(f"{{{name}}}", draw.choice([*ids, "0" * 32, "x", "%2e%2e%2f", "%00", "{}"]))
    sent: dict[str, Any] = {"params": query}
    body = about.get("requestBody")
    if body is not None or draw.random() < 0.1:
        schema = body["content"]["application/json"]["schema"] if body else {}
        text = json.dumps(fitting(draw, schema, shapes)).encode()
        if draw.random() < 0.1:
            cut = draw.randrange(len(text) + 1)
            text = text[:cut] + draw.randbytes(draw.randrange(1, 20)) + text[cut:]
        sent |= {
            "data": text,
            "headers": {"Content-Type": draw.choice(["application/json"] * 9 + ["text/xml"])},
        }
    return method.upper(), path, sent


async def test_requests_of_any_kind_are_answered_and_cost_nothing(launch: Launch, tmp_path: Path) -> None:
    """G17: never 5xx but 503 and 502 by contract, always a ``detail``, and memory stays as it is."""
    draw = random.Random(17)
    settings = {"MAX_STREAMS": "40", "STREAM_TIMEOUT": "1", "HLS_WAIT_TIME": "1"}
    statuses: Counter[int] = Counter()
    wrong: list[object] = []
    async with launch(tmp_path, **settings) as daemon:
        api = await daemon.get("/openapi.json")
        ids = [
            (await daemon.post("/streams", url=f"http://127.0.0.1:1/{n}.ts"))["stream_id"] for n in range(3)
        ]
        connector = aiohttp.TCPConnector(limit=AT_ONCE)

        async def one(http: aiohttp.ClientSession, method: str, path: str, sent: dict[str, Any]) -> None:
            async with http.request(method, path, allow_redirects=False, **sent) as response:
                body = await response.read()
            statuses[response.status] += 1
            if response.status < 400:
                return
            if response.status >= 500 and response.status not in (502, 503):
                wrong.append((method, path, sent, response.status))
            if method != "HEAD" and (
                response.content_type != "application/json" or "detail" not in json.loads(body)
            ):
                wrong.append((method, path, sent, body[:200]))
            if response.status in (429, 503) and "Retry-After" not in response.headers:
                wrong.append((method, path, sent, "no Retry-After"))

        async def some(http: aiohttp.ClientSession, count: int) -> None:
            asked = [request(draw, api, ids) for _ in range(count)]
            for start in range(0, count, AT_ONCE):
                await asyncio.gather(*(one(http, *each) for each in asked[start : start + AT_ONCE]))

        async with aiohttp.ClientSession(daemon.url, connector=connector) as http:
            await some(http, REQUESTS // 3)
            before = resident(daemon.pid)
            await some(http, REQUESTS - REQUESTS // 3)
            assert resident(daemon.pid) - before < 12 * MIB
        assert not wrong, wrong[:5]
        assert statuses.total() == REQUESTS
        assert {200, 404, 405, 415, 422, 503} <= statuses.keys()
        assert not [line for line in daemon.log if "incident" in line]


async def test_few_descriptors_and_many_clients(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    """G14, F80, A91: 503 before none are left; who watches loses no byte, and soon all is well."""
    async with launch(tmp_path) as daemon, control(daemon, origin):
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, before[1]))
        tries = [asyncio.create_task(_ask_and_stay(daemon.port)) for _ in range(200)]
        answers = Counter(await asyncio.gather(*tries))
        assert answers[503] > 0
        assert answers[200] > 0
        assert set(answers) <= {200, 503, None}, answers

        async def serves() -> bool:
            async with daemon.http.get("/livez") as response:
                return response.status == 200

        await eventually(serves, 2.0)
        assert await daemon.metric("accept_errors_total") == 0
        assert await daemon.metric('rejected_total{reason="descriptors"}') >= answers[503]
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        assert len([line for line in daemon.log if "cannot accept" in line]) <= 5


async def _ask_and_stay(port: int) -> int | None:
    """The status of a first answer, ``None`` if there was none in time; the connection is held after it."""
    status = None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(4.0):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
            await reader.read()  # until it is closed, or time is up
    except TimeoutError:
        pass
    finally:
        writer.close()
    return status
