"""What follows a failed attempt, case by case."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from m3u_proxy.errors import Unavailable, UpstreamError
from m3u_proxy.upstream.decision import AskResolver, GiveUp, Try
from m3u_proxy.upstream.failover import FailoverLimits
from m3u_proxy.upstream.outcome import Outcome, judged, word_of
from m3u_proxy.upstream.pacing import Pacer
from tests.support.plans import A, B, C, P, a_plan, playing, storm

REFUSED = Outcome("refused")
RESET = Outcome("reset")
NOT_FOUND = Outcome("http_404", 404)
BROKEN = Outcome("http_5xx", 500)


def urls(tries: Sequence[Try]) -> list[str]:
    return [one.url for one in tries]


# -- at the start -------------------------------------------------------------------------------------------


def test_the_primary_is_tried_first_and_at_once() -> None:
    plan = a_plan(A)
    assert plan.first(5.0) == Try(P, 0, 0.0, is_switch=False)
    assert (plan.url, plan.index, plan.attempts) == (P, 0, 0)


@pytest.mark.parametrize("resolver", [False, True])
def test_a_spare_is_another_source_of_which_nothing_bad_is_known(resolver: bool) -> None:
    plan = a_plan(A, resolver=resolver)
    plan.first(0.0)
    assert plan.has_spare(0.0)
    step = plan.failed(REFUSED, 0.0)
    if resolver:
        step = plan.resolved(A, 0.0)
    assert isinstance(step, Try)
    assert plan.url == A
    assert plan.has_spare(0.0) == resolver
    plan.failed(REFUSED, 0.0)
    plan.first(60.0)
    assert not plan.has_spare(60.0)
    assert not a_plan().has_spare(0.0)


def test_a_single_source_that_never_gave_a_byte_is_given_up_at_once() -> None:
    plan = a_plan()
    plan.first(0.0)
    assert plan.failed(REFUSED, 0.1) == GiveUp("refused")


def test_every_spare_is_tried_once_without_delay_and_then_the_last_reason_is_told() -> None:
    plan = a_plan(A, B)
    plan.first(0.0)
    assert plan.failed(REFUSED, 0.0) == Try(A, 1, 0.0, is_switch=True)
    assert plan.failed(BROKEN, 0.1) == Try(B, 2, 0.0, is_switch=True)
    assert (plan.url, plan.index, plan.attempts) == (B, 2, 2)
    assert plan.failed(NOT_FOUND, 0.2) == GiveUp("http_404")


def test_spares_of_the_same_account_are_no_slower() -> None:
    plan = a_plan(P.replace("1.ts", "2.ts"), P.replace("1.ts", "3.ts"))
    plan.first(0.0)
    tries, _ = storm(plan, REFUSED, 0.0)
    assert [one.delay for one in tries] == [0, 0]


def test_a_list_that_repeats_the_primary_keeps_its_numbers() -> None:
    plan = a_plan(P, A, A, B)
    plan.first(0.0)
    tries, _ = storm(plan, REFUSED, 0.0)
    assert [(one.url, one.index) for one in tries] == [(A, 2), (B, 4)]


def test_whoever_joins_later_starts_with_a_source_that_is_free() -> None:
    pacer = Pacer(lambda: 0.5)
    first = a_plan(A, B, pacer=pacer)
    first.first(0.0)
    first.failed(Outcome("http_429", 429, retry_after=20.0), 0.0)
    again = a_plan(A, B, pacer=pacer)
    assert again.first(1.0) == Try(A, 1, 0.0, is_switch=False)
    assert (again.index, again.attempts) == (1, 0)
    alone = a_plan(pacer=pacer)
    assert alone.first(5.0) == Try(P, 0, 15.0, is_switch=False)
    assert alone.first(5.0) == Try(P, 0, 15.0, is_switch=False)  # asking does not put it off
    assert alone.first(20.0) == Try(P, 0, 0.0, is_switch=False)


def test_joiners_are_not_kept_waiting_for_a_spare() -> None:
    pacer = Pacer(lambda: 0.5)
    pacer.denied(A, 0.0, "retry_after", 5.0)
    plan = a_plan(A, pacer=pacer)
    plan.first(0.0)
    assert plan.failed(REFUSED, 0.0) == GiveUp("refused")


def test_joiners_wait_two_seconds_in_all() -> None:
    pacer = Pacer(lambda: 0.5)
    pacer.denied(A, 0.0, "retry_after", 1.5)
    pacer.denied(B, 0.0, "retry_after", 2.5)
    plan = a_plan(A, B, pacer=pacer)
    plan.first(0.0)
    assert plan.failed(REFUSED, 0.0) == Try(A, 1, 1.5, is_switch=True)
    assert plan.failed(REFUSED, 1.5) == GiveUp("refused")


# -- with viewers -------------------------------------------------------------------------------------------


def test_a_single_source_is_tried_again_and_less_and_less() -> None:
    tries, end = storm(playing(limits=FailoverLimits(budget=60.0)), RESET, 100.0)
    assert [one.delay for one in tries] == [1, 2, 4, 8, 16]
    assert not any(one.is_switch for one in tries)
    assert end == GiveUp("reset")


def test_a_failure_may_last_as_long_as_its_budget() -> None:
    tries, end = storm(playing(limits=FailoverLimits(budget=7.0)), RESET, 100.0)
    assert sum(one.delay for one in tries) == 7
    assert end == GiveUp("reset")


def test_bytes_renew_the_budget_of_a_failure() -> None:
    plan = playing(limits=FailoverLimits(budget=3.0))
    assert plan.failed(RESET, 100.0) == Try(P, 0, 1.0, is_switch=False)
    plan.alive(101.0)
    plan.alive(103.0)
    assert plan.failed(RESET, 103.0) == Try(P, 0, 2.0, is_switch=False)
    assert plan.failed(RESET, 105.0) == GiveUp("reset")


@pytest.mark.parametrize(("seconds", "is_new"), [(9.0, False), (10.0, True)])
def test_after_ten_seconds_of_bytes_a_failure_is_a_new_one(seconds: float, is_new: bool) -> None:
    plan = playing(A, limits=FailoverLimits(max_attempts=1))
    plan.failed(RESET, 100.0)
    plan.alive(100.0)
    plan.alive(100.0 + seconds)
    again = Try(P, 0, 0.0, is_switch=True) if is_new else Try(A, 1, 1.0, is_switch=False)
    assert plan.failed(RESET, 100.0 + seconds) == again


def test_the_list_goes_round_through_the_primary() -> None:
    plan = playing(A, B)
    assert plan.failed(RESET, 100.0) == Try(A, 1, 0.0, is_switch=True)
    plan.alive(100.0)
    plan.alive(200.0)
    tries, _ = storm(plan, RESET, 200.0)
    assert [(one.url, one.index, one.delay) for one in tries[:2]] == [(B, 2, 0.0), (P, 0, 0.0)]
    assert plan.attempts == 1 + sum(one.is_switch for one in tries)


def test_after_each_was_tried_once_they_go_on_as_paced() -> None:
    tries, end = storm(playing(A), RESET, 100.0)
    assert urls(tries) == [A, P, A, P, A, P, A, P, A]
    assert end == GiveUp("reset")


def test_a_spare_that_asks_for_time_is_passed_over_and_not_asked() -> None:
    pacer = Pacer(lambda: 0.5)
    pacer.denied(A, 99.0, "retry_after", 200.0)
    tries, _ = storm(playing(A, B, pacer=pacer), RESET, 100.0)
    assert tries[0] == Try(B, 2, 0.0, is_switch=True)
    assert A not in urls(tries)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_is_not_asked_for_twice(status: int) -> None:
    """F17."""
    plan = playing(A)
    assert plan.failed(Outcome("http_4xx", status), 100.0) == Try(A, 1, 0.0, is_switch=True)
    tries, _ = storm(plan, RESET, 100.0)
    assert set(urls(tries)) == {A}
    assert playing().failed(Outcome("http_4xx", status), 100.0) == GiveUp("http_4xx")


def test_a_server_that_is_broken_for_ten_seconds_gets_four_requests_and_its_viewers_back() -> None:
    """F20."""
    tries, _ = storm(playing(), BROKEN, 100.0)
    starts = [100 + sum(one.delay for one in tries[: n + 1]) for n in range(len(tries))]
    assert [start for start in starts if start <= 110] == [101, 103, 107]
    assert starts[3] == 115


def test_retry_after_holds_for_that_url_only() -> None:
    """F19."""
    plan = playing(limits=FailoverLimits(budget=60.0))
    step = plan.failed(Outcome("http_429", 429, retry_after=20.0), 100.0)
    assert step == Try(P, 0, 20.0, is_switch=False)
    assert playing().failed(Outcome("http_429", 429, retry_after=40.0), 100.0) == GiveUp("http_429")
    plan = playing(A)
    assert plan.failed(Outcome("http_429", 429, retry_after=20.0), 100.0) == Try(A, 1, 0.0, is_switch=True)


def test_words_instead_of_media_three_times_limit_a_source() -> None:
    """F21."""
    words = Outcome("not_media", 200, size=2048)
    tries, end = storm(playing(limits=FailoverLimits(budget=59.0)), words, 100.0)
    assert [one.delay for one in tries] == [1, 2]
    assert end == GiveUp("not_media")
    tries, _ = storm(playing(limits=FailoverLimits(budget=70.0)), words, 100.0)
    assert [one.delay for one in tries] == [1, 2, 60]


def test_a_large_page_is_no_word_of_the_provider() -> None:
    tries, _ = storm(playing(), Outcome("not_media", 200, size=500_000), 100.0)
    assert [one.delay for one in tries] == [1, 2, 4, 8]


def test_a_blocked_target_is_not_tried_again() -> None:
    assert playing().failed(Outcome("blocked"), 100.0) == GiveUp("blocked")


def test_minutes_of_health_make_a_source_as_good_as_new() -> None:
    pacer = Pacer(lambda: 0.5)
    plan = playing(pacer=pacer)
    step = plan.failed(RESET, 100.0)
    assert isinstance(step, Try)
    assert pacer.knows(P, 101.0)
    plan.alive(101.0)
    plan.alive(700.0)
    assert pacer.knows(P, 699.0)
    plan.alive(701.0)
    assert not pacer.knows(P, 699.0)


# -- as configured ------------------------------------------------------------------------------------------


def test_retries_come_before_a_spare_but_not_before_the_first_byte() -> None:
    limits = FailoverLimits(retries=2, retry_delay=3.0)
    tries, _ = storm(playing(A, limits=limits), RESET, 100.0)
    assert [(one.url, one.delay) for one in tries[:4]] == [(P, 3), (P, 3), (A, 0), (A, 3)]
    plan = a_plan(A, limits=limits)
    plan.first(0.0)
    assert plan.failed(REFUSED, 0.0) == Try(A, 1, 0.0, is_switch=True)


def test_retries_may_come_slower_but_never_faster_than_paced() -> None:
    limits = FailoverLimits(retries=3, retry_delay=2.0, exponential=True)
    tries, end = storm(playing(limits=limits), RESET, 100.0)
    assert [one.delay for one in tries] == [2, 3, 4.5]
    assert end == GiveUp("reset")
    tries, _ = storm(playing(limits=FailoverLimits(retries=3, retry_delay=0.0)), RESET, 100.0)
    assert [one.delay for one in tries] == [1, 2, 4]


def test_a_source_that_trickles_after_each_reconnect_is_left_when_its_retries_are_used() -> None:
    plan = playing(A, limits=FailoverLimits(retries=2, retry_delay=1.0))
    now, found = 100.0, []
    for _ in range(3):
        step = plan.failed(Outcome("low_bitrate"), now)
        assert isinstance(step, Try)
        found.append(step.url)
        plan.alive(now + step.delay)
        plan.alive(now + step.delay + 16.0)  # what it takes to notice
        now += step.delay + 16.0
    assert found == [P, P, A]


def test_a_trickle_after_hours_is_a_new_failure() -> None:
    plan = playing(A, limits=FailoverLimits(retries=1, retry_delay=1.0))
    plan.failed(RESET, 100.0)
    plan.alive(101.0)
    plan.alive(7300.0)
    step = plan.failed(Outcome("low_bitrate"), 7300.0)
    assert isinstance(step, Try)
    assert step.url == P


def test_no_retries_means_none() -> None:
    assert playing(limits=FailoverLimits(retries=0)).failed(RESET, 100.0) == GiveUp("reset")


def test_a_source_that_asks_for_time_is_left_before_its_retries_are_used() -> None:
    plan = playing(A, limits=FailoverLimits(retries=3))
    assert plan.failed(Outcome("http_5xx", 503, retry_after=10.0), 100.0) == Try(A, 1, 0.0, is_switch=True)


def test_no_more_switches_than_allowed() -> None:
    tries, _ = storm(playing(A, B, C, limits=FailoverLimits(max_attempts=2)), RESET, 100.0)
    assert urls(tries)[:2] == [A, B]
    assert set(urls(tries)[2:]) == {B}
    plan = a_plan(A, B, limits=FailoverLimits(max_attempts=1))
    plan.first(0.0)
    assert storm(plan, REFUSED, 0.0) == ([Try(A, 1, 0.0, is_switch=True)], GiveUp("refused"))


def test_another_list_counts_from_the_next_attempt_on() -> None:
    plan = playing(A)
    plan.renew([P, B], has_resolver=False)
    assert plan.failed(RESET, 100.0) == Try(B, 1, 0.0, is_switch=True)
    plan.renew([P, C, A, B], has_resolver=False)
    assert plan.index == 3
    assert plan.failed(RESET, 100.1) == Try(C, 1, 0.0, is_switch=True)
    plan.renew([P], has_resolver=False)  # that one is no longer listed
    assert plan.index == 0
    assert plan.failed(RESET, 101.5) == Try(P, 0, 0.0, is_switch=True)


# -- the resolver -------------------------------------------------------------------------------------------


def test_the_resolver_is_asked_and_each_answer_counts() -> None:
    plan = playing(resolver=True)
    outcome = Outcome("http_4xx", 456)
    assert plan.failed(outcome, 100.0) == AskResolver(P, 0, 456, "connection_error_after_retries")
    assert plan.resolved(A, 100.5) == Try(A, 1, 0.0, is_switch=True)
    assert plan.failed(Outcome("stall"), 111.0) == AskResolver(A, 1, None, "chunk_timeout_after_retries")
    assert plan.resolved(B, 111.0) == Try(B, 2, 0.0, is_switch=True)
    assert (plan.url, plan.index, plan.attempts) == (B, 2, 2)


@pytest.mark.parametrize("answer", [None, P])
def test_without_an_answer_the_list_serves(answer: str | None) -> None:
    plan = playing(A, B, resolver=True)
    plan.failed(RESET, 100.0)
    assert plan.resolved(answer, 100.0) == Try(A, 1, 0.0, is_switch=True)
    assert plan.failed(RESET, 100.0) == Try(B, 2, 0.0, is_switch=True)  # it is not asked again


def test_without_answer_and_list_a_source_with_viewers_is_tried_again() -> None:
    plan = playing(resolver=True)
    plan.failed(RESET, 100.0)
    assert plan.resolved(None, 101.0) == Try(P, 0, 0.0, is_switch=False)
    tries, end = storm(plan, RESET, 101.0)
    assert [one.delay for one in tries] == [2, 4, 8]
    assert end == GiveUp("reset")


def test_without_answer_and_list_joiners_learn_the_reason() -> None:
    plan = a_plan(resolver=True)
    plan.first(0.0)
    assert isinstance(plan.failed(NOT_FOUND, 0.0), AskResolver)
    assert plan.resolved(None, 0.1) == GiveUp("http_404")


def test_the_next_failure_is_a_new_question() -> None:
    plan = playing(resolver=True)
    plan.failed(RESET, 100.0)
    plan.resolved(None, 100.0)
    plan.alive(101.0)
    plan.alive(120.0)
    assert isinstance(plan.failed(RESET, 120.0), AskResolver)


def test_an_answer_that_may_not_be_asked_now_is_none() -> None:
    pacer = Pacer(lambda: 0.5)
    pacer.denied(A, 90.0, "denied")
    plan = playing(resolver=True, pacer=pacer)
    plan.failed(RESET, 100.0)
    assert plan.resolved(A, 100.0) == Try(P, 0, 1.0, is_switch=False)
    assert plan.index == 0


def test_a_resolver_that_sends_in_a_circle_is_not_followed_for_ever() -> None:
    for plan in (playing(resolver=True), a_plan(resolver=True)):
        if not plan.attempts:
            plan.first(0.0)
        now, answers = 100.0, 0
        step = plan.failed(RESET, now)
        for _ in range(100):
            if isinstance(step, AskResolver):
                answers += 1
                step = plan.resolved(A if step.current_url != A else B, now)
            elif isinstance(step, Try):
                now += step.delay
                step = plan.failed(RESET, now)
        assert isinstance(step, GiveUp)
        assert answers <= 21


def test_a_resolver_is_asked_as_often_as_configured() -> None:
    plan = playing(resolver=True, limits=FailoverLimits(max_attempts=1))
    plan.failed(RESET, 100.0)
    plan.resolved(A, 100.0)
    assert plan.failed(RESET, 100.0) == Try(A, 1, 1.0, is_switch=False)


# -- by hand ------------------------------------------------------------------------------------------------


def test_a_manual_failover_goes_to_the_next_and_round() -> None:
    plan = playing(A, B)
    assert [plan.manual(now) for now in (100.0, 110.0, 120.0)] == [
        Try(A, 1, 0.0, is_switch=True),
        Try(B, 2, 0.0, is_switch=True),
        Try(P, 0, 0.0, is_switch=True),
    ]
    assert plan.attempts == 3


def test_a_switch_for_a_reason_of_ours_tells_the_resolver_why() -> None:
    plan = playing(resolver=True)
    assert plan.manual(100.0, "silence") == AskResolver(P, 0, None, "silence_detected")


def test_what_was_left_by_hand_is_the_first_spare() -> None:
    plan = playing(A)
    plan.manual(100.0)
    assert plan.failed(REFUSED, 100.1) == Try(P, 0, 0.0, is_switch=True)


def test_a_manual_failover_without_another_source_changes_nothing() -> None:
    assert playing().manual(100.0) == GiveUp("no_failover")
    pacer = Pacer(lambda: 0.5)
    pacer.denied(A, 99.0, "denied")
    plan = playing(A, pacer=pacer)
    assert plan.manual(100.0) == GiveUp("nothing_viable")
    assert (plan.url, plan.index, plan.attempts) == (P, 0, 0)
    plan.alive(101.0)
    assert plan.failed(RESET, 101.0) == Try(P, 0, 1.0, is_switch=False)


def test_a_manual_failover_asks_the_resolver() -> None:
    plan = playing(resolver=True)
    assert plan.manual(100.0) == AskResolver(P, 0, None, "manual")
    assert plan.resolved(A, 100.0) == Try(A, 1, 0.0, is_switch=True)
    assert plan.manual(110.0) == AskResolver(A, 1, None, "manual")
    assert plan.resolved(None, 110.0) == Try(P, 0, 0.0, is_switch=True)  # the primary is listed
    plan = playing(resolver=True)
    plan.manual(100.0)
    assert plan.resolved(None, 100.0) == GiveUp("nothing_viable")


def test_a_manual_failover_that_led_nowhere_does_not_keep_the_resolver_from_being_asked() -> None:
    plan = playing(resolver=True, until=5.0)
    plan.manual(5.0)
    plan.resolved(None, 5.0)
    assert isinstance(plan.failed(RESET, 6.0), AskResolver)


def test_a_manual_failover_that_led_nowhere_does_not_prolong_a_failure() -> None:
    pacer = Pacer(lambda: 0.5)
    pacer.denied(A, 100.0, "retry_after", 300.0)
    plan = playing(A, pacer=pacer, limits=FailoverLimits(budget=5.0))
    plan.failed(RESET, 100.0)
    assert plan.manual(102.0) == GiveUp("nothing_viable")
    assert plan.failed(RESET, 103.0) == Try(P, 0, 2.0, is_switch=False)
    assert plan.manual(104.9) == GiveUp("nothing_viable")
    assert plan.failed(RESET, 105.0) == GiveUp("reset")


def test_a_source_that_fails_while_somebody_waits_for_the_resolver_is_not_forgotten() -> None:
    plan = playing(resolver=True)
    plan.manual(100.0)
    assert isinstance(plan.failed(RESET, 100.5), AskResolver)
    assert plan.resolved(None, 101.0) == Try(P, 0, 0.5, is_switch=False)


def test_retries_that_would_come_too_late_do_not_keep_the_resolver_from_being_asked() -> None:
    plan = playing(resolver=True, limits=FailoverLimits(retries=1, retry_delay=60.0))
    assert isinstance(plan.failed(RESET, 100.0), AskResolver)


def test_the_list_goes_on_where_it_was_left_for_the_resolver() -> None:
    plan = playing(A, resolver=True)
    plan.manual(100.0)
    plan.resolved(B, 100.0)
    plan.failed(RESET, 100.1)
    assert plan.resolved(None, 100.1) == Try(A, 1, 0.0, is_switch=True)


# -- outcomes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "received", "judgement"),
    [("eof", 187, "not_media"), ("eof", 188, "eof"), ("eof", 0, "eof"), ("reset", 20, "reset")],
)
def test_a_few_words_are_no_media_that_has_ended(reason: str, received: int, judgement: str) -> None:
    error = judged(UpstreamError(reason, "over"), received)
    assert (error.reason, error.size) == (judgement, received if judgement == "not_media" else None)


def test_only_a_provider_asks_for_time() -> None:
    error = UpstreamError("http_429", "too many", status=429, retry_after=7.0)
    assert Outcome.of(error) == Outcome("http_429", 429, 7.0)
    assert Outcome.of(Unavailable("full", reason="account_limit")) == Outcome("account_limit")


@pytest.mark.parametrize(("size", "is_crowded"), [(2048, True), (None, True), (100_000, False)])
def test_a_small_text_may_be_the_word_of_a_full_account(size: int | None, is_crowded: bool) -> None:
    assert Outcome.of(UpstreamError("not_media", "a text", size=size)).is_crowded is is_crowded


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("manual", "manual"),
        ("stall", "chunk_timeout_after_retries"),
        ("circuit_breaker", "circuit_breaker_timeout"),
        ("circuit_open", "circuit_breaker_bad_upstream"),
        ("eof", "live_stream_silent_close"),
        ("refused", "connection_error_after_retries"),
        ("reset", "connection_error_after_retries"),
        ("addr_in_use", "connection_error_after_retries"),
        ("http_5xx", "connection_error_after_retries"),
        ("not_media", "stream_error_NotMedia_after_retries"),
        ("low_bitrate", "low_bitrate"),
        ("silence", "silence_detected"),
        ("ffmpeg_signal", "transcode_process_exited"),
        ("cosmic_ray", "unknown_error_CosmicRay_after_retries"),
    ],
)
def test_reasons_have_a_word_that_the_editor_knows(reason: str, word: str) -> None:
    assert word_of(reason) == word


# -- circuit breaker ----------------------------------------------------------------------------------------

SILENT = Outcome("circuit_breaker")


def test_a_source_that_was_silent_is_not_asked_during_the_cooldown() -> None:
    pacer = Pacer(lambda: 0.5)
    plan = playing(A, limits=FailoverLimits(cooldown=60.0), pacer=pacer)
    step = plan.failed(SILENT, 100.0)
    assert isinstance(step, Try)
    assert (step.url, step.delay, step.is_switch) == (A, 0.0, True)
    other = a_plan(A, pacer=pacer)
    assert other.is_refused(159.0)
    assert other.first(159.0).url == A
    later = a_plan(A, pacer=pacer)
    assert not later.is_refused(161.0)
    assert later.first(161.0).url == P


def test_the_last_source_is_never_marked() -> None:
    pacer = Pacer(lambda: 0.5)
    alone = playing(pacer=pacer)
    step = alone.failed(SILENT, 100.0)
    assert isinstance(step, Try)
    assert (step.url, step.delay) == (P, 1.0)
    assert not pacer.is_marked(P, 100.0)
    pacer = Pacer(lambda: 0.5)
    both = playing(A, pacer=pacer)
    assert isinstance(both.failed(SILENT, 200.0), Try)
    both.alive(200.0)
    both.alive(220.0)
    tries, _ = storm(both, SILENT, 220.0, most=3)
    assert urls(tries) == [A, A, A], "the other one is marked still"
    assert not pacer.is_marked(A, 221.0)


def test_what_was_marked_is_refused_from_a_resolver_too() -> None:
    pacer = Pacer(lambda: 0.5)
    playing(A, pacer=pacer).failed(SILENT, 100.0)
    plan = a_plan(B, pacer=pacer, resolver=True)
    plan.url = A
    plan.alive(110.0)
    assert isinstance(plan.failed(RESET, 120.0), AskResolver)
    step = plan.resolved(P, 120.0)
    assert isinstance(step, Try)
    assert step.url == B
