"""Feeds a scanner and gathers what it gives."""

from __future__ import annotations

from collections.abc import Iterable

from m3u_proxy.media.mpegts import PACKET, NotMedia, Scanner


class Fed:
    """Everything a scanner gave, in absolute offsets, up to the NotMedia it ended with."""

    def __init__(self, pieces: Iterable[bytes], scanner: Scanner | None = None) -> None:
        self.scanner = scanner or Scanner()
        self.data = b""
        self.points: list[tuple[int, bytes]] = []
        self.refusal = ""
        for piece in pieces:
            try:
                batch = self.scanner.feed(piece)
            except NotMedia as error:
                self.refusal = str(error)
                break
            assert len(batch.data) % PACKET == 0
            assert set(batch.data[::PACKET]) <= {0x47}
            self.points += [(len(self.data) + point.offset, point.psi) for point in batch.points]
            self.data += batch.data

    @property
    def offsets(self) -> tuple[int, ...]:
        return tuple(offset for offset, _ in self.points)

    def outcome(self) -> object:
        scanner = self.scanner
        counts = None if self.refusal else (scanner.resyncs, scanner.dropped_bytes)
        return self.data, self.points, self.refusal, counts, scanner.psi, scanner.programme
