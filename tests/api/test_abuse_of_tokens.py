"""Who guesses tokens is slowed; who knows one never is (A1, A2, A8)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

Launch = Callable[..., AbstractAsyncContextManager[Daemon]]


async def test_guessing_is_429_and_the_right_token_is_as_fast_as_ever(
    launch: Launch, token: str, tmp_path: Path
) -> None:
    """A8: a thousand guesses; right tokens from the same address between them."""
    right, wrong = f"X-API-Token: {token}", "X-API-Token: CANARY"
    loop = asyncio.get_running_loop()
    async with launch(tmp_path, API_TOKEN=token) as daemon:
        statuses: Counter[int] = Counter()
        slowest = 0.0
        for round_ in range(10):
            replies = await asyncio.gather(
                *(ask(daemon.port, head(f"/streams?{round_}", wrong)) for _ in range(100))
            )
            statuses.update(reply.status for reply in replies)
            began = loop.time()
            async with daemon.http.get("/streams", headers={"X-API-Token": token}) as response:
                assert response.status == 200
            slowest = max(slowest, loop.time() - began)
        assert statuses == {403: 20, 429: 980}
        assert slowest < 0.25
        last = await ask(daemon.port, head("/health", wrong))
        assert (last.status, last.json()) == (429, {"detail": "Too many wrong API tokens"})
        assert 1 <= int(last.headers["retry-after"]) <= 60
        assert last.headers["www-authenticate"] == "Bearer"
        assert (await ask(daemon.port, head("/streams"))).status == 401, "no token is no guess"
        for forged in ("X-Forwarded-For: 10.9.8.7", "X-Real-IP: 10.9.8.7"):
            assert (await ask(daemon.port, head("/streams", wrong, forged))).status == 429
        assert (await ask(daemon.port, head("/metrics", right))).status == 200
        assert (await ask(daemon.port, head(f"/streams?api_token={token}"))).status == 200
        assert not [line for line in daemon.log if "CANARY" in line]
        told = (await ask(daemon.port, head("/metrics", right))).body.decode()
        for reason, count in (("wrong", 1003), ("missing", 1)):
            assert f'm3u_proxy_auth_failures_total{{reason="{reason}"}} {count}.0\n' in told


async def test_another_address_has_tries_of_its_own(launch: Launch, token: str, tmp_path: Path) -> None:
    async with launch(tmp_path, API_TOKEN=token, AUTH_TRIES="2") as daemon:
        for source, expected in (("127.0.0.1", [403, 403, 429]), ("127.0.0.9", [403, 403, 429])):
            statuses = []
            for _ in expected:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", daemon.port, local_addr=(source, 0)
                )
                writer.write(head("/streams", "Authorization: Bearer no"))
                statuses.append(int((await reader.read()).split()[1]))
                writer.close()
                await writer.wait_closed()
            assert statuses == expected
