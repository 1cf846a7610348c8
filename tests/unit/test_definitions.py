"""A definition survives being a row of JSON; a row that is none does not become one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from m3u_proxy.model import Stream
from m3u_proxy.storage.definitions import row_of, stream_of
from tests.support.definitions import URL, a_stream, a_transcode

FULL = replace(
    a_stream(URL, permanent=True, metadata={"id": "7", "ü": "\U0001f4fa"}, headers={"User-Agent": "a"}),
    failover_urls=("http://b.example/1.ts", "http://c.example/1.ts"),
    failover_resolver_url="http://editor.example/next",
    headers={"X-A": "é"},
    strict_live_ts=True,
    use_sticky_session=True,
)


@pytest.mark.parametrize("stream", [FULL, a_stream(), a_transcode(), a_transcode(output="pipe")])
def test_a_definition_comes_back_whole(stream: Stream) -> None:
    again = stream_of(stream.id, json.loads(json.dumps(row_of(stream))))
    assert again == stream
    assert again.key == stream.key
    assert again.kind == stream.kind


@pytest.mark.parametrize(
    "change",
    [
        {"origin": None},
        {"origin": {"url": 7, "headers": {}}},
        {"created_at": "yesterday"},
        {"created_at": "2026-05-01T10:00:00"},
        {"metadata": [1]},
        {"failover_urls": "http://b.example/"},
        {"transcode": {"profile": "x"}},
    ],
)
def test_a_row_that_is_no_definition_is_refused_without_telling_what_it_holds(
    change: dict[str, object],
) -> None:
    with pytest.raises(ValueError, match="the row") as caught:
        stream_of("a", row_of(FULL) | change)
    assert caught.value.__cause__ is None
    assert "provider" not in str(caught.value)


def test_what_a_later_version_may_add_is_passed_over() -> None:
    assert stream_of(FULL.id, row_of(FULL) | {"seen_at": 1, "new": {}}) == FULL
