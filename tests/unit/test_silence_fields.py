"""The six fields on silence come all or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from m3u_proxy.model import SilenceCheck
from m3u_proxy.web.schemas.streams import StreamRequest, TranscodeRequest

URL = "http://provider.example/live/1.ts"
FIELDS: dict[str, Any] = {
    "enable_silence_detection": True,
    "silence_threshold_db": -45,
    "silence_duration": 2.5,
    "silence_check_interval": 5,
    "silence_monitoring_grace_period": 0,
    "silence_failover_threshold": 4,
}
CHECK = SilenceCheck(threshold_db=-45, duration=2.5, interval=5, failures=4, grace=0)
DEFAULT = SilenceCheck(threshold_db=-50, duration=3, interval=10, failures=3, grace=15)


@pytest.mark.parametrize("model", [StreamRequest, TranscodeRequest])
@pytest.mark.parametrize("default", [None, DEFAULT])
def test_what_a_stream_says_wins(model: type[StreamRequest], default: SilenceCheck | None) -> None:
    assert model(url=URL, **FIELDS).silence(default) == CHECK
    assert model(url=URL, **FIELDS | {"enable_silence_detection": False}).silence(default) is None
    assert model(url=URL).silence(default) == default
    assert model.model_validate({"url": URL, **dict.fromkeys(FIELDS)}).silence(default) == default


@pytest.mark.parametrize("missing", FIELDS)
@pytest.mark.parametrize("is_null", [False, True])
def test_a_field_that_is_missing_is_named(missing: str, is_null: bool) -> None:
    body = {name: value for name, value in FIELDS.items() if name != missing}
    if is_null:
        body[missing] = None
    with pytest.raises(ValidationError) as caught:
        StreamRequest.model_validate({"url": URL, **body})
    message = str(caught.value.errors()[0]["msg"])
    assert message.endswith(f"missing: {missing}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("silence_threshold_db", 1),
        ("silence_threshold_db", float("nan")),
        ("silence_duration", 0),
        ("silence_duration", float("inf")),
        ("silence_check_interval", 0),
        ("silence_check_interval", -1),
        ("silence_monitoring_grace_period", -1),
        ("silence_failover_threshold", 0),
        ("silence_failover_threshold", 1.5),
        ("enable_silence_detection", "perhaps"),
    ],
)
def test_values_that_make_no_sense_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        StreamRequest.model_validate({"url": URL, **FIELDS, field: value})
    assert caught.value.errors()[0]["loc"] == (field,)
