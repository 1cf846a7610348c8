"""Addresses in playlists: minted by us, bound to their stream, worthless anywhere else."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from pathlib import PurePosixPath
from secrets import token_bytes
from urllib.parse import quote
from weakref import WeakKeyDictionary

from m3u_proxy.errors import Forged
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.media.playlist import Role
from m3u_proxy.model import Client
from m3u_proxy.pool.hls.listing import Page
from m3u_proxy.pool.hls.resources import Resource

_CLIENT = "\x00"
"""Stands for the client in a page that is kept; no playlist of ours holds one."""
_MAC_SIZE = 12
_REMEMBERED = 32_768
"""Addresses: a live playlist lists most of them again and again."""


class Links:
    """Mints and reads tokens. A token is ``MAC-label.ext``: it names no file and no address.

    The label is ``writer-number`` for what FFmpeg wrote, and the name of a resource for what a provider
    has. The token of a segment comes last in the query and ends in an honest extension, because players
    built on FFmpeg refuse a segment whose URL does not.
    """

    def __init__(self, root_path: str) -> None:
        self._root = root_path
        self._keyed = blake2b(key=token_bytes(32), digest_size=_MAC_SIZE)
        self._pages: WeakKeyDictionary[HlsWriter | Page, tuple[int, str, bytes]] = WeakKeyDictionary()
        self._address = lru_cache(_REMEMBERED)(self._mint)

    def playlist(self, source: HlsWriter | Page, client: Client) -> bytes:
        """A playlist for one client; made once per revision for all of them."""
        stream_id = client.stream_id
        wanted = 0 if isinstance(source, Page) else source.revision
        revision, owner, page = self._pages.get(source, (-1, "", b""))
        if revision != wanted or owner != stream_id:
            page = self._render(source, stream_id).encode("utf-8", "surrogateescape")
            self._pages[source] = (wanted, stream_id, page)
        return page.replace(_CLIENT.encode(), quote(client.id, safe="").encode())

    def _render(self, source: HlsWriter | Page, stream_id: str) -> str:
        if isinstance(source, Page):
            return source.render(lambda resource: self._of(resource, stream_id))
        nonce = source.nonce
        return source.timeline.render(
            lambda number, name: self._mint(stream_id, f"{nonce}-{number}", PurePosixPath(name).suffix)
        )

    def _of(self, resource: Resource, stream_id: str) -> str:
        if resource.role is Role.PLAYLIST:
            token = f"{self._mac(stream_id, resource.name)}-{resource.name}"
            return f"{self._root}/hls/{stream_id}/playlist.m3u8?t={token}&client_id={_CLIENT}"
        return self._address(stream_id, resource.name, resource.suffix)

    def _mint(self, stream_id: str, label: str, suffix: str) -> str:
        leaf = "segment.ts" if suffix == ".ts" else "segment"
        label += suffix
        token = f"{self._mac(stream_id, label)}-{label}"
        return f"{self._root}/hls/{stream_id}/{leaf}?client_id={_CLIENT}&t={token}"

    def read(self, stream_id: str, token: str) -> str:
        """The label, without its ending; raises ``Forged`` for any token not minted here."""
        mac, _, label = token.partition("-")
        if not token.isascii() or not compare_digest(mac, self._mac(stream_id, label)):
            raise Forged
        return label.partition(".")[0]

    def _mac(self, stream_id: str, label: str) -> str:
        digest = self._keyed.copy()
        digest.update(f"{stream_id}/{label}".encode())
        return digest.hexdigest()
