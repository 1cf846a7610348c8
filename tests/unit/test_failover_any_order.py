"""Whatever fails in whatever order: providers are asked at their pace, and there is always a next step."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.upstream.decision import AskResolver, Decision, GiveUp, Try, Wait
from m3u_proxy.upstream.failover import Failover, FailoverLimits
from m3u_proxy.upstream.outcome import Outcome
from m3u_proxy.upstream.pacing import Pacer, account_of

EXACT = 1e-5
"""Seconds that sums of times may be off."""
POOL = [
    *(f"http://provider.example/live/u/p/{number}.ts" for number in range(3)),
    *(f"http://backup.example/live/u/p/{number}.ts" for number in range(2)),
    "http://tuner.lan/auto/v1",
]
HOSTS = [f"http://{name}.example/live/u/p/1.ts" for name in "abcdef"]

outcomes = st.builds(
    Outcome,
    st.sampled_from(
        ["refused", "reset", "eof", "stall", "circuit_breaker", "not_media", "blocked", "whatever"]
    ),
    st.none() | st.sampled_from([200, 401, 403, 404, 416, 429, 456, 500, 503]),
    st.none() | st.floats(-10.0, 1e6),
    st.none() | st.integers(0, 10_000),
)
soft = st.sampled_from(
    [Outcome(reason) for reason in ("refused", "reset", "circuit_breaker", "stall", "http_5xx")]
)
limits = st.builds(
    FailoverLimits,
    max_attempts=st.integers(0, 4),
    retries=st.none() | st.integers(0, 3),
    retry_delay=st.floats(0.0, 5.0),
    exponential=st.booleans(),
    budget=st.floats(0.1, 200.0),
    cooldown=st.floats(0.0, 500.0),
)
jitters = st.floats(0.0, 1.0, exclude_max=True)
lists = st.lists(st.sampled_from(POOL), min_size=1, max_size=5)
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["fail", "fail", "fail", "play", "manual", "again", "renew"]),
        st.sampled_from([0.0, 0.0, 0.01, 0.7, 3.0, 12.0, 700.0]),
        outcomes,
        st.none() | st.sampled_from(POOL),
        lists,
    ),
    max_size=60,
)


class NotedPacer(Pacer):
    """Tells when media has come."""

    on_answer: Callable[[str, float], None]

    def answered(self, url: str, now: float) -> None:
        self.on_answer(url, now)
        super().answered(url, now)


class House:
    """Streams that share a pacer and a clock, and a log of every attempt that followed a failure."""

    def __init__(self, jitter: float, setup: list[tuple[list[str], FailoverLimits, bool]]) -> None:
        self.now = 1000.0
        self.pacer = NotedPacer(lambda: jitter)
        self.pacer.on_answer = self.answered
        self.setup = setup
        self.log: list[tuple[float, str]] = []
        self.known: list[tuple[float, str]] = []
        """Of these, the attempts at URLs that had failed."""
        self.plans = [self.plan(each) for each in range(len(setup))]
        self.due = [self.now] * len(setup)
        """When the attempt of each stream starts."""
        for each in range(len(setup)):
            self.begin(each)

    def plan(self, each: int) -> Failover:
        urls, its_limits, has_resolver = self.setup[each]
        return Failover(urls, its_limits, self.pacer, has_resolver=has_resolver)

    def begin(self, each: int) -> None:
        """A new start, as soon as it may be."""
        plan = self.plans[each] = self.plan(each)
        step = plan.first(self.now)
        while step.delay:
            self.now += step.delay
            step = plan.first(self.now)
        assert step.url == plan.url
        if self.pacer.knows(step.url, self.now):
            self.note(self.now, step.url)
        self.due[each] = self.now

    def note(self, at: float, url: str) -> None:
        self.log.append((at, url))
        if self.pacer.knows(url, self.now):
            self.known.append((at, url))

    def answered(self, url: str, now: float) -> None:
        """A provider gives media: from now on only what was asked a moment ago counts."""
        self.check_accounts()
        account = account_of(url)
        self.known = [one for one in self.known if account_of(one[1]) != account or one[0] > now - 1]

    def check_accounts(self) -> None:
        by_account = defaultdict(list)
        for at, url in sorted(self.known):
            by_account[account_of(url)].append(at)
        for starts in by_account.values():
            assert all(last - first >= 60 - EXACT for first, last in zip(starts, starts[6:], strict=False))

    def take(self, each: int, step: Decision, answer: str | None) -> None:
        plan = self.plans[each]
        if isinstance(step, AskResolver):
            assert (step.current_url, step.index) == (plan.url, plan.index)
            step = plan.resolved(answer, self.now)
        while isinstance(step, Wait):
            self.now += step.delay
            step = plan.again(self.now)
        if isinstance(step, Try):
            assert step.delay >= 0
            assert (plan.url, plan.index) == (step.url, step.index)
            self.due[each] = self.now + step.delay
            self.note(self.due[each], step.url)
        elif isinstance(step, GiveUp) and step.reason not in ("no_failover", "nothing_viable"):
            self.begin(each)

    def go(self, each: int, what: str, wait: float, outcome: Outcome, answer: str | None) -> None:
        plan = self.plans[each]
        if what == "manual":
            self.take(each, plan.manual(self.now), answer)
            return
        self.now = max(self.now, self.due[each])
        if what == "again":
            self.begin(each)
        elif what == "play":
            plan.alive(self.now)
            self.now += wait
            plan.alive(self.now)
        else:
            self.now += wait
            self.take(each, plan.failed(outcome, self.now), answer)


@given(jitters, st.lists(st.tuples(lists, limits, st.booleans()), min_size=3, max_size=3), steps)
def test_providers_are_asked_at_their_pace(
    jitter: float,
    setup: list[tuple[list[str], FailoverLimits, bool]],
    schedule: list[tuple[int, str, float, Outcome, str | None, list[str]]],
) -> None:
    house = House(jitter, setup)
    for each, what, wait, outcome, answer, urls in schedule:
        if what == "renew":
            house.plans[each].renew(urls, has_resolver=bool(len(urls) % 2))
        else:
            house.go(each, what, wait, outcome, answer)
    by_url = defaultdict(list)
    for at, url in sorted(house.log):
        by_url[url].append(at)
    for starts in by_url.values():
        assert all(later - earlier >= 1 - EXACT for earlier, later in pairwise(starts))
    house.check_accounts()


@given(jitters, lists, limits, st.booleans(), st.booleans(), st.lists(outcomes, min_size=1), st.data())
def test_every_failure_ends(
    jitter: float,
    urls: list[str],
    its_limits: FailoverLimits,
    has_resolver: bool,
    had_bytes: bool,
    ends: list[Outcome],
    data: st.DataObject,
) -> None:
    plan = Failover(urls, its_limits, Pacer(lambda: jitter), has_resolver=has_resolver)
    plan.first(0.0)
    if had_bytes:
        plan.alive(0.0)
    now, tries = 0.0, 0
    for number in range(500):
        outcome = ends[number % len(ends)]
        step = plan.failed(outcome, now)
        if isinstance(step, AskResolver):
            step = plan.resolved(data.draw(st.none() | st.sampled_from(POOL)), now)
        while isinstance(step, Wait):
            now += step.delay
            step = plan.again(now)
        if isinstance(step, GiveUp):
            assert step.reason == outcome.reason
            break
        tries += 1
        now += step.delay
        assert now <= its_limits.budget + EXACT
    else:
        raise AssertionError("it goes on for ever")
    if not had_bytes:
        assert now <= 2 + EXACT
        assert its_limits.max_attempts == 0 or tries <= its_limits.max_attempts


@given(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=6, unique=True), st.data())
def test_each_other_url_is_visited_once_before_any_comes_again(urls: list[str], data: st.DataObject) -> None:
    plan = Failover(urls, FailoverLimits(), Pacer(lambda: 0.5), has_resolver=False)
    now = 0.0
    plan.first(now)
    for _ in range(data.draw(st.integers(1, 4))):
        plan.alive(now)
        now += 700.0
        plan.alive(now)
        place = plan.index
        expected = [*range(place + 1, len(urls)), *range(place)]
        visited = []
        for _ in expected:
            step = plan.failed(data.draw(soft), now)
            assert isinstance(step, Try)
            assert (step.delay, step.is_switch) == (0, True)
            assert step.url == urls[step.index]
            visited.append(step.index)
        assert visited == expected
        now += 700.0  # time for what failed to be forgotten


@given(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=6), st.lists(soft, min_size=6, max_size=6))
def test_at_the_start_each_url_is_tried_exactly_once(urls: list[str], ends: list[Outcome]) -> None:
    plan = Failover(urls, FailoverLimits(), Pacer(lambda: 0.5), has_resolver=False)
    tried = Counter([plan.first(0.0).url])
    for number, outcome in enumerate(ends):
        step = plan.failed(outcome, number / 10)
        if isinstance(step, GiveUp):
            break
        assert isinstance(step, Try)
        tried[step.url] += 1
    assert tried == Counter(set(urls))
    assert plan.attempts == len(tried) - 1
