"""Queries as typed models, one for each route that reads one. Unknown parameters are ignored."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from m3u_proxy.web.schemas.fields import Query

CLIENT_ID_LIMIT = 128


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


def _listed(value: str) -> tuple[str, ...]:
    """What a comma list holds, each value once."""
    return tuple(dict.fromkeys(one for part in value.split(",") if (one := part.strip())))


ClientId = Annotated[str, Field(max_length=CLIENT_ID_LIMIT), AfterValidator(_printable)]
"""Opaque text that a player or an editor has chosen."""


class StreamsByMetadataQuery(Query):
    """Query of ``GET /streams/by-metadata``."""

    field: str
    value: str
    active_only: bool = True


class CountsByMetadataQuery(Query):
    """Query of ``GET /streams/counts-by-metadata``."""

    field: str
    values: str
    """A comma list."""
    active_only: bool = True

    @property
    def wanted(self) -> tuple[str, ...]:
        """Each value of the list once, without blanks around it."""
        return _listed(self.values)


class DeleteByMetadataQuery(Query):
    """Query of ``DELETE /streams/by-metadata``."""

    field: str
    value: str
    exclude_channel_id: str | None = None
    force: bool = True
    """Also streams that somebody watches."""
    client_id: ClientId | None = None
    """Without ``force``: who is dropped before the viewers are counted."""


class DeleteOldestByMetadataQuery(Query):
    """Query of ``DELETE /streams/oldest-by-metadata``."""

    field: str
    value: str
    exclude_channel_id: str | None = None


class CookiesFileQuery(Query):
    """Query of ``GET /validate-cookies-file``."""

    path: str
