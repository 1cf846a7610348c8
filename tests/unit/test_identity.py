"""Who a player says it is."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from m3u_proxy.errors import InvalidField
from m3u_proxy.model import Client
from m3u_proxy.web.players.identity import identify


def who(query: str = "", headers: Mapping[str, str] = {}, stream_id: str = "s") -> Client:
    return identify(request(query, headers), stream_id)


def request(query: str, headers: Mapping[str, str]) -> web.Request:
    return make_mocked_request("GET", f"/stream/s?{query}", headers=dict(headers))


def test_an_id_that_was_given_is_taken() -> None:
    assert who("client_id=living%20room%2F1").id == "living room/1"


def test_an_id_may_have_128_characters() -> None:
    assert who("client_id=" + "x" * 128).id == "x" * 128


@pytest.mark.parametrize("value", ["x" * 129, "a%0Ab", "a%00b", "a%7Fb", "%1b[2J"])
def test_other_ids_are_refused(value: str) -> None:
    with pytest.raises(InvalidField) as caught:
        who("client_id=" + value)
    assert (caught.value.field, caught.value.place) == ("client_id", "query")


def test_a_player_without_an_id_gets_the_same_one_whenever_it_comes_back() -> None:
    headers = {"User-Agent": "player/1", "X-Forwarded-For": "192.0.2.7"}
    first = who("username=u", headers)
    assert re.fullmatch(r"client_[0-9a-f]{16}", first.id)
    assert who("username=u&other=1", headers).id == first.id


def test_whatever_tells_players_apart_is_in_the_id() -> None:
    base = {"User-Agent": "player/1", "X-Forwarded-For": "192.0.2.7"}
    ids = [
        who("", base).id,
        who("", base, stream_id="t").id,
        who("username=u", base).id,
        who("", base | {"User-Agent": "player/2"}).id,
        who("", base | {"X-Forwarded-For": "192.0.2.8"}).id,
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 198.51.100.1, 10.0.0.1", "192.0.2.7"),
        (" 2001:db8::1 ,10.0.0.1", "2001:db8::1"),
        ("<script>", "<script>"),
    ],
)
def test_the_address_is_the_first_of_the_chain(header: str, address: str) -> None:
    assert who("", {"X-Forwarded-For": header}).ip_address == address


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": ""}, {"X-Forwarded-For": " , 10.0.0.1"}])
def test_without_a_chain_it_is_the_peer(headers: dict[str, str]) -> None:
    sent = request("", headers)
    assert identify(sent, "s").ip_address == (sent.remote or "unknown")


def test_the_user_agent_has_a_name_for_none() -> None:
    assert who().user_agent == "unknown"
    assert who("", {"User-Agent": "player/1"}).user_agent == "player/1"


@pytest.mark.parametrize(
    ("query", "headers", "name"),
    [
        ("", {}, None),
        ("username=a&user=b&u=c", {}, "a"),
        ("u=c&user=b", {}, "b"),
        ("username=&u=c", {}, "c"),
        ("username=a", {"X-Username": "h"}, "h"),
        ("username=a", {"X-Username": ""}, "a"),
    ],
)
def test_the_name_comes_from_the_header_or_else_the_query(
    query: str, headers: dict[str, str], name: str | None
) -> None:
    assert who(query, headers).username == name


def test_a_header_that_is_no_text_becomes_some() -> None:
    sent = request("", {})
    sent._headers = CIMultiDictProxy(CIMultiDict({"User-Agent": "a\udcffb"}))  # as aiohttp reads a byte 0xFF
    assert identify(sent, "s").user_agent == "a\N{REPLACEMENT CHARACTER}b"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=600))
def test_what_a_player_says_is_one_printable_line_of_bounded_length(text: str) -> None:
    headers = {"User-Agent": text, "X-Forwarded-For": text, "X-Username": text}
    client = who("", headers)
    for shown in (client.user_agent, client.ip_address, client.username or ""):
        assert len(shown) <= 256
        assert shown.isprintable()
    assert client.id.isascii()
    assert client.stream_id == "s"
    assert client.created_at.utcoffset() is not None
