"""The two kinds of simulated players: of an endless MPEG-TS body, and of a live HLS playlist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from urllib.parse import urljoin

from benchmarks.clip import PACKET, PMT_PID, VIDEO_PID, is_keyframe, pid
from benchmarks.crowd import Crowd

PAT_PID = 0
START_LIMIT = 64 * 1024
"""A body must show its tables and a keyframe within so many bytes."""
RETRY = 0.5
"""Seconds until an HLS player asks again after an error."""
EDGE = 3
"""Segments from the end at which a player starts (RFC 8216 §6.3.3)."""
TARGET = "#EXT-X-TARGETDURATION"
INF = "#EXTINF:"


class Viewer(ABC):
    """One player; ``joined`` and ``gap`` are seconds, 0 if that never happened.

    ``gap`` is the longest time without a byte of an endless body, or without a picture of a playlist's.
    """

    def __init__(self, crowd: Crowd, path: str) -> None:
        self.joined = 0.0
        self.gap = 0.0
        self.playlist_after = 0.0
        self.segments = 0
        self.rebuffers = 0
        self._crowd = crowd
        self._path = path
        self._connection = crowd.connect(self)
        self._began = 0.0

    def start(self) -> None:
        """Ask for the first time."""
        self._began = monotonic()
        self._connection.ask(self._crowd.address, self._path)

    @abstractmethod
    def keeps(self, status: int) -> bool: ...

    @abstractmethod
    def got(self, size: int, data: bytes) -> None: ...

    @abstractmethod
    def finished(self) -> None: ...

    def lost(self, reason: str) -> None:
        """Count it."""
        self._crowd.errors[reason] += 1

    def close(self, now: float) -> None:
        """The end of the measurement."""
        self._connection.close()


class TsViewer(Viewer):
    """An endless body. It has joined when it has seen PAT, PMT and the start of a keyframe."""

    def __init__(self, crowd: Crowd, path: str) -> None:
        super().__init__(crowd, path)
        self._start = b""
        self._last = 0.0

    def keeps(self, status: int) -> bool:
        if status != 200:
            self._crowd.errors[f"status {status}"] += 1
        return True

    def got(self, size: int, data: bytes) -> None:
        self._crowd.bytes += size
        now = monotonic()
        if self._last and now - self._last > self.gap:
            self.gap = now - self._last
        self._last = now
        if data:
            self._look(data, now)

    def _look(self, data: bytes, now: float) -> None:
        self._start += data
        if starts_with_keyframe(self._start):
            self.joined = now - self._began
        elif len(self._start) < START_LIMIT:
            return
        else:
            self._crowd.errors["no keyframe at the start"] += 1
        self._start = b""
        self._connection.stop_keeping()

    def finished(self) -> None:
        self.lost("body ended")

    def close(self, now: float) -> None:
        if self._last:
            self.gap = max(self.gap, now - self._last)
        super().close(now)


def starts_with_keyframe(data: bytes) -> bool:
    """Whether the body begins with PAT and PMT (ISO/IEC 13818-1 §2.4.4) and a keyframe is the first video."""
    whole = len(data) // PACKET * PACKET
    pids = [pid(data, offset) for offset in range(0, whole, PACKET)]
    if pids[:2] != [PAT_PID, PMT_PID] or VIDEO_PID not in pids:
        return False
    return is_keyframe(data, pids.index(VIDEO_PID) * PACKET)


class HlsViewer(Viewer):
    """Polls a media playlist and fetches what is new in it. It has joined after its first whole segment.

    It plays from then on, and stands still whenever it has played all that it has.
    """

    def __init__(self, crowd: Crowd, path: str) -> None:
        super().__init__(crowd, path)
        self._playlist = b""
        self._segment = False
        self._status = 0
        self._durations: dict[str, float] = {}
        self._lasts_until = 0.0
        self._queue: list[str] = []
        self._last = ""
        self._due = 0.0

    def keeps(self, status: int) -> bool:
        self._status = status
        self._playlist = b""
        return not self._segment

    def got(self, size: int, data: bytes) -> None:
        self._crowd.bytes += size
        self._playlist += data

    def finished(self) -> None:
        if self._status != 200:
            self._again(f"{'segment' if self._segment else 'playlist'} status {self._status}")
        elif not self._segment:
            self._listed(self._playlist.decode())
        else:
            self._play(monotonic())
            self._next()

    def _play(self, now: float) -> None:
        self.segments += 1
        self.joined = self.joined or now - self._began
        self._stand_still(now)
        self._lasts_until = max(now, self._lasts_until) + self._durations[self._last]

    def _stand_still(self, now: float) -> None:
        if self._lasts_until:
            self.gap = max(self.gap, now - self._lasts_until)

    def close(self, now: float) -> None:
        self._stand_still(now)
        super().close(now)

    def lost(self, reason: str) -> None:
        self._again(reason)

    def _again(self, error: str) -> None:
        self._crowd.errors[error] += 1
        self._due = monotonic() + RETRY
        self._queue.clear()
        self._next()

    def _next(self) -> None:
        now = monotonic()
        self._segment = bool(self._queue)
        if self._queue:
            self._last = self._queue.pop(0)
            self._connection.ask(self._crowd.address, urljoin(self._path, self._last))
        elif now < self._due:
            self._crowd.at(self._due, self._next)
        else:
            self._connection.ask(self._crowd.address, self._path)

    def _listed(self, text: str) -> None:
        now = monotonic()
        self.playlist_after = self.playlist_after or now - self._began
        lines = text.splitlines()
        segments = [line for line in lines if line and not line.startswith("#")]
        lengths = [float(line[len(INF) :].partition(",")[0]) for line in lines if line.startswith(INF)]
        self._durations = dict(zip(segments, lengths, strict=True))
        target = next(float(line.partition(":")[2]) for line in lines if line.startswith(TARGET))
        if self._last in segments:
            self._queue = segments[segments.index(self._last) + 1 :]
        else:
            self.rebuffers += bool(self._last)
            self._queue = segments[-EDGE:]
        # RFC 8216 §6.3.4: after a change one target duration, without one half of it
        self._due = now + (target if self._queue else target / 2)
        self._next()
