"""Links that people make by hand: ``?url=`` names an address where ours name a stream or a token.

Nothing that we or an editor write uses them. The route's guard has seen the token already.
"""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from m3u_proxy.errors import Forged, InvalidField, NotPossible
from m3u_proxy.model import plain_id
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.upstream.url import parse
from m3u_proxy.web.context import Context
from m3u_proxy.web.definitions import plain_stream
from m3u_proxy.web.schemas.streams import StreamRequest


def stream_asked(context: Context, request: web.Request) -> str:
    """Id of the stream whose playlist or body is wanted: that of the path, or of the address in the query.

    A stream is made for an address that has none; it inherits the headers of ``parent``. Raises NotFound for
    an unknown parent, NotPossible for an address that breaks a rule.
    """
    url = request.query.get("url")
    if url is None:
        return request.match_info["id"]
    asked: dict[str, object] = {"url": url}
    parent_id = request.query.get("parent")
    if parent_id is not None:
        parent = context.audience.catalog.find(parent_id).stream
        asked |= {"headers": dict(parent.headers), "user_agent": parent.user_agent}
    try:
        stream = plain_stream(context, StreamRequest.model_validate(asked))
    except ValidationError:
        raise _invalid("URL must be valid Unicode text") from None
    except InvalidField as error:
        raise _invalid(error.detail) from None
    known = context.audience.catalog.get(plain_id(url))
    return known.stream.id if known is not None else context.audience.define(stream).id


def listed_name(context: Context, request: web.Request) -> str:
    """Name of the segment, key or map that the query gives by its address.

    Only what this stream's playlists list is one: membership decides, not a pattern. Raises NotFound for an
    unknown stream, NotPossible for what is no http URL, Forged for everything else; nobody is asked.
    """
    record = context.audience.catalog.find(request.match_info["id"])
    try:
        url = str(parse(request.query["url"]))
    except InvalidField as error:
        raise _invalid(error.detail) from None
    source = context.audience.playlists(record.stream.id)
    found = source.named(url) if isinstance(source, Passthrough) else None
    if found is None:
        raise Forged("This address is in no playlist of this stream")
    return found.name


def _invalid(why: str) -> NotPossible:
    return NotPossible(f"Invalid URL provided: {why}", reason="invalid")
