"""Who may be contacted: how an address is classed, and who may name it."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from m3u_proxy.errors import InvalidField, UpstreamError
from m3u_proxy.upstream.address import Blocked, Judge, JudgingResolver, NamedBy
from m3u_proxy.upstream.policy import DEFAULT_POLICY, PORT_DENY, AddressClass

PUBLIC, PRIVATE, LOOPBACK, NEVER = AddressClass


CLASS_OF = {
    NEVER: """0.0.0.0 0.1.2.3 :: 169.254.1.1 fe80::1 fe80::1%lo febf::1 224.0.0.1 239.255.255.255 ff02::1
        255.255.255.255 240.0.0.1 192.0.0.192 169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16
        fd00:ec2::254 ::ffff:169.254.169.254 ::a9fe:a9fe 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe
        64:ff9b:1:a9fe:a9:fe00:: 2002:a9fe:a9fe::1 2001:0:a9fe:a9fe::1 2001:0:808:808::5601:5601 fec0::1
        100::1 ::ffff:0:0 64:ff9b::6464:64c8 2002:e000:1:: 4000::1 ::ffff:168.63.129.16""",
    LOOPBACK: """127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::7f00:1 64:ff9b::7f00:1
        2002:7f00:1::""",
    PRIVATE: """10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 fc00::1 fd12::1
        ::ffff:10.0.0.1 64:ff9b::a00:1 2002:c0a8:101::1""",
    PUBLIC: """8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808
        2002:808:808::1 192.0.1.1 2001:0:808:808::f7f7:f7f7""",
}


@pytest.mark.parametrize(
    ("address", "found"),
    [(address, found) for found, addresses in CLASS_OF.items() for address in addresses.split()],
)
def test_classes(address: str, found: AddressClass) -> None:
    assert DEFAULT_POLICY.classify(ip_address(address)) is found


ONE_OF_EACH = {PUBLIC: "8.8.8.8", PRIVATE: "10.0.0.1", LOOPBACK: "127.0.0.1", NEVER: "169.254.169.254"}


@pytest.mark.parametrize("named_by", ["operator", PUBLIC, PRIVATE, LOOPBACK])
@pytest.mark.parametrize("address", ["10.0.0.1", "fc00::1", "::ffff:192.168.1.1", "64:ff9b::a00:1"])
def test_private_networks_can_be_opened_and_closed_to_all(named_by: NamedBy, address: str) -> None:
    opened = Judge(allow_loopback=True, allow_private=True)
    assert opened.check(address, 80, named_by=named_by) is PRIVATE
    with pytest.raises(Blocked) as caught:
        Judge(allow_loopback=True, allow_private=False).check(address, 80, named_by=named_by)
    assert caught.value.category == "private"
    with pytest.raises(Blocked):
        opened.check("169.254.169.254", 80, named_by=named_by)


@pytest.mark.parametrize(
    ("named_by", "may_name"),
    [
        ("operator", {PUBLIC, PRIVATE, LOOPBACK}),
        (LOOPBACK, {PUBLIC, PRIVATE, LOOPBACK}),
        (PRIVATE, {PUBLIC, PRIVATE}),
        (PUBLIC, {PUBLIC}),
    ],
)
def test_who_may_name_what(named_by: NamedBy, may_name: set[AddressClass]) -> None:
    judge = Judge(allow_loopback=True)
    for found, address in ONE_OF_EACH.items():
        if found in may_name:
            assert judge.check(address, 80, named_by=named_by) is found
        else:
            with pytest.raises(Blocked) as caught:
                judge.check(address, 80, named_by=named_by)
            assert caught.value.reason == "blocked"
            assert caught.value.category == found.name.lower()
            assert address not in caught.value.detail


def test_loopback_needs_permission_and_the_refusal_says_whose() -> None:
    judge = Judge(allow_loopback=False, allowed=[("127.0.0.1", 9000)])
    with pytest.raises(Blocked, match="ALLOW_LOOPBACK_TARGETS"):
        judge.check("127.0.0.1", 80, named_by="operator")
    assert judge.check("127.0.0.1", 9000, named_by="operator") is LOOPBACK
    with pytest.raises(Blocked):
        judge.check("127.0.0.2", 9000, named_by="operator")
    with pytest.raises(Blocked):
        judge.check("127.0.0.1", 9000, named_by=PUBLIC)


@pytest.mark.parametrize("port", sorted(PORT_DENY))
def test_ports_of_other_protocols_are_refused(port: int) -> None:
    with pytest.raises(Blocked) as caught:
        Judge(allow_loopback=True).check("8.8.8.8", port, named_by="operator")
    assert caught.value.category == "port"


@pytest.mark.parametrize(
    ("listener", "address", "ours"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "::1", True),
        ("::", "127.0.0.1", True),
        ("0.0.0.0", "10.255.255.254", False),
        ("10.0.0.1", "10.0.0.1", True),
    ],
)
def test_our_own_listeners_are_recognised(listener: str, address: str, ours: bool) -> None:
    judge = Judge(allow_loopback=True, own=lambda: [(listener, 8085)])
    assert judge.is_own(address, 8085) is ours
    assert not judge.is_own(address, 8086)
    if ours:
        with pytest.raises(Blocked) as caught:
            judge.check(address, 8085, named_by="operator")
        assert caught.value.category == "self"


def test_a_wildcard_listener_answers_at_every_address_of_this_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    assert Judge(allow_loopback=True, own=lambda: [("0.0.0.0", 8085)]).is_own(address, 8085)


def test_the_listeners_are_looked_up_at_each_check() -> None:
    listeners: list[tuple[str, int]] = []
    judge = Judge(allow_loopback=True, own=lambda: listeners)
    assert judge.check("127.0.0.1", 8085, named_by="operator") is LOOPBACK
    listeners.append(("127.0.0.1", 8085))
    with pytest.raises(Blocked):
        judge.check("127.0.0.1", 8085, named_by="operator")


def test_the_demo_source_may_be_named_although_it_is_ours() -> None:
    judge = Judge(allow_loopback=True, own=lambda: [("127.0.0.1", 9000)], allowed=[("127.0.0.1", 9000)])
    assert judge.check("127.0.0.1", 9000, named_by="operator") is LOOPBACK


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://0/",
        "http://[::]/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://①②⑦.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://a.localhost/",
        "http://metadata.google.internal/",
        "http://Metadata.Google.Internal./",
        "http://example.com:22/",
        "file:///etc/passwd",
    ],
)
def test_a_field_is_judged_as_far_as_no_name_is_resolved(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("resolved a name"))
    with pytest.raises(InvalidField) as caught:
        Judge(allow_loopback=False).precheck(url, "callback_url")
    assert caught.value.field == "callback_url"


@pytest.mark.parametrize("url", ["http://example.com/x", "http://10.0.0.5:8096/x", "http://jellyfin:8096/x"])
def test_what_an_operator_may_name_passes(url: str) -> None:
    assert str(Judge(allow_loopback=False).precheck(url)) == url


def answer_with(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def fake(host: str, port: int, *args: object, **kwargs: object) -> list[tuple[object, ...]]:
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ip_address(each).version], socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


async def test_the_resolver_returns_judged_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "10.0.0.1", "8.8.8.8", "169.254.169.254", "::1", "2606:4700::1111")
    resolver = JudgingResolver(Judge(allow_loopback=True), PUBLIC)
    results = await resolver.resolve("example.com", 80)
    assert [(each["host"], each["port"], each["hostname"]) for each in results] == [
        ("8.8.8.8", 80, "example.com"),
        ("2606:4700::1111", 80, "example.com"),
    ]
    assert resolver.found is PUBLIC


async def test_a_mixed_answer_counts_as_its_least_trusted_address(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "127.0.0.1", "10.0.0.1")
    resolver = JudgingResolver(Judge(allow_loopback=True), "operator")
    assert len(await resolver.resolve("nas.lan", 80)) == 2
    assert resolver.found is PRIVATE


async def test_a_name_for_forbidden_addresses_only_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "10.0.0.1", "::ffff:127.0.0.1")
    with pytest.raises(UpstreamError) as caught:
        await JudgingResolver(Judge(allow_loopback=True), PUBLIC).resolve("rebound.example", 80)
    assert caught.value.reason == "blocked"
    assert "rebound" not in caught.value.detail


async def test_a_metadata_name_is_not_even_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, "8.8.8.8")
    with pytest.raises(Blocked):
        await JudgingResolver(Judge(allow_loopback=True), "operator").resolve("metadata.google.internal.", 80)
