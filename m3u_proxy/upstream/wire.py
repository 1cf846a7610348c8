"""aiohttp for one attempt: one connection at a time, whose end can be awaited, and errors as reasons."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    ServerDisconnectedError,
    StreamReader,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

from m3u_proxy.errors import UpstreamError

MAX_FIELD = 32 * 1024
"""Bytes of a status line or header field; signed redirects are long."""

MAX_INTERIM = 8
"""Interim answers (1xx, RFC 9110 §15.2) before the final one; aiohttp alone would read them for ever."""

_NEVER_CEIL = float("inf")
_REASONS: tuple[tuple[type[BaseException], str, str], ...] = (  # the first that fits
    (ConnectionTimeoutError, "connect_timeout", "The provider could not be connected in time"),
    (ClientConnectorDNSError, "dns", "The provider's name could not be resolved"),
    (ClientConnectorCertificateError, "tls", "The provider's certificate is not trusted"),
    (ClientSSLError, "tls", "No TLS connection to the provider"),
    (ServerDisconnectedError, "eof", "The provider closed the connection without an answer"),
    (ClientOSError, "reset", "The provider broke the connection"),
    (ClientPayloadError, "short", "The body ended before its announced end"),
    (ClientError, "protocol", "The provider's answer is not valid HTTP"),
    (OSError, "reset", "The provider broke the connection"),
)


def error_of(exc: BaseException) -> UpstreamError:
    """What an exception of aiohttp says about the provider. The detail holds no URL and no address."""
    if type(exc) is ClientConnectorError:
        return _unconnected(exc.os_error)
    return next(UpstreamError(reason, detail) for kind, reason, detail in _REASONS if isinstance(exc, kind))


def _unconnected(exc: OSError) -> UpstreamError:
    if exc.errno == errno.ETIMEDOUT:
        return UpstreamError("connect_timeout", "The provider could not be connected in time")
    if isinstance(exc, ConnectionResetError | ConnectionAbortedError):  # a connection that was there already
        return UpstreamError("tls", "The provider broke off the TLS handshake")
    if exc.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE):
        return UpstreamError("addr_in_use", "No local port is free for a connection to the provider")
    why = os.strerror(exc.errno) if exc.errno else "no address answers"
    return UpstreamError("refused", f"No connection to the provider: {why}")


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Make a broken connection an error that aiohttp does not know: it would silently repeat the GET."""
    try:
        return await handler(request)
    except (ClientError, OSError) as exc:
        raise error_of(exc) from exc


class _Handler(ResponseHandler):
    """Counts heads, and tells the reader of a body of broken framing, which aiohttp keeps to itself."""

    heads = 0
    body: StreamReader | None = None

    async def read(self) -> tuple[RawResponseMessage, StreamReader]:
        head = await super().read()
        self.heads += 1
        if self.heads > MAX_INTERIM + 1:
            raise HttpProcessingError(message="too many interim answers")
        self.body = head[1]
        return head

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        if isinstance(exc, HttpProcessingError) and self.body is not None and self.body.exception() is None:
            self.body.set_exception(UpstreamError("protocol", "The framing of the body is broken"))


class _Connector(TCPConnector):
    """Tells of each connection as soon as there is one."""

    def __init__(self, on_connected: Callable[[Connection], None], **options: Any) -> None:
        super().__init__(**options)
        handler: type[ResponseHandler] = _Handler
        self._factory = partial(handler, loop=self._loop)
        self._on_connected = on_connected

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        self._on_connected(connection)
        return connection


class Wire:
    """One session for one attempt. Make it inside a running loop; ``aclose()`` must follow."""

    def __init__(
        self,
        resolver: AbstractResolver,
        *,
        connect_timeout: float,
        tls_verify: bool,
        on_connected: Callable[[], None],
    ) -> None:
        """``connect_timeout`` (seconds, 0 = none) bounds name resolution, TCP and TLS together.

        ``on_connected`` is called for each connection, right before the request is sent.
        """
        self._on_connected = on_connected
        self._connection: Connection | None = None
        self._protocol: ResponseHandler | None = None
        """Of the connection, like the transport: it lets go of both once the body has ended."""
        self._transport: asyncio.Transport | None = None
        self._session = ClientSession(
            connector=_Connector(
                self._connected,
                resolver=resolver,
                use_dns_cache=False,
                limit=0,
                force_close=True,
                ssl=tls_verify,
            ),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            timeout=ClientTimeout(connect=connect_timeout or None, ceil_threshold=_NEVER_CEIL),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            requote_redirect_url=False,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
            middlewares=(_once,),
        )

    def _connected(self, connection: Connection) -> None:
        self._connection = connection
        self._protocol = connection.protocol
        self._transport = connection.transport
        self._on_connected()

    async def get(self, url: URL, headers: Mapping[str, str]) -> ClientResponse:
        """One GET on one connection. ``disconnect()`` first if there was one before. Raises UpstreamError."""
        return await self._session.get(url, headers=headers, allow_redirects=False)

    def lost(self, exc: BaseException | None = None) -> UpstreamError:
        """Why the body ended: ``exc`` as its reader raised it, ``None`` for an orderly end."""
        broken = self._protocol.exception() if self._protocol is not None else None
        if isinstance(broken, ClientOSError):  # a body without a length ends in order even then
            return error_of(broken)
        return UpstreamError("eof", "The provider ended the body") if exc is None else error_of(exc)

    async def disconnect(self) -> None:
        """Close the connection, if any, without TLS farewells, and wait until its socket is closed."""
        connection, protocol, transport = self._connection, self._protocol, self._transport
        self._connection = self._protocol = self._transport = None
        if connection is None or protocol is None or transport is None:
            return
        closed = protocol.closed
        transport.abort()
        connection.close()
        if closed is not None:
            with suppress(ClientError):
                await closed

    async def aclose(self) -> None:
        """Disconnect and end the session. Idempotent."""
        await self.disconnect()
        await self._session.close()
