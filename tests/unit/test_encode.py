"""Large answers are JSON whatever is in them."""

from __future__ import annotations

import json

import pytest

from m3u_proxy.web.encode import large_json


@pytest.mark.parametrize(
    "body",
    [
        {"n": 1, "x": 1.5, "yes": True, "nothing": None, "rows": [{"a": ("b", "c")}]},
        {"text": 'é "quoted" \\ \x7f \N{SNOWMAN}'},
        {"lone": "\udc80", "other": 1},
        [],
    ],
)
def test_it_is_json_again(body: object) -> None:
    response = large_json(body)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    raw = response.body
    assert isinstance(raw, bytes)
    assert json.loads(raw) == json.loads(json.dumps(body))
