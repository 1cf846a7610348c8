"""Buckets as Prometheus counts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Histogram
from prometheus_client.registry import CollectorRegistry

from m3u_proxy.observe.families import histogram
from m3u_proxy.pool.tally import FAILOVER_GAPS, Distribution


@given(st.lists(st.sampled_from(FAILOVER_GAPS) | st.floats(0, 100)))
def test_it_counts_like_the_library(values: list[float]) -> None:
    ours = Distribution(FAILOVER_GAPS)
    theirs = Histogram("m3u_proxy_x", "x", buckets=FAILOVER_GAPS, registry=CollectorRegistry())
    for value in values:
        ours.add(value)
        theirs.observe(value)
    (expected,) = theirs.collect()
    told = {(one.name, one.labels.get("le")): one.value for one in histogram("x", "x", ours).samples}
    for one in expected.samples:
        if not one.name.endswith("_created"):
            assert told.pop((one.name, one.labels.get("le"))) == one.value
    assert not told
