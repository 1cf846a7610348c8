"""Redirects: every hop is judged before it is dialled, and secrets stay with the host they were meant for.

127.77.0.0/16 plays the Internet, 127.66.0.0/16 an internal network. What counts is that the listener inside
was never connected, whatever the attempt answered.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator

import pytest

from m3u_proxy.upstream.address import Blocked, Judge
from m3u_proxy.upstream.policy import DEFAULT_POLICY, AddressClass
from tests.support.attempts import at, ending, opened
from tests.support.origin import Answer, Origin

POLICY = DEFAULT_POLICY.overridden(
    {"127.77.0.0/16": AddressClass.PUBLIC, "127.66.0.0/16": AddressClass.PRIVATE}
)
JUDGE = Judge(POLICY, allow_loopback=True)
BODY = b"media"


@pytest.fixture
async def outside() -> AsyncIterator[Origin]:
    async with Origin(host="127.77.0.1") as server:
        yield server


@pytest.fixture
async def elsewhere() -> AsyncIterator[Origin]:
    async with Origin(host="127.77.0.2") as server:
        yield server


@pytest.fixture
async def canary() -> AsyncIterator[Origin]:
    async with Origin(host="127.66.0.1") as server:
        server.always(Answer(body=BODY))
        yield server


async def untouched(canary: Origin) -> bool:
    """Whether the first connection that ``canary`` ever saw is the one made here."""
    _, writer = await asyncio.open_connection(canary.host, canary.port)
    await canary.until(lambda: len(canary.connections) > 0)
    own = "{}:{}".format(*writer.get_extra_info("sockname"))
    writer.close()
    await writer.wait_closed()
    return [connection.peer for connection in canary.connections] == [own]


async def test_five_redirects_are_followed_one_connection_at_a_time(outside: Origin) -> None:
    """F14."""
    outside.on("/r", Answer(redirect=5, body=BODY))
    source = at(outside.url("/r"), judge=JUDGE)
    async with opened(source) as head:
        assert head.url == outside.url("/r?hop=5")
        assert head.address_class is AddressClass.PUBLIC
        assert await source.read() == BODY
    assert len(outside.connections) == 6
    assert outside.path("/r").peak == 1


@pytest.mark.parametrize(("redirect", "requests"), [(6, 6), ("loop", 1)])
async def test_too_many_redirects(outside: Origin, redirect: int | str, requests: int) -> None:
    """F14, F15."""
    outside.on("/r", Answer(redirect=redirect, body=BODY))
    error, _ = await ending(at(outside.url("/r"), judge=JUDGE))
    assert error.reason == "redirects"
    assert len(outside.connections) == requests


async def test_a_circle_of_two_ends_when_it_closes(outside: Origin) -> None:
    """F15."""
    outside.on("/a", Answer(redirect="/b"))
    outside.on("/b", Answer(redirect="/a"))
    error, _ = await ending(at(outside.url("/a"), judge=JUDGE))
    assert error.reason == "redirects"
    assert len(outside.connections) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_public_source_cannot_send_us_inside(outside: Origin, canary: Origin, status: int) -> None:
    outside.on("/r", Answer(status=status, redirect=canary.url("/")))
    error, _ = await ending(at(outside.url("/r"), judge=JUDGE))
    assert isinstance(error, Blocked)
    assert (error.reason, error.category) == ("blocked", "private")
    assert canary.host not in error.detail
    assert await untouched(canary)


INWARD = [
    "//{host}:{port}/",
    "http://ok@{host}:{port}/",
    "http://{host}:{port}#@127.77.0.1/",
    "http://127.77.0.1@{host}:{port}/",
    "HTTP://{number}:{port}/",
    "http://[::ffff:{host}]:{port}/",
    "http://[64:ff9b::{host}]:{port}/",
    "http:\\\\{host}:{port}/",
    "http:/{host}:{port}/",
    "http:///{host}:{port}/",
    "http://{host}%00:{port}/",
    "https://{host}:{port}/",
    "file:///etc/passwd",
    "ftp://{host}:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.77.0.1:22/",
]


@pytest.mark.parametrize("location", INWARD)
async def test_no_spelling_of_a_location_leads_inside(outside: Origin, canary: Origin, location: str) -> None:
    number = int.from_bytes(socket.inet_aton(canary.host), "big")
    location = location.format(host=canary.host, port=canary.port, number=number)
    outside.on("/r", Answer(redirect=location))
    error, _ = await ending(at(outside.url("/r"), judge=JUDGE))
    assert error.reason == "blocked"
    assert await untouched(canary)


@pytest.mark.parametrize(
    "location", ["\\\\{host}:{port}/", "/\\{host}:{port}/", "{host}:{port}", "/%2f/{host}"]
)
async def test_a_relative_location_stays_where_it_is(outside: Origin, canary: Origin, location: str) -> None:
    outside.always(Answer(body=BODY))
    outside.on("/r", Answer(redirect=location.format(host=canary.host, port=canary.port)))
    await ending(at(outside.url("/r"), judge=JUDGE))
    assert await untouched(canary)


async def test_a_private_source_may_redirect_within_its_network(canary: Origin) -> None:
    async with Origin(host="127.66.0.2") as inside:
        inside.on("/r", Answer(redirect=canary.url("/x")))
        source = at(inside.url("/r"), judge=JUDGE)
        async with opened(source) as head:
            assert head.address_class is AddressClass.PRIVATE
            assert await source.read() == BODY


async def test_trust_is_lost_on_the_way_through_a_public_host(outside: Origin, canary: Origin) -> None:
    async with Origin(host="127.66.0.2") as inside:
        inside.on("/r", Answer(redirect=outside.url("/r")))
        outside.on("/r", Answer(redirect=canary.url("/")))
        error, _ = await ending(at(inside.url("/r"), judge=JUDGE))
    assert error.reason == "blocked"
    assert len(outside.connections) == 1
    assert await untouched(canary)


async def test_what_a_playlist_names_is_judged_by_where_the_playlist_came_from(canary: Origin) -> None:
    error, _ = await ending(at(canary.url("/"), judge=JUDGE, named_by=AddressClass.PUBLIC))
    assert error.reason == "blocked"
    assert await untouched(canary)


async def test_our_own_listener_is_refused_behind_a_redirect_too(outside: Origin, canary: Origin) -> None:
    judge = Judge(POLICY, allow_loopback=True, own=lambda: [("0.0.0.0", canary.port)])
    outside.on("/r", Answer(redirect=f"http://127.77.0.9:{canary.port}/"))
    error, _ = await ending(at(outside.url("/r"), judge=judge))
    assert isinstance(error, Blocked)
    assert error.category == "self"
    error, _ = await ending(at(canary.url("/"), judge=judge))
    assert error.reason == "blocked"
    assert await untouched(canary)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *turns: list[str]) -> None:
    """Each look-up answers the next list of addresses, the last one for ever."""
    answers = list(turns)

    def fake(host: str, port: int, *rest: object) -> list[tuple[object, ...]]:
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in now]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


async def test_the_address_that_was_judged_is_the_one_that_is_dialled(
    outside: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Origin(host="127.66.0.1", port=outside.port) as canary:
        resolve_to(monkeypatch, ["127.77.0.1"], ["127.66.0.1"])
        outside.on("/r", Answer(body=BODY))
        url = outside.url("/r", host="rebound.example")
        _, data = await ending(at(url, judge=JUDGE, named_by=AddressClass.PUBLIC))
        assert data == BODY
        assert outside.path("/r").requests[0]["host"] == f"rebound.example:{outside.port}"
        error, _ = await ending(at(url, judge=JUDGE, named_by=AddressClass.PUBLIC))
        assert error.reason == "blocked"
        assert await untouched(canary)


async def test_a_name_with_one_good_address_is_dialled_there_only(
    outside: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Origin(host="127.66.0.1", port=outside.port) as canary:
        resolve_to(monkeypatch, ["127.66.0.1", "169.254.169.254", "127.77.0.1"])
        outside.on("/r", Answer(body=BODY))
        url = outside.url("/r", host="mixed.example")
        _, data = await ending(at(url, judge=JUDGE, named_by=AddressClass.PUBLIC))
        assert data == BODY
        assert await untouched(canary)


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "127.0.0.1"])
async def test_a_numeric_host_an_operator_may_name_is_dialled(host: str) -> None:
    async with Origin() as origin:
        origin.always(Answer(body=BODY))
        _, data = await ending(at(origin.url("/", host=host), judge=JUDGE))
    assert data == BODY


async def test_what_is_signed_arrives_byte_for_byte() -> None:
    signed = "/a%2Fb/../c//1.ts?x=%2f+~[]|&y={}^`'\"<>&z=a@b%zz%"
    async with Origin() as origin:
        origin.always(Answer(body=BODY))
        await ending(at(origin.url(signed), judge=JUDGE))
        assert origin.connections[0].target == signed


async def test_one_request_says_what_it_should_and_no_more() -> None:
    async with Origin() as origin:
        origin.on("/", Answer(headers={"Set-Cookie": "a=b"}, redirect="/x"))
        origin.on("/x", Answer(body=BODY))
        await ending(at(origin.url("/"), headers={"X-Custom": "é", "Connection": "upgrade", "TE": "x"}))
        base = f"http://127.0.0.1:{origin.port}"
        assert origin.path("/x").requests == [
            {
                "host": f"127.0.0.1:{origin.port}",
                "user-agent": "agent/1",
                "referer": f"{base}/",
                "origin": base,
                "accept": "*/*",
                "accept-encoding": "identity",
                "connection": "close",
                "x-custom": "é".encode().decode("latin-1"),
            }
        ]


BASIC = "Basic " + base64.b64encode("me:pä@ss".encode()).decode()


async def test_credentials_and_secrets_go_to_their_own_host_only(outside: Origin, elsewhere: Origin) -> None:
    outside.on("/a", Answer(redirect="/b"))
    outside.on("/b", Answer(redirect=elsewhere.url("/c")))
    elsewhere.on("/c", Answer(redirect=outside.url("/d")))
    outside.on("/d", Answer(body=BODY))
    source = at(
        outside.url("/a", userinfo="me:p%C3%A4%40ss@"),
        judge=JUDGE,
        headers={"Cookie": "session=1", "Host": "virtual.example", "X-Other": "kept"},
    )
    async with opened(source) as head:
        assert head.url == outside.url("/d")
    for path in ("/a", "/b"):
        (request,) = outside.path(path).requests
        assert (request["authorization"], request["cookie"]) == (BASIC, "session=1")
        assert request["host"] == "virtual.example"
    for request in (*elsewhere.path("/c").requests, *outside.path("/d").requests):
        assert not {"authorization", "cookie"} & request.keys()
        assert request["host"].startswith("127.77.0.")
        assert request["x-other"] == "kept"


async def test_a_location_may_bring_its_own_credentials(outside: Origin, elsewhere: Origin) -> None:
    outside.on("/a", Answer(redirect=elsewhere.url("/b", userinfo="me:p%C3%A4%40ss@")))
    elsewhere.on("/b", Answer(body=BODY))
    source = at(outside.url("/a"), judge=JUDGE, headers={"Authorization": "Bearer ours"})
    async with opened(source) as head:
        assert head.url == elsewhere.url("/b", userinfo="me:p%C3%A4%40ss@")
    assert outside.path("/a").requests[0]["authorization"] == "Bearer ours"
    assert elsewhere.path("/b").requests[0]["authorization"] == BASIC
