"""The lineup in force: keys, stream ids, who is told, and what a wrong key is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m3u_proxy.errors import NoSuchChannel, Taken
from m3u_proxy.lineup.channel import Channel, channel_of, flat, row_of
from m3u_proxy.lineup.channels import Changes, Channels, Lineup
from m3u_proxy.model import plain_id


def channel(key: str, url: str = "") -> Channel:
    return Channel(key=key, name=key.title(), url=url or f"http://provider.example/{key}.ts")


def lineup(*keys: str) -> Channels:
    channels = Channels()
    for key in keys:
        channels.add(channel(key))
    return channels


def test_what_a_channel_says_comes_from_its_attributes() -> None:
    attributes = {"tvg-id": "a.uk", "tvg-name": "", "tvg-chno": "7.1", "group-title": "News"}
    one = Channel("a", "A", "http://provider.example/a.ts", flat_attributes=flat(attributes))
    assert (one.tvg_id, one.tvg_name, one.logo, one.group, one.number) == ("a.uk", None, None, "News", 7.1)
    assert one.attributes == attributes


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("x", None), ("", None), ("7.", None), ("-1", None), ("9" * 13, None)]
)
def test_a_number_is_one_only_where_it_looks_like_one(text: str, number: float | None) -> None:
    assert Channel("a", "A", "http://h/", flat_attributes=("tvg-chno", text)).number == number


def test_the_stream_id_is_that_of_post_streams() -> None:
    assert (
        channel("a", "http://provider.example/live/u/p/101.ts").stream_id
        == "1e504d534b5eac4979fb73c871810a37"
    )


def test_a_channel_is_found_by_the_id_of_its_stream() -> None:
    channels = lineup("news", "sports")
    assert channels.of_stream(plain_id("http://provider.example/sports.ts")) is channels.get("sports")
    assert channels.of_stream(plain_id("http://elsewhere.example/")) is None
    assert channels.of_stream("no digest") is None


def test_two_channels_with_one_url_share_a_stream_and_the_first_one_defines_it() -> None:
    channels = Channels()
    url = "http://provider.example/both.ts"
    channels.add(channel("first", url))
    channels.add(channel("second", url))
    assert channels.of_stream(plain_id(url)) is channels.get("first")
    channels.delete("first")
    assert channels.of_stream(plain_id(url)) is channels.get("second")
    channels.delete("second")
    assert channels.of_stream(plain_id(url)) is None


def test_of_channels_with_one_url_one_that_is_disabled_does_not_hide_another() -> None:
    url = "http://provider.example/both.ts"
    first, second = channel("first", url), channel("second", url)
    off = replace(first, enabled=False)
    channels = Channels()
    for one in (off, second):
        channels.add(one)
    assert channels.of_stream(plain_id(url)) is second
    channels.put(replace(second, enabled=False))
    channels.put(first)
    assert channels.of_stream(plain_id(url)) is first
    channels.put(second)
    channels.put(off)
    assert channels.of_stream(plain_id(url)) is second
    channels.delete("second")
    assert channels.of_stream(plain_id(url)) is off


def test_a_new_url_is_a_new_stream() -> None:
    channels = lineup("news")
    old = channels.get("news").stream_id
    channels.put(channel("news", "http://provider.example/other.ts"))
    assert channels.of_stream(old) is None
    assert channels.of_stream(plain_id("http://provider.example/other.ts")) is channels.get("news")


def test_a_wrong_key_is_answered_with_the_nearest() -> None:
    channels = lineup("bbc_one", "bbc_two", "cnn")
    with pytest.raises(NoSuchChannel) as raised:
        channels.get("bbc_on")
    assert raised.value.nearest[0] == "bbc_one"
    assert "cnn" not in raised.value.nearest
    with pytest.raises(NoSuchChannel):
        raise raised.value.again()


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("pictures", "and_pictures"),
        ("nad_pictures", "and_pictures"),
        ("nws", "news"),
        ("X7 Music", "7x_music"),
        ("music", "7x_music"),
        ("bbc_one", "uk_bbc_one_hd_of_london_and_the_south_east"),
        ("channel_1999", "channel_1999_hd"),
        ("chanel_1999_hd", "channel_1999_hd"),
    ],
)
def test_whatever_is_wrong_with_a_key_the_one_that_was_meant_is_near(asked: str, meant: str) -> None:
    channels = lineup("and_pictures", "7x_music", "news", "uk_bbc_one_hd_of_london_and_the_south_east")
    for number in range(2_000):
        channels.add(channel(f"channel_{number}_hd"))
    assert channels.nearest(asked)[0] == meant


@pytest.mark.parametrize("asked", ["", "\U0001f600", "zzzz", "_"])
def test_where_nothing_is_near_nothing_is_told(asked: str) -> None:
    assert lineup("news", "sports").nearest(asked) == []


def test_a_key_is_given_once() -> None:
    channels = lineup("news")
    with pytest.raises(Taken):
        channels.add(channel("news"))


def test_listeners_are_told_of_every_change_once() -> None:
    told: list[Changes] = []
    channels = lineup("news")
    channels.subscribe(told.append)
    changed = channel("news", "http://provider.example/2.ts")
    channels.put(changed)
    channels.delete("news")
    other = Lineup()
    other.add(channel("cnn"))
    channels.install(other, {"cnn": channel("cnn")})
    assert told == [{"news": changed}, {"news": None}, {"cnn": channel("cnn")}]
    assert [one.key for one in channels] == ["cnn"]


def test_rows_hold_all_of_a_channel() -> None:
    one = Channel("a", "A", "http://h/", ("http://i/",), ("tvg-id", "x"), ("User-Agent", "y"), False, True)
    row = {name: list(value) if isinstance(value, tuple) else value for name, value in row_of(one).items()}
    assert channel_of("a", row) == one
    assert channel_of("b", {"name": "B", "url": "http://b/"}) == Channel("b", "B", "http://b/")


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"name": "x"},
        {"name": "x", "url": 1},
        {"name": "x", "url": "u", "headers": ["odd"]},
        {"name": "x", "url": "u", "attributes": "ab"},
        {"name": "x", "url": "u", "failover_urls": [1]},
    ],
)
def test_a_row_that_holds_no_channel_is_none(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"row|name|list"):
        channel_of("x", row)
