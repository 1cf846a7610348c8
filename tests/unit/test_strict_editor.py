"""The strict reader itself: it fails on every key that the editor reads without a fallback."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import strict_editor as editor

MOMENT = "2026-05-01T10:00:00.123456+00:00"
STREAM = {
    "stream_id": "1e504d534b5eac4979fb73c871810a37",
    "original_url": "http://h/1.ts",
    "current_url": "http://h/1.ts",
    "client_count": 1,
    "total_bytes_served": 1,
    "total_segments_served": 0,
    "error_count": 0,
    "is_active": True,
    "has_failover": False,
    "stream_type": "VOD",
    "created_at": MOMENT,
    "metadata": {"id": "7"},
}
CLIENT = {
    "stream_id": "1",
    "ip_address": "h",
    "created_at": MOMENT,
    "last_access": MOMENT,
    "bytes_served": 0,
}
MATCH = {"stream_id": "1", "client_count": 2, "metadata": {}}
INFO = {
    "version": "1",
    "hardware_acceleration": {"enabled": True, "type": "vaapi", "device": "/dev/dri/renderD128"},
    "redis": {"pooling_enabled": True, "max_clients_per_stream": 10, "sharing_strategy": "url_profile"},
}
GOOD: dict[str, tuple[Callable[[Any], object], dict[str, Any]]] = {
    "streams": (editor.streams, {"streams": [STREAM], "total": 1}),
    "clients": (editor.clients, {"clients": [CLIENT], "total_clients": 1}),
    "matching": (editor.matching, {"matching_streams": [MATCH], "total_matching": 1, "total_clients": 2}),
    "counts": (lambda answer: editor.counts(answer, "4"), {"counts": {"4": 1}}),
    "deleted": (editor.deleted, {"deleted_count": 0}),
    "created": (editor.created, {"stream_id": STREAM["stream_id"]}),
    "info": (editor.info, INFO),
}


def places(answer: Any, *path: Any) -> list[tuple[Any, ...]]:
    """Where there is a key, in the answer and in all it holds."""
    inner = (
        answer.items() if isinstance(answer, dict) else enumerate(answer) if isinstance(answer, list) else ()
    )
    here = [path] if path and isinstance(path[-1], str) else []
    return here + [place for name, value in inner for place in places(value, *path, name)]


CASES = [(name, place) for name, (_, answer) in GOOD.items() for place in places(answer) if place[-1] != "id"]


@pytest.mark.parametrize("name", GOOD)
def test_what_is_whole_is_read(name: str) -> None:
    reader, answer = GOOD[name]
    reader(answer)


@pytest.mark.parametrize("spoilt", ["missing", "null", "text", "flag"])
@pytest.mark.parametrize(("name", "place"), CASES, ids=str)
def test_no_key_may_be_missing_or_of_another_type(name: str, place: tuple[Any, ...], spoilt: str) -> None:
    reader, answer = GOOD[name]
    answer = copy.deepcopy(answer)
    *path, last = place
    inner = answer
    for step in path:
        inner = inner[step]
    other: dict[str, object] = {"null": None, "flag": 7 if type(inner[last]) is bool else True}
    other["text"] = "7" if not isinstance(inner[last], str) else 7
    if spoilt == "missing":
        del inner[last]
    else:
        inner[last] = other[spoilt]
    with pytest.raises(editor.Unreadable):
        reader(answer)


def test_a_time_without_its_offset_is_refused() -> None:
    with pytest.raises(editor.Unreadable, match="created_at"):
        editor.clients({"clients": [CLIENT | {"created_at": "2026-05-01T10:00:00"}], "total_clients": 1})


def test_the_pool_look_up_compares_strictly() -> None:
    """Trap 5: ``transcoding`` is the text ``true``."""
    said = {"original_channel_id": "7", "original_playlist_uuid": "p"}
    plain = MATCH | {"stream_id": "plain", "metadata": said}
    made = MATCH | {"stream_id": "made", "metadata": said | {"transcoding": "true", "profile_id": "3"}}
    odd = MATCH | {"stream_id": "odd", "metadata": said | {"transcoding": "True", "profile_id": "3"}}
    assert editor.reusable([made, plain], channel=7, playlist="p") == "plain"
    assert editor.reusable([plain, odd, made], channel=7, playlist="p", profile=3) == "made"
    assert editor.reusable([plain, made], channel=7, playlist="p", profile=4) is None
    assert editor.reusable([made], channel=8, playlist="p", profile=3) is None
