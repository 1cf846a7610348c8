"""What is asked of whom: nothing that was meant for one host is told to another."""

from __future__ import annotations

import pytest

from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.policy import AddressClass

PUBLIC = AddressClass.PUBLIC
SECRETS = {"authorization": "Basic x", "Cookie": "a=b", "HOST": "name.example"}
PLAIN = {"User-Agent": "agent/1", "X-Device": "tv"}
ROOT = Ask("https://h.example/live/1.m3u8", {**PLAIN, **SECRETS})


@pytest.mark.parametrize(
    "url",
    ["https://h.example/s.ts", "https://H.EXAMPLE:8443/s.ts", "https://user:pw@h.example/s.ts"],
)
def test_the_same_host_is_told_everything(url: str) -> None:
    child = ROOT.child(url, PUBLIC)
    assert child == Ask(url, {**PLAIN, **SECRETS}, PUBLIC, payer=ROOT.url)


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/s.ts",
        "https://h.example.evil.example/s.ts",
        "https://sub.h.example/s.ts",
        "http://h.example/s.ts",  # in the clear
        "https://127.0.0.1/s.ts",
        "file:///h.example/s.ts",
    ],
)
def test_another_host_is_told_no_secrets(url: str) -> None:
    assert ROOT.child(url, PUBLIC).headers == PLAIN


def test_another_host_is_another_account() -> None:
    assert ROOT.child("https://cdn.example/s.ts", PUBLIC).payer == "https://cdn.example/s.ts"


def test_what_a_live_source_names_ends_by_itself() -> None:
    root = Ask("http://h.example/x", {}, is_lasting=True)
    assert not root.child("http://h.example/s.ts", PUBLIC).is_lasting


def test_a_root_in_the_clear_may_name_its_own_host_in_tls() -> None:
    root = Ask("http://h.example/x", SECRETS)
    assert root.child("https://h.example/s.ts", PUBLIC).headers == SECRETS


def test_a_child_is_judged_by_who_named_it() -> None:
    assert ROOT.named_by == "operator"
    assert ROOT.child("https://h.example/s.ts", AddressClass.PRIVATE).named_by is AddressClass.PRIVATE


@pytest.mark.parametrize("own", [{}, {"range": "bytes=5-"}, {"Range": "bytes=5-"}])
def test_a_part_is_asked_for_with_both_ends(own: dict[str, str]) -> None:
    root = Ask("http://h.example/x", {**PLAIN, **own})
    assert root.child("http://h.example/s.ts", PUBLIC, (188, 375)).headers == {
        **PLAIN,
        "Range": "bytes=188-375",
    }
    assert root.child("http://h.example/s.ts", PUBLIC).headers == {**PLAIN, **own}


def test_another_part_of_a_file_replaces_the_range_whatever_its_case() -> None:
    root = Ask("http://h.example/x", {**PLAIN, "range": "bytes=5-"})
    asked = root.with_headers({"Range": "bytes=9-"})
    assert asked == Ask(
        "http://h.example/x", {**PLAIN, "Range": "bytes=9-"}, "operator", is_file=True, is_lasting=True
    )
    assert root.headers == {**PLAIN, "range": "bytes=5-"}
