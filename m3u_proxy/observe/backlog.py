"""What waits to be delivered to one webhook: bounded, and ``stream_stopped`` is lost last. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from m3u_proxy.events import EventType

LIMIT = 1000
"""Events that wait for one webhook."""


@dataclass(frozen=True, slots=True)
class Letter:
    """An event as it is sent."""

    event_id: str
    type: EventType
    content: bytes


class Backlog:
    """Letters in the order in which their events happened."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._letters: deque[Letter] = deque()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter) -> Letter | None:
        """Add a letter; the one that was given up for it, if any: the oldest that frees no slot."""
        self._letters.append(letter)
        if len(self._letters) <= self._limit:
            return None
        for index, one in enumerate(self._letters):
            if one.type is not EventType.STREAM_STOPPED:
                del self._letters[index]
                return one
        return self._letters.popleft()

    def take(self) -> Letter:
        """The oldest; IndexError if there is none."""
        return self._letters.popleft()

    def keep_only(self, type_: EventType) -> list[Letter]:
        """Give up all others; which these were."""
        lost = [one for one in self._letters if one.type is not type_]
        self._letters = deque(one for one in self._letters if one.type is type_)
        return lost
