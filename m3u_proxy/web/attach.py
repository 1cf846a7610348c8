"""A source that is one of our own streams: read where that stream is read, never over the network."""

from __future__ import annotations

import re
from typing import TypeVar

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.url import parse
from m3u_proxy.web.context import Context
from m3u_proxy.web.schemas.streams import StreamRequest

_OURS = re.compile(r"/(?:stream|hls)/([0-9a-f]{32})(?:/.*)?")

Body = TypeVar("Body", bound=StreamRequest)


def attached(context: Context, body: Body) -> Body:
    """``body`` with the source and the spares of the stream of ours that its URL names; else as it is.

    What it names was itself read here before, so this never leads on to a third stream, or back to itself.
    Raises InvalidField for a stream that is not there.
    """
    try:
        target = parse(body.url)
    except InvalidField:
        return body  # said where every URL is checked
    named = _OURS.fullmatch(target.url.path.removeprefix(context.config.root_path))
    if named is None or not context.is_ours(target):
        return body
    record = context.audience.catalog.get(named[1])
    if record is None:
        raise InvalidField("url", "The stream of this proxy that is named here does not exist")
    stream = record.stream
    source = {
        "url": stream.origin.url,
        "headers": dict(stream.headers),
        "user_agent": stream.user_agent,
        "failover_urls": list(stream.failover_urls),
        "failover_resolver_url": stream.failover_resolver_url,
    }
    return body.model_copy(update=source)
