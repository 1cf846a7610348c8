"""Surveys of the lineup: what becomes of one that crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from m3u_proxy.errors import NotFound
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.survey import Survey
from m3u_proxy.lineup.surveys import Surveys
from tests.support.fake_ffmpeg import until


class Broken:
    """A survey with a defect."""

    def __init__(self, chosen: Sequence[Channel]) -> None:
        self.id = "broken"
        self.total = len(chosen)
        self.results: list[Any] = []

    async def run(self) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("a defect")


async def test_nobody_waits_for_a_survey_that_has_crashed(caplog: pytest.LogCaptureFixture) -> None:
    channels = Channels()
    channels.add(Channel("news", "News", "http://provider.example/1.ts"))
    surveys = Surveys(channels, lambda chosen: cast("Survey", Broken(chosen)))
    survey = await surveys.begin()
    assert surveys.get(survey.id) is survey
    await until(lambda: "crashed" in caplog.text)
    with pytest.raises(NotFound):
        surveys.get(survey.id)
    assert (await surveys.begin()).total == 1  # another one can begin
    await surveys.aclose()
