"""The pieces of a body in memory."""

from __future__ import annotations

from bisect import bisect_right
from io import BytesIO

GRAIN = 4096
"""Bytes. A shorter piece is joined with the next, so that a trickle does not become a million objects."""


class Pieces:
    """Consecutive pieces of a body, found by their place in it; from the front they can be dropped.

    Offsets are bytes from the start of the body: ``start`` of the first held, ``end`` of the next to come.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        self.end = 0

    @property
    def start(self) -> int:
        return self._starts[0] if self._starts else self.end

    def append(self, data: bytes) -> None:
        if self._pieces and len(self._pieces[-1]) < GRAIN:
            self._pieces[-1] += data
        else:
            self._pieces.append(data)
            self._starts.append(self.end)
        self.end += len(data)

    def at(self, offset: int) -> tuple[bytes, int]:
        """The piece that holds ``offset``, and where it starts; ``start <= offset < end``."""
        index = bisect_right(self._starts, offset) - 1
        return self._pieces[index], self._starts[index]

    def drop_before(self, offset: int) -> int:
        """Drop the pieces that end at ``offset`` or before it; how many bytes that were."""
        count = len(self._pieces) if offset >= self.end else max(bisect_right(self._starts, offset) - 1, 0)
        freed = sum(map(len, self._pieces[:count]))
        del self._pieces[:count], self._starts[:count]
        return freed

    def move(self, whole: BytesIO, size: int) -> bool:
        """Move ``size`` bytes or a little more from the front to the end of ``whole``; whether more are left.

        A piece is let go as soon as it is copied. The buffer grows by an eighth at most beyond what is in it,
        and hands its content out without a copy: in all never more than 9/8 of the body, and no two of it.
        """
        count = moved = 0
        while count < len(self._pieces) and moved < size:
            moved += whole.write(self._pieces[count])
            self._pieces[count] = b""
            count += 1
        del self._pieces[:count], self._starts[:count]
        return bool(self._pieces)
