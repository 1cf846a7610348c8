"""How often a provider may be asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from m3u_proxy.upstream.pacing import MOST_URLS, Pacer, account_of

A = "http://provider.example/live/alice/s3cret/1.ts"
B = "http://provider.example/live/alice/s3cret/2.ts"
ELSEWHERE = "http://backup.example/live/alice/s3cret/1.ts"

KEY = "0123456789abcdef" * 2


def a_pacer(random: float = 0.5) -> Pacer:
    """Without jitter unless told."""
    return Pacer(lambda: random)


# -- accounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example/live/alice/s3cret/77.ts",
        "http://provider.example/live/alice/s3cret/77.m3u8?token=x",
        "http://PROVIDER.example:80/alice/s3cret/77",
        "http://provider.example/alice/s3cret/77.ts",
        "http://provider.example/movie/alice/s3cret/77.mkv",
        "http://provider.example/timeshift/alice/s3cret/60/2026-01-01:10-00/77.ts",
        "http://provider.example/hlsr/t0ken/alice/s3cret/77/abc/1.ts",
        "http://provider.example/live/%61lice/s3cret/77.ts",
        "http://alice:s3cret@provider.example/any/where.ts",
        "http://provider.example/get.php?type=m3u&password=s3cret&username=alice",
    ],
)
def test_an_account_is_a_host_and_the_credentials_wherever_they_stand(url: str) -> None:
    assert account_of(url) == account_of(A)


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example/live/alice/other/1.ts",
        "http://provider.example/live/bob/s3cret/1.ts",
        "http://other.example/live/alice/s3cret/1.ts",
        "http://provider.example:8080/live/alice/s3cret/1.ts",
        "http://provider.example/1.ts",
    ],
)
def test_another_host_port_or_login_is_another_account(url: str) -> None:
    assert account_of(url) != account_of(A)


def test_without_credentials_the_host_is_the_account() -> None:
    assert account_of("http://tuner.lan/auto/v1") == account_of("http://tuner.lan/auto/v2?transcode=mobile")


def test_ports_of_one_host_may_count_as_one() -> None:
    one, two = (account_of(f"http://p.example:{port}/live/u/p/1.ts", with_port=False) for port in (81, 82))
    assert one == two


def test_an_account_never_shows_its_credentials() -> None:
    account = account_of(A)
    assert account.label == "provider.example:80"
    for shown in (str(account), repr(account), f"{account}", f"{account!r:>40}", "%s" % account):  # noqa: UP031
        assert "provider.example" in shown
        assert "alice" not in shown
        assert "s3cret" not in shown


def test_what_is_no_url_is_an_account_of_its_own() -> None:
    assert account_of("nonsense") == account_of("nonsense") != account_of("else")
    assert account_of("nonsense").label == ":0"


# -- pace ---------------------------------------------------------------------------------------------------


def test_what_never_failed_is_not_slowed() -> None:
    pacer = a_pacer()
    assert not pacer.knows(A, 0.0)
    assert [pacer.earliest(A, now / 5) for now in range(300)] == [now / 5 for now in range(300)]


def test_waits_double_and_stay_within_their_bound() -> None:
    pacer, now, waits = a_pacer(), 0.0, []
    for _ in range(8):
        pacer.failed(A, now)
        due = pacer.earliest(A, now)
        waits.append(due - now)
        now = due
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize(("random", "waits"), [(0.0, [1.0, 1.6, 3.2]), (0.999999, [1.2, 2.4, 4.8])])
def test_jitter_is_a_fifth_but_a_second_is_kept(random: float, waits: list[float]) -> None:
    pacer = a_pacer(random)
    for wait in waits:
        pacer.failed(A, 0.0)
        assert pacer.earliest(A, 0.0) == pytest.approx(wait, abs=1e-4)


def test_bytes_forgive_one_doubling_for_ten_seconds() -> None:
    pacer = a_pacer()
    for _ in range(4):
        pacer.failed(A, 0.0)
    pacer.failed(A, 100.0, run=9.9)
    assert pacer.earliest(A, 100.0) == 116
    pacer.failed(A, 200.0, run=30.0)
    assert pacer.earliest(A, 200.0) == 204
    pacer.failed(A, 300.0, run=60.0)
    assert pacer.earliest(A, 300.0) == 301


def test_six_attempts_a_minute_for_an_account_whatever_the_channel() -> None:
    pacer, starts = a_pacer(), []
    for number in range(14):
        url = f"http://provider.example/live/alice/s3cret/{number}.ts"
        pacer.failed(url, 0.0)
        due = pacer.earliest(url, 10.0)
        pacer.note(url, due)
        starts.append(due)
    assert starts[:7] == [10, 11, 12, 14, 18, 26, 70], "1, 1, 2, 4, 8 s apart, and the seventh a minute later"
    assert all(later - earlier >= 1 for earlier, later in pairwise(starts))
    assert all(last - first >= 60 for first, last in zip(starts, starts[6:], strict=False))
    assert pacer.earliest(ELSEWHERE, 10.0) == 10.0
    never_failed = "http://provider.example/live/alice/s3cret/99.ts"
    assert pacer.earliest(never_failed, 10.0) >= 70.0


def test_a_provider_that_gives_media_is_spared_no_more() -> None:
    pacer, channels = a_pacer(), [B.replace("2.ts", f"{number}.ts") for number in range(10)]
    for url in channels:
        pacer.failed(url, 0.0)
    for now in (1.0, 2.0, 3.0, 5.0, 9.0, 17.0):
        pacer.note(A, now)
    assert pacer.earliest(channels[0], 17.5) == 61.0
    changes = pacer.changes
    pacer.answered(A, 17.5)
    assert pacer.changes > changes
    assert pacer.earliest(channels[0], 17.5) == 18.0, "a second behind the last"
    pacer.answered(ELSEWHERE, 17.5)
    assert pacer.earliest(channels[0], 17.5) == 18.0


def test_what_was_not_tried_may_be_taken_for_failed() -> None:
    pacer = a_pacer()
    for now in (10.0, 10.1, 10.2):
        url = A.replace("1.ts", f"{now}.ts")
        pacer.note(url, now)
        pacer.failed(url, now)
    assert pacer.earliest(A, 10.2) == 10.2
    assert pacer.earliest(A, 10.2, as_failed=True) == 12.2
    assert pacer.earliest(ELSEWHERE, 10.2, as_failed=True) == 10.2


def test_channels_that_leave_another_provider_go_to_their_spares_all_at_once() -> None:
    pacer = a_pacer()
    for number in range(50):
        url = f"http://provider.example/live/alice/s3cret/{number}.ts"
        assert pacer.earliest(url, 5.0) == 5.0
        pacer.note(url, 5.0)
    pacer.failed(A, 10.0)
    assert pacer.earliest(A, 20.0) == 20.0, "what plays there takes nothing from a channel that failed"


def test_attempts_at_channels_that_failed_keep_a_second() -> None:
    pacer, starts = a_pacer(), []
    for number in range(4):
        url = f"http://provider.example/live/alice/s3cret/{number}.ts"
        pacer.failed(url, 0.0)
        due = pacer.earliest(url, 5.0)
        pacer.note(url, due)
        starts.append(due)
    assert starts == [5, 6, 7, 9]
    assert pacer.earliest(B.replace("2.ts", "99.ts"), 5.0) == 5.0


def test_an_earlier_gap_between_reserved_attempts_is_used() -> None:
    pacer = a_pacer()
    pacer.failed(A, 0.0)
    pacer.note(B, 20.0)
    assert pacer.earliest(A, 0.0) == 1.0
    assert pacer.earliest(A, 19.5) == 21.0


def test_one_url_is_never_tried_twice_within_a_second() -> None:
    pacer = a_pacer()
    pacer.note(A, 5.0)
    assert pacer.earliest(A, 5.0) == 6.0


# -- denials ------------------------------------------------------------------------------------------------


def test_a_refused_login_waits_half_a_minute() -> None:
    """F17."""
    pacer = a_pacer()
    pacer.denied(A, 10.0, "denied")
    assert pacer.earliest(A, 10.0) == 40.0
    assert pacer.is_blocked(A, 39.9)
    assert not pacer.is_blocked(A, 40.0)
    assert pacer.earliest(B, 10.0) == 10.0


@pytest.mark.parametrize(("seconds", "wait"), [(20.0, 20.0), (1e9, 300.0), (-5.0, 0.0)])
def test_retry_after_is_obeyed_within_its_cap(seconds: float, wait: float) -> None:
    """F19."""
    pacer = a_pacer()
    pacer.denied(A, 0.0, "retry_after", seconds)
    assert pacer.earliest(A, 0.0) == wait
    assert pacer.earliest(B, 0.0) == 0.0


def test_a_shorter_denial_does_not_cut_a_longer_one() -> None:
    pacer = a_pacer()
    pacer.denied(A, 0.0, "retry_after", 100.0)
    pacer.denied(A, 1.0, "denied")
    assert pacer.earliest(A, 1.0) == 100.0


def test_three_crowded_answers_in_a_minute_limit_a_source() -> None:
    """F21."""
    pacer = a_pacer()
    for now in (0.0, 30.0):
        pacer.denied(A, now, "crowded")
        assert not pacer.is_blocked(A, now)
    pacer.denied(A, 59.0, "crowded")
    assert pacer.earliest(A, 59.0) == 119.0


def test_crowded_answers_further_apart_do_not() -> None:
    pacer = a_pacer()
    for now in (0.0, 31.0, 61.0, 92.0, 122.0):
        pacer.denied(A, now, "crowded")
        assert not pacer.is_blocked(A, now)


# -- memory -------------------------------------------------------------------------------------------------


def test_health_makes_everything_forgotten() -> None:
    pacer = a_pacer()
    for _ in range(5):
        pacer.failed(A, 0.0)
    pacer.denied(A, 0.0, "denied")
    pacer.healthy(A, 1.0)
    assert pacer.earliest(A, 1.0) == 1.0
    assert not pacer.knows(A, 1.0)


def test_ten_minutes_without_a_failure_too() -> None:
    pacer = a_pacer()
    pacer.failed(A, 0.0)
    assert pacer.knows(A, 599.0)
    assert not pacer.knows(A, 600.0)


def test_what_is_remembered_is_bounded() -> None:
    pacer = a_pacer()
    for number in range(3 * MOST_URLS):
        pacer.failed(f"http://{number}.example/", 0.0)
        pacer.note(f"http://{number}.example/", 0.0)
    state = pacer.dump(0.0)
    for kind in ("urls", "attempts"):
        rows = state[kind]
        assert isinstance(rows, list)
        assert len(rows) == MOST_URLS


def test_a_busy_account_keeps_only_what_counts() -> None:
    pacer, now, starts = a_pacer(), 0.0, []
    for _ in range(500):
        now = pacer.earliest(A, now)
        pacer.note(A, now)
        starts.append(now)
    assert all(later - earlier >= 1 for earlier, later in pairwise(starts))
    attempts = pacer.dump(now)["attempts"]
    assert isinstance(attempts, list)
    assert len(attempts) < 12


def test_a_restart_forgets_nothing_whatever_the_clock_says() -> None:
    before, after = a_pacer(), a_pacer()
    for _ in range(3):
        before.failed(A, 1000.0)
    before.denied(B, 1000.0, "crowded")
    before.denied(B, 1001.0, "crowded")
    before.denied(ELSEWHERE, 1001.0, "retry_after", 200.0)
    for url in (A, B):
        before.note(url, 1001.0)
    state = json.loads(json.dumps(before.dump(1002.0)))
    after.load(state, 5.0)  # the machine was booted
    assert after.earliest(A, 5.0) == 5.0 + before.earliest(A, 1002.0) - 1002.0 == 7.0
    assert after.earliest(ELSEWHERE, 5.0) == 204.0
    after.denied(B, 6.0, "crowded")
    assert after.is_blocked(B, 6.0)
    assert after.knows(A, 602.9)
    assert not after.knows(A, 603.0)
    assert after.dump(5.0)["attempts"] == before.dump(1002.0)["attempts"]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"urls": None, "attempts": 5},
        {"urls": [1, [], ["u"], [KEY, 1, [0, 0], []], [KEY, "1", [0, 0, 0], []], {"a": 1}]},
        {"urls": [[A, 1, [0, 0, 0], []]], "attempts": [[A, A, 0]]},
        {"attempts": [1, [], ["u"], [KEY, []], [KEY, 1], [1, [1]], [KEY, KEY]]},
    ],
)
def test_nonsense_is_left_out_when_loading(state: dict[str, object]) -> None:
    pacer = a_pacer()
    pacer.load(state, 100.0)
    assert pacer.dump(100.0) == {"urls": [], "attempts": []}


@pytest.mark.parametrize("huge", [1e300, 10**400, float("inf"), float("nan")])
def test_no_file_can_silence_a_source_for_long(huge: float) -> None:
    before, pacer = a_pacer(), a_pacer()
    before.failed(A, 0.0)
    before.note(A, 0.0)
    state = before.dump(0.0)
    match state:
        case {"urls": [[key, *_]], "attempts": [[account, url, _]]}:
            state = {"urls": [[key, 10**9, [huge] * 3, [huge, None]]], "attempts": [[account, url, huge]]}
        case _:
            pytest.fail("the form has changed")
    pacer.load(state, 0.0)
    assert pacer.earliest(A, 0.0) <= 300.0
    pacer.failed(A, 0.0)
    assert pacer.earliest(A, 0.0) <= 300.0


def test_a_dump_names_no_credential() -> None:
    pacer = a_pacer()
    pacer.failed(A, 0.0)
    pacer.note(A, 0.0)
    text = json.dumps(pacer.dump(0.0))
    assert all(word not in text for word in ("alice", "s3cret", "provider"))


def test_every_change_is_counted() -> None:
    pacer, seen = a_pacer(), {0}
    changes: list[Callable[[], None]] = [
        lambda: pacer.failed(A, 0.0),
        lambda: pacer.note(A, 0.0),
        lambda: pacer.denied(A, 0.0, "denied"),
        lambda: pacer.healthy(A, 0.0),
    ]
    for change in changes:
        change()
        assert pacer.changes not in seen
        seen.add(pacer.changes)
    before = pacer.changes
    pacer.healthy(A, 0.0)
    pacer.earliest(A, 0.0)
    assert pacer.changes == before


def test_what_is_long_over_is_not_dumped() -> None:
    pacer = a_pacer()
    pacer.failed(A, 0.0)
    pacer.note(A, 0.0)
    assert pacer.dump(600.0) == {"urls": [], "attempts": []}
