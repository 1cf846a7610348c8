"""Addresses of segments: minted by us, bound to their stream, worthless anywhere else."""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from pathlib import PurePosixPath
from secrets import token_bytes
from urllib.parse import quote
from weakref import WeakKeyDictionary

from m3u_proxy.errors import Forged
from m3u_proxy.ffmpeg.hls import HlsWriter
from m3u_proxy.model import Client

_CLIENT = "{client}"
_MAC_SIZE = 12


class Links:
    """Mints and reads tokens. A token is ``MAC-writer-number.ext``: it names no file and no address.

    The token comes last in the query and ends in an honest extension, because players built on FFmpeg refuse
    a segment whose URL does not.
    """

    def __init__(self, root_path: str) -> None:
        self._root = root_path
        self._secret = token_bytes(32)
        self._pages: WeakKeyDictionary[HlsWriter, tuple[int, str, str]] = WeakKeyDictionary()

    def playlist(self, writer: HlsWriter, client: Client) -> str:
        """The writer's playlist for one client; made once per revision for all of them."""
        stream_id = client.stream_id
        revision, owner, page = self._pages.get(writer, (-1, "", ""))
        if revision != writer.revision or owner != stream_id:
            page = writer.timeline.render(lambda number, name: self._url(writer, stream_id, number, name))
            self._pages[writer] = (writer.revision, stream_id, page)
        return page.replace(_CLIENT, quote(client.id, safe=""))

    def _url(self, writer: HlsWriter, stream_id: str, number: int, name: str) -> str:
        suffix = PurePosixPath(name).suffix
        leaf = "segment.ts" if suffix == ".ts" else "segment"
        label = f"{writer.nonce}-{number}{suffix}"
        token = f"{self._mac(stream_id, label)}-{label}"
        return f"{self._root}/hls/{stream_id}/{leaf}?client_id={_CLIENT}&t={token}"

    def read(self, stream_id: str, token: str) -> tuple[str, int]:
        """The writer's nonce and the segment's number; raises ``Forged`` for any token not minted here."""
        mac, _, label = token.partition("-")
        if not token.isascii() or not compare_digest(mac, self._mac(stream_id, label)):
            raise Forged
        nonce, _, number = label.partition(".")[0].partition("-")
        return nonce, int(number)

    def _mac(self, stream_id: str, label: str) -> str:
        text = f"{stream_id}/{label}".encode()
        return blake2b(text, key=self._secret, digest_size=_MAC_SIZE).hexdigest()
