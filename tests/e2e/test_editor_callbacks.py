"""The editor asks back while it is asked and told, and sleeps meanwhile: nobody waits for anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import pytest

from tests.support.daemon import Daemon
from tests.support.editor import Call, Editor
from tests.support.inv import eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.receiver import Received
from tests.support.watching import SECOND, grown, watching

NAP = 1.0
"""Seconds that the editor sleeps in a handler: a call that took as long has waited for it."""
PROMPT = 0.1
"""Seconds that an answer from memory may take."""
BACK = 8 * SECOND
"""Where a source begins before its live edge, so that a picture is there at once."""
STREAMS = 5


@pytest.fixture
async def daemon(tmp_path: Path, origin: Origin) -> AsyncIterator[Daemon]:
    """One that holds nothing once its streams are gone."""
    async with rig(tmp_path, origin, CLIENT_TIMEOUT="10", SHARED_STREAM_GRACE="0") as started:
        yield started


def prompt(calls: list[Call]) -> None:
    """None waited for a handler that sleeps, nor for any other call."""
    assert calls
    slow = [one for one in calls if one.seconds >= NAP / 2]
    assert not slow, slow
    assert median(one.seconds for one in calls) < PROMPT


async def add(daemon: Daemon, url: str, playlist: str, number: int, **more: object) -> str:
    metadata = {
        "id": str(number),
        "type": "channel",
        "playlist_uuid": playlist,
        "provider_profile_id": number,
    }
    return str((await daemon.post("/streams", url=url, metadata=metadata, **more))["stream_id"])


async def looks_around(editor: Editor, event: Received) -> None:
    """What the editor reads to make its page anew."""
    profile = event.data["metadata"]["provider_profile_id"]
    counts = await editor.count("provider_profile_id", profile, "none")
    assert counts["none"] == 0
    await editor.streams()


START = pytest.param(Answer(status=456), 456, id="at the start")
MIDDLE = pytest.param(Answer(ts=True, back=BACK, rst=5 * SECOND), None, id="in the middle")


@pytest.mark.parametrize(("fault", "status"), [START, MIDDLE])
async def test_resolvers_and_webhooks_at_the_same_time(
    daemon: Daemon, origin: Origin, fault: Answer, status: int | None
) -> None:
    """Traps 1 and 11: no lock is held across a callback; trap 17: the real status; trap 16: the index."""
    async with Editor(daemon.url, nap=NAP, on_event=looks_around) as editor, AsyncExitStack() as stack:
        await editor.register()
        ids = []
        for number in range(STREAMS):
            bad, good = f"/bad{number}.ts", f"/good{number}.ts"
            origin.on(bad, fault, Answer(status=503))
            origin.on(good, Answer(ts=True, back=BACK))
            editor.next_url[origin.url(bad)] = origin.url(good)
            more = {"failover_resolver_url": editor.resolver_url}
            ids.append(await add(daemon, origin.url(bad), f"pl-{number % 2}", number, **more))
        opening = (stack.enter_async_context(watching(daemon, one)) for one in ids)
        watched = [viewer for viewers in await asyncio.gather(*opening) for viewer in viewers]

        async def have_switched() -> bool:
            return all(row["current_failover_index"] == 1 for row in await editor.streams())

        await eventually(have_switched, within=15, every=0.02)
        await grown(watched, SECOND)
        assert not any(one.ended for one in watched)
        assert editor.resolving.peak == STREAMS, "nobody waits for the answer to somebody else"
        assert len(editor.asked) == STREAMS, "each is asked once for each failure"
        for question in editor.asked:
            assert question["current_failover_index"] == 0
            assert question["status_code"] == status
            number = question["metadata"]["id"]
            assert urlsplit(question["current_url"]).path == f"/bad{number}.ts"
        for number in range(STREAMS):
            assert len(origin.path(f"/good{number}.ts").connections) == 1
        assert editor.told.peak >= 1
        prompt(editor.calls)


async def test_the_oldest_is_ended_inside_the_handler_of_a_webhook(daemon: Daemon, origin: Origin) -> None:
    """Trap 2: the place is free when the DELETE is answered; trap 4: each run is told to be over once."""
    ended: list[int] = []

    async def makes_room(editor: Editor, event: Received) -> None:
        if event.type != "client_connected":
            return
        while len(await editor.by_metadata("playlist_uuid", "pl")) > 2:
            before = sum(origin.path(f"/{number}.ts").live for number in range(STREAMS))
            ended.append(await editor.end_oldest("playlist_uuid", "pl"))
            assert sum(origin.path(f"/{number}.ts").live for number in range(STREAMS)) == before - 1

    async with Editor(daemon.url, nap=0.05, on_event=makes_room) as editor, AsyncExitStack() as stack:
        await editor.register()
        ids = []
        for number in range(STREAMS):
            origin.on(f"/{number}.ts", Answer(ts=True, back=BACK))
            ids.append(await add(daemon, origin.url(f"/{number}.ts"), "pl", number))
        for stream_id in ids:
            response = await stack.enter_async_context(daemon.http.get(f"/stream/{stream_id}"))
            await response.content.readexactly(188)

        async def are_told() -> bool:
            whole = ["stream_started", "client_connected", "client_disconnected", "stream_stopped"]
            kept = ["stream_started", "client_connected"]
            return [editor.of(one) for one in ids] == [*[whole] * (STREAMS - 2), kept, kept]

        await eventually(are_told, within=15)
        rows = await editor.by_metadata("playlist_uuid", "pl")
        assert [row["stream_id"] for row in rows] == ids[-2:]
        assert ended == [1] * (STREAMS - 2)
        prompt(editor.calls)
        await asyncio.gather(*(editor.call("DELETE", f"/streams/{one}") for one in ids[-2:]))
        await eventually(lambda: all_stopped(editor, ids))


async def all_stopped(editor: Editor, ids: list[str]) -> bool:
    """Whether each has stopped; never twice."""
    stops = [editor.of(one).count("stream_stopped") for one in ids]
    assert max(stops) <= 1
    return min(stops) == 1


async def test_the_resolver_says_stop(daemon: Daemon, origin: Origin) -> None:
    """Trap 17: ``next_url: null`` means stop; it is not asked again, and the run is told to be over once."""
    origin.on("/bad.ts", Answer(status=403))
    async with Editor(daemon.url, nap=0.2) as editor:
        await editor.register()
        more = {"failover_resolver_url": editor.resolver_url}
        stream_id = await add(daemon, origin.url("/bad.ts"), "pl", 1, **more)
        async with daemon.http.get(f"/stream/{stream_id}") as response:
            assert response.status == 502
        await eventually(lambda: all_stopped(editor, [stream_id]), within=5)
        assert [question["status_code"] for question in editor.asked] == [403]
        (stopped,) = [one for one in editor.events if one.type == "stream_stopped"]
        assert stopped.data["metadata"]["provider_profile_id"] == "1"
        assert await editor.by_metadata("playlist_uuid", "pl") == []


async def test_a_handler_that_sleeps_holds_up_no_route(daemon: Daemon, origin: Origin) -> None:
    """Trap 1: counts are answered from memory, whatever waits for the editor meanwhile."""
    origin.on("/bad.ts", Answer(status=503))
    async with Editor(daemon.url, nap=2 * NAP) as editor, asyncio.TaskGroup() as group:
        await editor.register()
        more = {"failover_resolver_url": editor.resolver_url}
        stream_id = await add(daemon, origin.url("/bad.ts"), "pl", 1, **more)

        async def opens() -> int:
            async with daemon.http.get(f"/stream/{stream_id}") as response:
                return response.status

        opening = group.create_task(opens())
        await eventually(lambda: both_inside(editor))
        for _ in range(5):
            await editor.count("provider_profile_id", "1", "2")
            await editor.by_metadata("playlist_uuid", "pl")
            await editor.streams()
            for path in ("/clients", "/health", "/info", "/webhooks", f"/streams/{stream_id}"):
                await editor.call("GET", path)
            await editor.register()
            other = await editor.call("POST", "/streams", {"url": "http://provider.example/other.ts"})
            await editor.call("DELETE", f"/streams/{other['stream_id']}")
        assert await both_inside(editor), "it slept all the while"
        prompt(editor.calls)
        await editor.call("DELETE", f"/streams/{stream_id}")
        assert editor.calls[-1].seconds < NAP / 2, "not even a DELETE waits for the resolver"
        assert await opening >= 400


async def both_inside(editor: Editor) -> bool:
    """Whether it sleeps in a resolver and in a webhook."""
    return bool(editor.resolving.inside and editor.told.inside)
