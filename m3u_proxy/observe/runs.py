"""Runs that were told to have begun and not yet to have ended, so that a crash frees their slots, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from m3u_proxy.events import Bus, Event, EventType

INTERRUPTED = "interrupted"
"""Why a run has stopped whose end nobody was told before the process ended."""

Row = Mapping[str, object]


class Runs:
    """Listens to the bus, before those who deliver. A run is named after the event that told its start.

    It is noted with ``note`` when it begins, and with ``None`` once its end has been delivered: what is
    noted then is exactly what a successor has to tell.
    """

    def __init__(self, note: Callable[[str, Row | None], None]) -> None:
        self._note = note
        self._running: dict[str, str] = {}
        """Stream id to run."""
        self._ending: dict[str, str] = {}
        """Id of the event that tells the end to the run."""

    def hear(self, event: Event) -> None:
        """A run begins, or ends."""
        if event.type is EventType.STREAM_STARTED:
            self._running[event.stream_id] = event.id
            self._note(event.id, {"stream_id": event.stream_id, "metadata": event.data.get("metadata")})
        elif event.type is EventType.STREAM_STOPPED:
            run = self._running.pop(event.stream_id, None)
            if run is not None:
                self._ending[event.id] = run

    def settled(self, event_id: str) -> None:
        """Whoever wanted to know of that event knows."""
        run = self._ending.pop(event_id, None)
        if run is not None:
            self._note(run, None)

    def recover(self, rows: Iterable[tuple[str, Row]], bus: Bus) -> set[str]:
        """Tell the ends that a predecessor could not tell; ids of their streams."""
        found = set()
        for run, row in rows:
            stream_id, metadata = row.get("stream_id"), row.get("metadata")
            if not isinstance(stream_id, str) or not isinstance(metadata, Mapping):
                self._note(run, None)
                continue
            found.add(stream_id)
            self._running[stream_id] = run
            bus.emit(
                EventType.STREAM_STOPPED,
                stream_id,
                metadata={str(name): str(value) for name, value in metadata.items()},
                reason=INTERRUPTED,
                bytes_served=0,
            )
        return found
