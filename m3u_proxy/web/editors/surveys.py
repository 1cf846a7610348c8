"""Which channels of the lineup can be played: asked for, looked at while it is found out, and called off."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.lineup.survey import Verdict
from m3u_proxy.web.body import read_model, read_query
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.encode import large_json
from m3u_proxy.web.schemas.surveys import (
    ChannelVerdict,
    SurveyBegun,
    SurveyEnded,
    SurveyQuery,
    SurveyRequest,
    SurveyResults,
)


async def begin(request: web.Request) -> web.Response:
    """``POST /api/v1/channels/check``: check channels, within what their providers allow. One at a time."""
    context = request.app[CONTEXT]
    body = SurveyRequest.model_validate({})
    if request.can_read_body:
        body = await read_model(request, SurveyRequest, context.config.body_timeout)
    survey = await context.surveys.begin(body.keys, body.group)
    answer: SurveyBegun = {"job": survey.id}
    return web.json_response(answer, status=202)


async def show(request: web.Request) -> web.Response:
    """``GET /api/v1/channels/check/{job}``: what has been found so far; for an hour after the end."""
    query = read_query(request, SurveyQuery)
    survey = request.app[CONTEXT].surveys.get(request.match_info["job"])
    answer: SurveyResults = {
        "done": len(survey.results),
        "total": survey.total,
        "results": [_row(one) for one in survey.results[query.offset :]],
    }
    return large_json(answer)


async def cancel(request: web.Request) -> web.Response:
    """``DELETE /api/v1/channels/check/{job}``: returns when nothing of it goes on; what it found is gone."""
    job = request.match_info["job"]
    await request.app[CONTEXT].surveys.cancel(job)
    answer: SurveyEnded = {"message": f"Check {job} ended"}
    return web.json_response(answer)


def _row(one: Verdict) -> ChannelVerdict:
    return {
        "key": one.key,
        "playable": one.reason is None,
        "kind": one.kind,
        "codecs": list(one.codecs),
        "bitrate": one.bitrate,
        "first_byte_ms": one.first_byte_ms,
        "reason": one.reason,
    }
