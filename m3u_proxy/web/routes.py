"""Every route, in one table: what it is, who may call it, whether players do."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aiohttp import web
from pydantic import BaseModel

from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.editors import channels, check, probes, queries, streams, surveys, webhooks
from m3u_proxy.web.editors import windows as window_control
from m3u_proxy.web.middleware import MEDIA, Handler, answer, authorize, refuse_loop
from m3u_proxy.web.openapi import document
from m3u_proxy.web.ops import health, info, pages, statistics
from m3u_proxy.web.players import lineups, play, playlists, segments, windows
from m3u_proxy.web.schemas.answers import ConnectionTested, DeletedByMetadata, DeletedOldest, FileValidated
from m3u_proxy.web.schemas.channels import (
    ChannelDeleted,
    ChannelFields,
    ChannelList,
    ChannelRequest,
    ChannelShown,
    ChannelsQuery,
    ChoiceQuery,
    GuideQuery,
    Imported,
    ImportQuery,
    LineupQuery,
    LineupReference,
)
from m3u_proxy.web.schemas.queries import (
    CookiesFileQuery,
    CountsByMetadataQuery,
    DeleteByMetadataQuery,
    DeleteOldestByMetadataQuery,
    StreamsByMetadataQuery,
)
from m3u_proxy.web.schemas.streams import CheckRequest, ConnectionTestRequest, StreamRequest, TranscodeRequest
from m3u_proxy.web.schemas.surveys import SurveyBegun, SurveyEnded, SurveyQuery, SurveyRequest, SurveyResults
from m3u_proxy.web.schemas.webhooks import (
    WebhookAdded,
    WebhookList,
    WebhookQuery,
    WebhookReference,
    WebhookRequest,
    WebhookTested,
)
from m3u_proxy.web.schemas.windows import ChannelStarted, ChannelStatus, ChannelStatuses, ChannelStopped


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path. An ``open`` route needs no token; a ``media`` route is read by players."""

    method: str
    path: str
    handler: Handler
    open: bool = False
    media: bool = False
    body: type[BaseModel] | None = None
    """What the JSON it is sent is validated by."""
    query: type[BaseModel] | None = None
    """What its query is validated by."""
    answer: object = None
    """A ``TypedDict`` of its answer, where one is written down."""


ROUTES = (
    Route("GET", "/", health.root, open=True),
    Route("GET", "/health", health.health, open=True),
    Route("GET", "/livez", health.livez, open=True),
    Route("GET", "/readyz", health.readyz, open=True),
    Route("GET", "/metrics", health.metrics),
    Route("GET", "/ui", pages.page, open=True),
    Route("GET", "/static/{name}", pages.static, open=True),
    Route("GET", "/favicon.ico", pages.favicon, open=True),
    Route("GET", "/info", info.info),
    Route(
        "POST",
        "/test-connection",
        probes.test_connection,
        body=ConnectionTestRequest,
        answer=ConnectionTested,
    ),
    Route(
        "GET",
        "/validate-cookies-file",
        probes.validate_cookies_file,
        query=CookiesFileQuery,
        answer=FileValidated,
    ),
    Route("POST", "/streams", streams.create_stream, body=StreamRequest),
    Route("GET", "/streams", streams.list_streams),
    Route("GET", "/streams/by-metadata", queries.streams_by_metadata, query=StreamsByMetadataQuery),
    Route(
        "DELETE",
        "/streams/by-metadata",
        queries.delete_by_metadata,
        query=DeleteByMetadataQuery,
        answer=DeletedByMetadata,
    ),
    Route("GET", "/streams/counts-by-metadata", queries.counts_by_metadata, query=CountsByMetadataQuery),
    Route(
        "DELETE",
        "/streams/oldest-by-metadata",
        queries.delete_oldest_by_metadata,
        query=DeleteOldestByMetadataQuery,
        answer=DeletedOldest,
    ),
    Route("GET", "/streams/{id}", streams.show_stream),
    Route("DELETE", "/streams/{id}", streams.delete_stream),
    Route("POST", "/streams/{id}/failover", streams.fail_over),
    Route("GET", "/streams/{id}/timeline", streams.show_timeline),
    Route("POST", "/transcode", streams.create_transcode, body=TranscodeRequest),
    Route("POST", "/check", check.check, body=CheckRequest),
    Route("GET", "/transcode/profiles", streams.list_profiles),
    Route("GET", "/clients", statistics.list_clients),
    Route("GET", "/stats", statistics.show_everything),
    Route("GET", "/stats/clients", statistics.list_clients),
    Route("GET", "/stats/streams", statistics.show_streams),
    Route("GET", "/stats/detailed", statistics.show_detailed),
    Route("GET", "/stats/performance", statistics.show_performance),
    Route("DELETE", "/hls/{id}/clients/{client:.+}", queries.disconnect_client),
    Route("POST", "/webhooks", webhooks.add_webhook, body=WebhookRequest, answer=WebhookAdded),
    Route("GET", "/webhooks", webhooks.list_webhooks, answer=WebhookList),
    Route("DELETE", "/webhooks", webhooks.remove_webhook, body=WebhookReference, query=WebhookQuery),
    Route("POST", "/webhooks/test", webhooks.test_webhook, query=WebhookReference, answer=WebhookTested),
    Route("GET", "/api/v1/channels", channels.list_channels, query=ChannelsQuery, answer=ChannelList),
    Route("POST", "/api/v1/channels", channels.add_channel, body=ChannelRequest, answer=ChannelShown),
    Route(
        "GET",
        "/api/v1/channels/static-hls-m3u",
        lineups.static_hls,
        open=True,
        media=True,
        query=ChoiceQuery,
    ),
    Route(
        "POST",
        "/api/v1/channels/import",
        channels.import_lineup,
        body=LineupReference,
        query=ImportQuery,
        answer=Imported,
    ),
    Route("GET", "/api/v1/channels/{key}", channels.show_channel, answer=ChannelShown),
    Route("PUT", "/api/v1/channels/{key}", channels.change_channel, body=ChannelFields, answer=ChannelShown),
    Route("DELETE", "/api/v1/channels/{key}", channels.delete_channel, answer=ChannelDeleted),
    Route("GET", "/playlist.m3u", lineups.playlist, open=True, media=True, query=LineupQuery),
    Route("GET", "/xmltv", lineups.guide, open=True, media=True, query=GuideQuery),
    Route("GET", "/stream/{id}", play.stream, open=True, media=True),
    Route("GET", "/hls/{id}/playlist.m3u8", playlists.playlist, open=True, media=True),
    Route("GET", "/hls/{id}/segment.ts", segments.segment, open=True, media=True),
    Route("GET", "/hls/{id}/segment", segments.segment, open=True, media=True),
    Route("GET", "/hls/{id}/segment.m4s", segments.segment, open=True, media=True),
    Route("GET", "/hls/{id}/segment.mp4", segments.segment, open=True, media=True),
    *(
        Route(method, "/api/v1/channels/start-stream/{key}", window_control.start, answer=ChannelStarted)
        for method in ("GET", "POST")
    ),
    *(
        Route(method, "/api/v1/channels/stop-stream/{key}", window_control.stop, answer=ChannelStopped)
        for method in ("GET", "POST")
    ),
    Route("GET", "/api/v1/channels/stream-status/{key}", window_control.show, answer=ChannelStatus),
    Route("GET", "/api/v1/channels/streams-status", window_control.show_all, answer=ChannelStatuses),
    Route("POST", "/api/v1/channels/check", surveys.begin, body=SurveyRequest, answer=SurveyBegun),
    Route("GET", "/api/v1/channels/check/{job}", surveys.show, query=SurveyQuery, answer=SurveyResults),
    Route("DELETE", "/api/v1/channels/check/{job}", surveys.cancel, answer=SurveyEnded),
    Route("GET", "/hls_streams/{key}/master.m3u8", windows.playlist, open=True, media=True),
    Route("GET", "/hls_streams/{key}/{segment}", windows.segment, open=True, media=True),
)


def application(context: Context) -> web.Application:
    """The aiohttp application: every route with and without the root path."""
    app = web.Application(middlewares=[answer], client_max_size=context.config.body_limit)
    app[CONTEXT] = context
    app[pages.ASSETS] = pages.load_assets()
    root = context.config.root_path
    described = document(ROUTES, root_path=root, version=context.config.version)
    app[pages.DOCUMENT] = json.dumps(described).encode()
    for prefix in dict.fromkeys(["", root]):
        for route in (*ROUTES, *_pages(context)):
            for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
                app.router.add_route(method, prefix + route.path, _guarded(route), expect_handler=_expect)
        for path in dict.fromkeys(route.path for route in ROUTES if route.media):
            app.router.add_route("OPTIONS", prefix + path, _preflight)
    if root:
        app.router.add_get(root, _to_root)
    return app


def _pages(context: Context) -> tuple[Route, ...]:
    """What describes the API, at the paths that the settings give it."""
    config = context.config
    routes = [Route("GET", path, pages.docs, open=True) for path in {config.docs_url, config.redoc_url}]
    return (*routes, Route("GET", config.openapi_url, pages.openapi, open=True))


def metrics_application(context: Context) -> web.Application:
    """``/metrics`` alone, without a token: for a port that only Prometheus reaches."""
    app = web.Application(middlewares=[answer])
    app[CONTEXT] = context
    app.router.add_get("/metrics", health.metrics)
    return app


def _guarded(route: Route) -> Handler:
    """The handler behind its guard; an open route that is given a ``url`` is not open."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if route.media:
            request[MEDIA] = True
            refuse_loop(request)
        if not route.open or "url" in request.query:
            authorize(request)
        return await route.handler(request)

    return guarded


async def _expect(request: web.Request) -> None:
    """Promise nothing yet: the guard speaks first, and who reads the body asks for it."""


async def _preflight(request: web.Request) -> web.Response:
    request[MEDIA] = True
    if "Origin" not in request.headers or "Access-Control-Request-Method" not in request.headers:
        return web.Response(status=204)
    headers = {"Access-Control-Max-Age": "600"}
    if wanted := request.headers.get("Access-Control-Request-Headers"):
        headers["Access-Control-Allow-Headers"] = wanted
    return web.Response(status=200, headers=headers)


async def _to_root(request: web.Request) -> web.Response:
    return web.Response(status=307, headers={"Location": request.app[CONTEXT].config.root_path + "/"})
