"""What is remembered of a stream, and in which words."""

from __future__ import annotations

import pytest

from m3u_proxy.pool.sources.history import LENGTH, Happening, History


@pytest.mark.parametrize(
    ("reason", "kind"), [("write_error", "write_error"), ("ffmpeg_signal", "restart"), ("stall", "restart")]
)
def test_an_ffmpeg_that_is_replaced_is_told_with_why(reason: str, kind: str) -> None:
    history = History()
    history.replaced(reason, "No space left")
    (moment,) = history.moments()
    assert (moment.what, moment.reason, moment.source) == (kind, reason, None)


def test_only_the_newest_are_kept_and_no_credential() -> None:
    history = History()
    for number in range(LENGTH + 5):
        history.note(Happening.START, detail=f"http://u{number}:s3cret@p.example/1", source=number)
    moments = history.moments()
    assert [one.source for one in moments] == list(range(5, LENGTH + 5))
    assert not any("s3cret" in (one.detail or "") for one in moments)
