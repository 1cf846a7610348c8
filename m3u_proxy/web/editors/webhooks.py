"""Editors: who wants to be told of what happens."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.errors import UpstreamError
from m3u_proxy.observe.subscription import Subscription
from m3u_proxy.upstream.headers import custom_fields
from m3u_proxy.web.body import read_model, read_query
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.middleware import failure
from m3u_proxy.web.schemas.webhooks import (
    WebhookAdded,
    WebhookList,
    WebhookQuery,
    WebhookReference,
    WebhookRequest,
    WebhookTested,
    webhook_json,
)


async def add_webhook(request: web.Request) -> web.Response:
    """``POST /webhooks``: from now on; one of the same URL is replaced."""
    context = request.app[CONTEXT]
    body = await read_model(request, WebhookRequest, context.config.body_timeout)
    events = tuple(dict.fromkeys(body.events))
    context.webhooks.register(
        Subscription(
            url=context.check_url("url", body.url),
            events=events,
            headers=custom_fields(body.headers),
            timeout=body.timeout,
            retry_attempts=body.retry_attempts,
        )
    )
    added: WebhookAdded = {
        "message": "Webhook added successfully",
        "webhook_url": body.url,
        "events": list(events),
    }
    return web.json_response(added)


async def list_webhooks(request: web.Request) -> web.Response:
    """``GET /webhooks``: URLs exactly as they were registered."""
    rows: WebhookList = {"webhooks": [webhook_json(one) for one in request.app[CONTEXT].webhooks]}
    return web.json_response(rows)


async def remove_webhook(request: web.Request) -> web.Response:
    """``DELETE /webhooks``: the URL stands in the query, or in a body; what waits for it is given up."""
    context = request.app[CONTEXT]
    url = read_query(request, WebhookQuery).webhook_url
    if url is None:
        url = (await read_model(request, WebhookReference, context.config.body_timeout)).webhook_url
    await context.webhooks.remove(url)
    return web.json_response({"message": f"Webhook {url} removed successfully"})


async def test_webhook(request: web.Request) -> web.Response:
    """``POST /webhooks/test``: one event at once; 502 tells that it did not arrive."""
    url = read_query(request, WebhookReference).webhook_url
    try:
        event_id = await request.app[CONTEXT].webhooks.test(url)
    except UpstreamError as error:
        return failure(502, f"The test event was not delivered: {error.detail}")
    tested: WebhookTested = {"message": "Test event delivered", "event_id": event_id}
    return web.json_response(tested)
