"""Which requests are marked, so that one that comes back is known (A22); providers see no mark."""

from __future__ import annotations

import pytest

from m3u_proxy.upstream.loops import has_come_back, may_lead_back
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.url import parse

ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("url", "found", "marked"),
    [
        ("http://provider.example/live/u/p/1.ts", None, False),
        ("http://8.8.8.8/live/u/p/1.ts", AddressClass.PUBLIC, False),
        ("http://provider.example/stream/1.ts", None, False),
        ("http://provider.example/hls/live.m3u8", None, False),
        ("http://192.168.1.2/live/u/p/1.ts", AddressClass.PRIVATE, True),
        ("http://127.0.0.1/x", AddressClass.LOOPBACK, True),
        ("http://nginx/x", None, True),
        ("http://tv.lan/x", None, True),
        ("http://TV.Home.Arpa./x", None, True),
        ("http://proxy.localhost/x", None, True),
        (f"http://tv.example/stream/{ID}", None, True),
        (f"https://tv.example/below/m3u-proxy/hls/{ID}/playlist.m3u8?x=1", None, True),
        (f"http://8.8.8.8/stream/{ID}/", AddressClass.PUBLIC, True),
        (f"http://tv.example/stream/{ID}0", None, False),
    ],
)
def test_only_where_a_way_back_can_begin(url: str, found: AddressClass | None, marked: bool) -> None:
    assert may_lead_back(parse(url), found) is marked


@pytest.mark.parametrize(
    ("via", "ours"),
    [
        ([], False),
        (["1.1 nginx"], False),
        (["1.1 m3u-proxy-bb"], False),
        (["1.1 m3u-proxy-aab"], False),
        (["1.1 m3u-proxy-aa"], True),
        (["1.1 nginx, 1.1 m3u-proxy-aa (comment)"], True),
        (["1.1 nginx", "1.0 cache,1.1 m3u-proxy-aa,1.1 z"], True),
    ],
)
def test_whose_name_is_in_via(via: list[str], ours: bool) -> None:
    assert has_come_back(via, "m3u-proxy-aa") is ours
