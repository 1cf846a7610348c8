"""One download for everybody: attached to while it runs, bounded in memory, gone without a trace."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from io import BytesIO

import pytest

from m3u_proxy.errors import Closed, ProxyError, Unavailable, UpstreamError
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls import download as module
from m3u_proxy.pool.hls.chunks import Chunks
from m3u_proxy.pool.hls.download import Download
from m3u_proxy.pool.hls.pieces import GRAIN, Pieces
from m3u_proxy.upstream.source import Source
from tests.support.answer import CHUNK
from tests.support.attempts import CLOSED_WITHIN, at
from tests.support.origin import Answer, Origin
from tests.support.stepped import Script, settle, turn, until

PATH = "/segment.ts"
BODY = random.Random(1).randbytes(300_000)
ROOM = 10**6


class Watched(Budget):
    """A budget that remembers the most that was ever used."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.most = 0
        self.refused = 0

    def grant(self, size: int) -> bool:
        granted = super().grant(size)
        self.most = max(self.most, self.used)
        self.refused += not granted
        return granted


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


def make(
    source: Callable[[], Source],
    budget: Budget,
    *,
    largest: int = 10**8,
    patience: float = 5.0,
    on_bytes: Callable[[int], None] = lambda size: None,
) -> Download:
    return Download(source, budget, largest=largest, patience=patience, on_bytes=on_bytes)


@asynccontextmanager
async def running(download: Download) -> AsyncIterator[asyncio.Task[None]]:
    """A download under way, and ended with the test; what it raises is an error."""
    task = asyncio.create_task(download.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled() or task.exception() is None


async def read(download: Download, first: int = 0, last: int | None = None) -> bytes:
    """What one reader gets."""
    async with aclosing(download.chunks(first, last)) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


async def outcome(download: Download) -> tuple[str, ProxyError | None]:
    """The reason for which one reader fails, ``""`` if it does not; and the error itself."""
    try:
        await download.begun()
        await read(download)
    except ProxyError as error:
        return error.reason, error
    return "", None


# --- attaching


async def test_who_attaches_meanwhile_gets_the_first_byte_before_the_download_has_ended(
    origin: Origin,
) -> None:
    origin.on(PATH, Answer(ts=True, fin=3 * CHUNK))
    download = make(lambda: at(origin.url(PATH)), Budget(ROOM))
    async with running(download) as task, aclosing(download.chunks()) as chunks:
        first = asyncio.create_task(read(download))
        await until(lambda: download.head)
        origin.step()
        head = await download.begun()
        assert head.content_type == "video/mp2t"
        assert await anext(chunks) == origin.ts[:CHUNK]
        assert not download.done
        origin.step(2)
        assert b"".join([bytes(chunk) async for chunk in chunks]) == origin.ts[CHUNK : 3 * CHUNK]
        assert await first == origin.ts[: 3 * CHUNK]
        await task
    assert download.done
    assert download.body == origin.ts[: 3 * CHUNK]
    assert (download.received, download.length) == (3 * CHUNK, 3 * CHUNK)


async def test_a_hundred_readers_make_one_connection_and_share_one_object(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, length=True, drip=3e6))
    budget = Budget(ROOM)
    counted: list[int] = []
    download = make(lambda: at(origin.url(PATH)), budget, on_bytes=counted.append)
    async with running(download):
        bodies = await asyncio.gather(*(read(download) for _ in range(100)))
        assert set(bodies) == {BODY}
        wholes = await asyncio.gather(*(download.whole() for _ in range(100)))
    assert {id(whole) for whole in wholes} == {id(download.body)}
    assert len(origin.connections) == 1
    assert sum(counted) == len(BODY)
    assert (download.readers, download.size, budget.used) == (0, len(BODY), len(BODY))


async def test_the_head_tells_the_length_unless_the_body_is_encoded(origin: Origin) -> None:
    origin.on("/plain", Answer(body=BODY, length=True, stall=10))
    origin.on("/gzip", Answer(body=BODY, length=True, stall=10, headers={"Content-Encoding": "gzip"}))
    plain = make(lambda: at(origin.url("/plain")), Budget(ROOM))
    gzip = make(lambda: at(origin.url("/gzip")), Budget(ROOM))
    async with running(plain), running(gzip):
        await plain.begun()
        await gzip.begun()
        assert (plain.length, gzip.length) == (len(BODY), None)
        assert plain.prefix == BODY[:10]


async def test_the_prefix_is_the_start_of_the_body_and_no_more(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, drip=1e6))
    download = make(lambda: at(origin.url(PATH)), Budget(ROOM))
    async with running(download):
        await download.whole()
    assert download.prefix == BODY[:4096]


RANGES = [
    (0, 0),
    (0, 99),
    (5, 5),
    (1316, 2631),
    (100, 200_000),
    (299_999, None),
    (7, 10**9),
    (300_000, 300_010),
]


async def test_every_part_is_exact_while_the_body_arrives_and_afterwards(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, drip=2e6))
    download = make(lambda: at(origin.url(PATH)), Budget(ROOM))
    wanted = [BODY[first : None if last is None else last + 1] for first, last in RANGES]
    async with running(download):
        parts = [asyncio.create_task(read(download, *part)) for part in RANGES]
        assert await parts[1] == wanted[1]
        assert not download.done
        assert await asyncio.gather(*parts) == wanted
        assert await asyncio.gather(*(read(download, *part) for part in RANGES)) == wanted


# --- readers that are slow, leave or forget to


async def test_a_slow_reader_slows_nobody(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, length=True))
    download = make(lambda: at(origin.url(PATH)), Budget(ROOM))
    async with running(download) as task, aclosing(download.chunks()) as slow:
        begun = bytes(await anext(slow))
        assert await read(download) == BODY
        await task
        assert begun + b"".join([bytes(chunk) async for chunk in slow]) == BODY


async def test_a_reader_that_is_cancelled_costs_only_itself() -> None:
    script = Script()
    download = make(script, Budget(ROOM))
    async with running(download):
        leaves, stays = asyncio.create_task(read(download)), asyncio.create_task(read(download))
        (await script.attempt(1)).feed(b"one")
        await until(lambda: download.readers == 2)
        leaves.cancel()
        await asyncio.wait([leaves])
        assert download.readers == 1
        script.last.feed(b"two")
        script.last.lose("eof")
        assert await stays == b"onetwo"
    assert download.readers == 0


async def test_an_iterator_that_is_dropped_or_never_used_is_no_reader() -> None:
    script = Script()
    download = make(script, Budget(ROOM))
    async with running(download):
        (await script.attempt(1)).feed(b"one")
        async for _ in download.chunks():
            break
        unused = download.chunks()
        dropped = download.chunks()
        assert download.readers >= 2
        del dropped
        gc.collect()
        await unused.aclose()
        await until(lambda: not download.readers)
        assert [chunk async for chunk in unused] == []


async def test_a_body_that_is_evicted_stays_with_those_who_read_it(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, length=True))
    budget = Budget(ROOM)
    download = make(lambda: at(origin.url(PATH)), budget)
    async with running(download) as task:
        early = download.chunks()
        begun = bytes(await anext(early))
        await task
        late = download.chunks()
        budget.drop(download)
        assert (download.body, download.is_joinable, budget.used) == (None, False, 0)
        assert begun + b"".join([bytes(chunk) async for chunk in early]) == BODY
        assert b"".join([bytes(chunk) async for chunk in late]) == BODY
    with pytest.raises(Unavailable) as caught:
        await read(download)
    assert caught.value.reason == "memory"


# --- failing

FAILURES: dict[str, tuple[Answer, str]] = {
    "a length that lies": (Answer(body=BODY, short_cl=1), "short"),
    "no last chunk": (Answer(body=BODY, trunc_chunk=True), "short"),
    "rst": (Answer(body=BODY, rst=1000), "reset"),
    "stall": (Answer(body=BODY, stall=1000), "stall"),
    "empty": (Answer(zero=True), "not_media"),
    "empty without a length": (Answer(), "not_media"),
    "no answer": (Answer(raw=""), "eof"),
    "404": (Answer(status=404), "http_404"),
    "503": (Answer(status=503), "http_5xx"),
    "announced too large": (Answer(body=BODY, short_cl=10**9), "too_large"),
    "too large": (Answer(body=BODY * 4, chunked=True), "too_large"),
    "too large a number": (Answer(headers={"Content-Length": "5000000000"}, stall=0), "too_large"),
    "a trickle": (Answer(body=BODY, drip=50_000), "stall"),
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
async def test_all_readers_fail_with_the_download_and_for_its_reason(
    origin: Origin, answer: tuple[Answer, str]
) -> None:
    origin.on(PATH, answer[0])
    budget = Budget(10 * ROOM)
    download = make(lambda: at(origin.url(PATH)), budget, largest=ROOM, patience=0.5)
    async with running(download) as task:
        outcomes = await asyncio.gather(*(outcome(download) for _ in range(5)))
        await task
    assert {reason for reason, _ in outcomes} == {answer[1]}
    assert len({id(error) for _, error in outcomes}) == 5
    assert (await outcome(download))[0] == answer[1]
    with pytest.raises(ProxyError):
        await download.whole()
    assert (download.done, download.is_joinable, download.body) == (False, False, None)
    assert (budget.used, download.readers, len(origin.connections)) == (0, 0, 1)
    async with asyncio.timeout(CLOSED_WITHIN):
        await origin.until(lambda: origin.path(PATH).live == 0)


async def test_of_a_body_announced_too_large_nothing_is_read(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, length=True))
    counted: list[int] = []
    download = make(
        lambda: at(origin.url(PATH)), Budget(ROOM), largest=len(BODY) - 1, on_bytes=counted.append
    )
    await download.run()
    assert download.error is not None
    assert (download.error.reason, counted) == ("too_large", [])


async def test_a_body_of_exactly_the_largest_size_is_fine(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, length=True))
    download = make(lambda: at(origin.url(PATH)), Budget(ROOM), largest=len(BODY))
    await download.run()
    assert download.body == BODY


async def test_a_target_that_is_refused_before_it_is_opened_fails_the_readers() -> None:
    def refuse() -> Source:
        raise UpstreamError("blocked", "Not there")

    download = make(refuse, Budget(ROOM))
    await download.run()
    assert (await outcome(download))[0] == "blocked"


async def test_a_download_that_is_stopped_leaves_no_socket_and_no_memory(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, stall=1000))
    budget = Budget(ROOM)
    download = make(lambda: at(origin.url(PATH)), budget)
    async with running(download) as task:
        reader = asyncio.create_task(read(download))
        await until(lambda: download.received == 1000)
        assert budget.used == 1000
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(Closed):
            await reader
    assert budget.used == 0
    async with asyncio.timeout(CLOSED_WITHIN):
        await origin.until(lambda: origin.path(PATH).live == 0)


async def test_who_stops_a_download_while_it_closes_waits_for_the_end_of_that() -> None:
    script = Script()
    script.may_close.clear()
    download = make(script, Budget(ROOM))
    async with running(download) as task:
        (await script.attempt(1)).feed(b"one")
        script.last.lose("eof")
        assert await download.whole() == b"one"
        task.cancel()
        await settle()
        assert script.open == 1
        assert not task.done()
        script.may_close.set()
        await asyncio.wait([task])
        assert script.open == 0
    assert download.done


# --- memory


async def test_twenty_downloads_never_exceed_the_budget(origin: Origin) -> None:
    chance = random.Random(2)
    budget = Watched(200_000)
    bodies = [chance.randbytes(chance.randrange(1, 120_000)) for _ in range(20)]
    for number, body in enumerate(bodies):
        origin.on(f"/{number}", Answer(body=body, length=chance.random() < 0.5, drip=chance.choice([0, 1e6])))

    async def play(download: Download) -> bytes:
        async with running(download), aclosing(download.chunks()) as chunks:
            received = b""
            async for chunk in chunks:
                received += chunk
                for _ in range(chance.randrange(20)):
                    await turn()
            return received

    def download(number: int) -> Download:
        return make(lambda: at(origin.url(f"/{number}")), budget)

    downloads = [download(number) for number in range(20)]
    assert await asyncio.gather(*map(play, downloads)) == bodies
    assert budget.refused
    assert 0 < budget.most <= budget.limit
    assert budget.used == sum(download.size for download in downloads)


async def test_an_endless_body_goes_through_a_window(origin: Origin) -> None:
    origin.on(PATH, Answer(ts=True))
    budget = Watched(50 * CHUNK)
    download = make(lambda: at(origin.url(PATH)), budget)
    received = bytearray()
    async with running(download), aclosing(download.chunks()) as slow:
        fast = asyncio.create_task(read(download))
        await until(lambda: download.head)
        origin.step(1000)
        while len(received) < 800 * CHUNK:
            received += await anext(slow)
            await settle()
            assert budget.used <= budget.limit
            assert download.received <= len(received) + budget.limit
        assert not download.is_joinable
        with pytest.raises(Unavailable):
            await read(download)
        assert not fast.done()
        fast.cancel()
        await asyncio.wait([fast])
    assert budget.most <= budget.limit
    assert budget.used == 0
    assert received == (origin.ts * (1000 * CHUNK // len(origin.ts) + 1))[: len(received)]


async def test_a_headless_download_that_ends_is_not_kept() -> None:
    script, budget = Script(), Watched(800)
    download = make(script, budget)
    async with running(download) as task, aclosing(download.chunks()) as chunks:
        source = await script.attempt(1)
        source.feed(b"a" * 800, b"b" * 400)
        source.lose("eof")
        got = bytes(await anext(chunks))
        while not task.done():
            got += bytes(await anext(chunks))
            await settle()
        assert download.done
        assert (download.body, download.is_joinable) == (None, False)
        assert budget.used > 0
        got += b"".join([bytes(chunk) async for chunk in chunks])
        assert got == b"a" * 800 + b"b" * 400
    assert (budget.used, budget.most) == (0, 800)


async def test_what_was_never_read_of_a_headless_download_is_given_back_with_its_reader() -> None:
    script, budget = Script(), Budget(80)
    download = make(script, budget)
    async with running(download) as task:
        leaves = download.chunks()
        source = await script.attempt(1)
        source.feed(b"a" * 80, b"b" * 10)
        await anext(leaves)
        await until(lambda: budget.used == 80)
        await anext(leaves)
        await until(lambda: not download.is_joinable)
        await leaves.aclose()
        source.feed(b"c" * 10)
        await task
        assert download.error is not None
        assert download.error.reason == "memory"
    assert budget.used == 0


async def test_a_download_waits_for_memory_and_goes_on(origin: Origin) -> None:
    origin.on(PATH, Answer(body=BODY, length=True))
    budget = Watched(ROOM)
    assert budget.grant(ROOM)
    download = make(lambda: at(origin.url(PATH)), budget)
    async with running(download), aclosing(download.chunks()) as chunks:
        await until(lambda: budget.refused)
        assert (download.received, download.is_joinable) == (0, True)
        budget.give_back(ROOM)
        assert b"".join([bytes(chunk) async for chunk in chunks]) == BODY
    assert download.is_joinable


async def test_without_memory_a_download_that_nobody_reads_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNREAD", 0.05)
    script, budget = Script(), Watched(100)
    assert budget.grant(95)
    download = make(script, budget)
    async with running(download) as task:
        (await script.attempt(1)).feed(b"a" * 10)
        await task
    assert (await outcome(download))[0] == "memory"
    assert budget.used == 95


async def test_without_memory_a_download_that_is_read_waits_until_patience_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "UNREAD", 0.02)
    script, budget = Script(), Watched(100)
    assert budget.grant(100)
    download = make(script, budget, patience=0.2)
    async with running(download):
        (await script.attempt(1)).feed(b"a" * 10)
        assert (await outcome_of_reading(download.chunks())) == "stall"
    assert budget.refused > 3
    assert budget.used == 100


async def outcome_of_reading(chunks: Chunks) -> str:
    try:
        async for _ in chunks:
            pass
    except ProxyError as error:
        return error.reason
    return ""


async def test_without_any_memory_allowed_a_download_fails_at_once() -> None:
    script = Script()
    download = make(script, Budget(0))
    async with running(download) as task, aclosing(download.chunks()) as chunks:
        (await script.attempt(1)).feed(b"a")
        await task
        assert await outcome_of_reading(chunks) == "memory"


async def test_a_body_that_is_read_again_is_evicted_last() -> None:
    budget, script = Budget(100), Script()
    downloads = [make(script, budget) for _ in range(3)]
    for number, download in enumerate(downloads, start=1):
        async with running(download) as task:
            source = await script.attempt(number)
            source.feed(b"x" * 40)
            source.lose("eof")
            await task
        await downloads[0].whole()
    assert [download.size for download in downloads] == [40, 0, 40]


async def test_a_finished_body_makes_room_for_the_next() -> None:
    budget, script = Watched(100), Script()
    first, second = make(script, budget), make(script, budget)
    for number, download in enumerate((first, second), start=1):
        async with running(download) as task:
            source = await script.attempt(number)
            source.feed(b"x" * 60)
            source.lose("eof")
            await task
    assert (first.body, second.body) == (None, b"x" * 60)
    assert (budget.used, budget.limit // 2 < budget.most <= budget.limit) == (60, True)


PIECES = [bytes([number]) * GRAIN for number in range(10)]


async def test_while_a_large_body_is_joined_readers_wait_or_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOINED_AT_ONCE", 1)
    script, budget = Script(), Budget(ROOM)
    download = make(script, budget)
    async with running(download), aclosing(download.chunks()) as chunks:
        (await script.attempt(1)).feed(*PIECES)
        got = bytes(await anext(chunks))
        await until(lambda: download.received == len(PIECES) * GRAIN)
        script.last.lose("eof")
        others = []
        while not download.done:
            assert download.is_joinable
            assert budget.used == len(PIECES) * GRAIN
            others += [asyncio.create_task(read(download)), asyncio.create_task(download.whole())]
            await turn()
        assert len(others) > len(PIECES)
        assert set(await asyncio.gather(*others)) == {b"".join(PIECES)}
        assert got + b"".join([bytes(chunk) async for chunk in chunks]) == b"".join(PIECES)
    assert budget.used == download.size


async def test_a_download_stopped_while_it_is_joined_gives_everything_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "JOINED_AT_ONCE", 1)
    script, budget = Script(), Budget(ROOM)
    download = make(script, budget)
    async with running(download) as task:
        (await script.attempt(1)).feed(*PIECES)
        await until(lambda: download.received == len(PIECES) * GRAIN)
        reader = asyncio.create_task(download.whole())
        script.last.lose("eof")
        for _ in range(5):
            await turn()
        assert not download.done
        task.cancel()
        with pytest.raises(Closed):
            await reader
    assert (budget.used, download.body) == (0, None)


# --- pieces


def test_a_trickle_becomes_few_pieces() -> None:
    pieces = Pieces()
    for _ in range(10 * GRAIN):
        pieces.append(b"x")
    assert pieces.at(GRAIN) == (b"x" * GRAIN, GRAIN)
    assert pieces.drop_before(GRAIN - 1) == 0
    assert pieces.drop_before(2 * GRAIN + 1) == 2 * GRAIN
    assert (pieces.start, pieces.end) == (2 * GRAIN, 10 * GRAIN)
    assert pieces.drop_before(10 * GRAIN) == 8 * GRAIN
    assert pieces.start == pieces.end


def test_joining_takes_no_second_body() -> None:
    size, pieces = 2**16, Pieces()
    tracemalloc.start()
    try:
        for number in range(256):
            pieces.append(bytes([number]) * size)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        whole = BytesIO()
        while pieces.move(whole, 10 * size):
            pass
        body = whole.getvalue()
        del whole
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) == 256 * size
    assert body[::size] == bytes(range(256))
    assert peak < before * 1.13
    assert after < before * 1.01
