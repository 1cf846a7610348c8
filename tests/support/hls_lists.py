"""What a scripted HLS provider lists: playlists over real media, with a live edge that a test moves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.support.hls_media import AUDIO_CODEC, KEY_PERIOD, VIDEO_CODEC, HlsMedia, Track, iv_of

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
PARTS = 4
"""Parts of a segment in a low-latency playlist."""
PACKET = 188
KeyMode = Literal["explicit", "implicit"]


@dataclass(frozen=True)
class Resource:
    """A body that is there now; ``pending`` ones are announced and not yet out."""

    body: bytes
    content_type: str
    pending: bool = False


@dataclass
class MediaList:
    """One media playlist: a window over a track, looped when live, whole when ``window`` is None.

    Everything may be changed while it is served. Names of segments are ``{name}-{sequence}.ts``, after a
    ``restart`` ``{name}-r1-{sequence}.ts``.
    """

    name: str
    track: Track
    window: int | None = 4
    keys: tuple[bytes, ...] = ()
    """AES-128 keys, each for ``KEY_PERIOD`` segments of the track; none: not encrypted."""
    key_mode: KeyMode = "explicit"
    """Whether EXT-X-KEY says the IV; an implicit one is right only until the track is looped."""
    one_file: bool = False
    """Segments are byte ranges of ``{name}-all.ts`` (EXT-X-BYTERANGE)."""
    low_latency: bool = False
    tags: list[str] = field(default_factory=list)
    """More lines for the head of the playlist."""
    reports: list[str] = field(default_factory=list)
    """URIs for EXT-X-RENDITION-REPORT."""
    edge: int = 4
    """Segments that are out; the newest has the sequence number ``edge - 1``."""
    missing: set[int] = field(default_factory=set)
    """Sequence numbers that are listed and answered with 404."""
    all_missing: bool = False
    ended: bool = False
    frozen: bytes | None = None
    override: Callable[[], str | bytes] | None = None
    """Says the text instead."""
    run: int = 0
    shift: int = 0
    """Index in the track of sequence number 0."""

    def index(self, sequence: int) -> int:
        """Index in the track of what a sequence number names."""
        return (sequence + self.shift) % len(self.track.segments)

    def uri(self, sequence: int) -> str:
        """File name of a segment, as the playlist lists it."""
        if self.one_file:
            return f"{self.name}-all{self.track.extension}"
        run = f"-r{self.run}" if self.run else ""
        return f"{self.name}{run}-{sequence}{self.track.extension}"

    def step(self, count: int = 1) -> None:
        """``count`` more segments are out."""
        self.edge += count

    def restart(self) -> None:
        """The encoder starts again: numbers begin at 0, names are new, the picture goes on."""
        self.shift, self.edge, self.run = self.index(self.edge), 0, self.run + 1
        self.missing.clear()
        self.step()

    def freeze(self) -> None:
        """Answer with the playlist of this moment until ``thaw``; the edge moves on unseen."""
        self.frozen = self.text()

    def thaw(self) -> None:
        """The end of a freeze."""
        self.frozen = None

    @property
    def listed(self) -> range:
        """Sequence numbers in the playlist."""
        if self.window is None:
            return range(len(self.track.segments))
        return range(max(0, self.edge - self.window), self.edge)

    def text(self) -> bytes:
        """The playlist now."""
        if self.override is not None:
            said = self.override()
            return said.encode() if isinstance(said, str) else said
        if self.frozen is not None:
            return self.frozen
        lines = self._head()
        key = ""
        for sequence in self.listed:
            if sequence and self.index(sequence) == 0:
                lines.append("#EXT-X-DISCONTINUITY")
            if self.keys and (tag := self._key_tag(sequence)) != key:
                lines.append(key := tag)
            lines += self._segment(sequence)
        if self.low_latency:
            lines += self._hints()
        if self.window is None or self.ended:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join([*lines, ""]).encode()

    def _head(self) -> list[str]:
        first = self.listed.start
        target = max(1, round(max(self.track.durations)))
        lines = ["#EXTM3U", "#EXT-X-VERSION:9" if self.low_latency else "#EXT-X-VERSION:7"]
        lines += [f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        if dropped := sum(self.index(n) == 0 for n in range(1, first)):
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{dropped}")
        if self.window is None:
            lines.append("#EXT-X-PLAYLIST-TYPE:VOD")
        if self.low_latency:
            part = max(self.track.durations) / PARTS
            control = f"CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={6 * target}.0,PART-HOLD-BACK={3 * part:.3f}"
            lines += [f"#EXT-X-SERVER-CONTROL:{control}", f"#EXT-X-PART-INF:PART-TARGET={part:.3f}"]
        lines += self.tags
        if self.track.init is not None:
            lines.append(f'#EXT-X-MAP:URI="{self.name}-init.mp4"')
        return lines

    def _key_tag(self, sequence: int) -> str:
        index = self.index(sequence)
        tag = f'#EXT-X-KEY:METHOD=AES-128,URI="{self.key_uri(sequence)}"'
        return tag + (f",IV=0x{iv_of(index).hex()}" if self.key_mode == "explicit" else "")

    def key_uri(self, sequence: int) -> str:
        """File name of the key of a segment."""
        return f"{self.name}-{self.index(sequence) // KEY_PERIOD}.key"

    def _segment(self, sequence: int) -> list[str]:
        index = self.index(sequence)
        lines: list[str] = []
        if self.low_latency and sequence >= self.edge - 2:
            part = self.track.durations[index] / PARTS
            lines += [
                f'#EXT-X-PART:DURATION={part:.3f},URI="{self.part_uri(sequence, n)}"'
                + (",INDEPENDENT=YES" if n == 0 else "")
                for n in range(PARTS)
            ]
        lines.append(f"#EXTINF:{self.track.durations[index]:.3f},")
        if self.one_file:
            offset = sum(map(len, self.track.segments[:index]))
            lines.append(f"#EXT-X-BYTERANGE:{len(self.track.segments[index])}@{offset}")
        return [*lines, self.uri(sequence)]

    def part_uri(self, sequence: int, part: int) -> str:
        """File name of a partial segment."""
        return f"{self.name}-{sequence}.p{part}{self.track.extension}"

    def _hints(self) -> list[str]:
        last = f"LAST-MSN={self.edge - 1},LAST-PART={PARTS - 1}"
        lines = [f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{self.part_uri(self.edge, 0)}"']
        return lines + [f'#EXT-X-RENDITION-REPORT:URI="{uri}",{last}' for uri in self.reports]

    def find(self, file: str) -> Resource | None:
        """What ``file`` of this list is: a segment, a part, a key or the initialization section."""
        if not file.startswith(f"{self.name}-"):
            return None
        rest = file.removeprefix(f"{self.name}-")
        if rest == "init.mp4" and self.track.init is not None:
            return Resource(self.track.init, "video/mp4")
        if rest == f"all{self.track.extension}" and self.one_file:
            return Resource(b"".join(self.track.segments), self.track.content_type)
        if key := re.fullmatch(r"(\d+)\.key", rest):
            number = int(key[1])
            return (
                Resource(self.keys[number], "application/octet-stream") if number < len(self.keys) else None
            )
        run = f"r{self.run}-" if self.run else ""
        found = re.fullmatch(rf"{run}(\d+)(?:\.p(\d+))?{re.escape(self.track.extension)}", rest)
        return self._media(int(found[1]), int(found[2]) if found[2] else None) if found else None

    def _media(self, sequence: int, part: int | None) -> Resource | None:
        limit = len(self.track.segments) if self.window is None else self.edge
        pending = sequence >= limit
        if self.all_missing or sequence in self.missing or (pending and (part is None or sequence > limit)):
            return None
        body = self.track.segments[self.index(sequence)]
        if part is not None:
            size = -(-len(body) // PARTS // PACKET) * PACKET
            body = body[part * size : (part + 1) * size if part + 1 < PARTS else None]
        return Resource(body, self.track.content_type, pending)


@dataclass
class HlsStream:
    """A channel or a film: its playlists, and the multivariant one if there is more than one.

    Below ``/{name}/`` it has ``index.m3u8``, the way in, and everything it lists.
    """

    name: str
    lists: dict[str, MediaList]
    master: list[str] = field(default_factory=list)
    """Lines of the multivariant playlist; none: ``index.m3u8`` is the only list."""
    require: dict[str, str] = field(default_factory=dict)
    """Request headers without which every answer is 403."""

    @property
    def main(self) -> MediaList:
        """The only or first list."""
        return next(iter(self.lists.values()))

    def path(self, file: str = "index.m3u8") -> str:
        """Path on the server of one of its files."""
        return f"/{self.name}/{file}"

    def segment(self, sequence: int, of: str | None = None) -> str:
        """Path of a segment; ``of`` names the list."""
        return self.path((self.lists[of] if of else self.main).uri(sequence))

    def step(self, count: int = 1) -> None:
        """``count`` more segments are out in every list."""
        for each in self.lists.values():
            each.step(count)

    def find(self, file: str) -> Resource | None:
        """What one of its files is."""
        if file == "index.m3u8" and self.master:
            return Resource("\n".join([*self.master, ""]).encode(), PLAYLIST_TYPE)
        for each in self.lists.values():
            if file == f"{each.name}.m3u8":
                return Resource(each.text(), PLAYLIST_TYPE)
        return next((found for each in self.lists.values() if (found := each.find(file))), None)


def single(
    name: str,
    track: Track,
    *,
    window: int | None = 4,
    keys: tuple[bytes, ...] = (),
    key_mode: KeyMode = "explicit",
    one_file: bool = False,
    low_latency: bool = False,
) -> HlsStream:
    """A stream of one playlist; live with a window, ended (VOD) with ``window=None``."""
    media_list = MediaList(
        "index",
        track,
        window,
        keys,
        key_mode,
        one_file,
        low_latency,
        reports=["../sister/index.m3u8"] if low_latency else [],
    )
    return HlsStream(name, {"index": media_list})


def variants(name: str, media: HlsMedia, *, window: int | None = 4) -> HlsStream:
    """Two muxed variants, ``high`` and ``low``."""
    lists = {each: MediaList(each, getattr(media, each), window) for each in ("high", "low")}
    return HlsStream(name, lists, ["#EXTM3U", "#EXT-X-VERSION:7", *_variant_lines()])


def groups(name: str, media: HlsMedia, *, window: int | None = 4) -> HlsStream:
    """Two variants of video alone, with an audio group (``en``, ``de``) and WebVTT subtitles (``subs``)."""
    tracks = {"high": media.high_video, "low": media.low_video, "en": media.audio_en, "de": media.audio_de}
    lists = {each: MediaList(each, track, window) for each, track in tracks.items()}
    lists["subs"] = MediaList("subs", media.subtitles, window)
    master = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        _rendition("AUDIO", "sound", "English", "en", default=True),
        _rendition("AUDIO", "sound", "Deutsch", "de"),
        _rendition("SUBTITLES", "text", "English", "subs", language="en"),
        *_variant_lines(',AUDIO="sound",SUBTITLES="text"'),
    ]
    return HlsStream(name, lists, master)


def _rendition(
    kind: str, group: str, title: str, uri: str, *, default: bool = False, language: str = ""
) -> str:
    said = f'#EXT-X-MEDIA:TYPE={kind},GROUP-ID="{group}",NAME="{title}",LANGUAGE="{language or uri}"'
    return f'{said},DEFAULT={"YES" if default else "NO"},AUTOSELECT=YES,URI="{uri}.m3u8"'


def _variant_lines(more: str = "") -> list[str]:
    codecs = f'CODECS="{VIDEO_CODEC},{AUDIO_CODEC}"'
    return [
        f"#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,{codecs}{more}",
        "high.m3u8",
        f"#EXT-X-STREAM-INF:BANDWIDTH=350000,RESOLUTION=320x180,{codecs}{more}",
        "low.m3u8",
    ]
