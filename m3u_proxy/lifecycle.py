"""What everything that runs has in common: a key, a state, and why it ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from m3u_proxy.errors import Closed, ProxyError
from m3u_proxy.model import State, StreamKey

log = logging.getLogger(__name__)


class Running:
    """Base of a running thing. Its state changes in one method, which logs; ``word`` names it there."""

    word = "stream"

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self.state = State.STARTING
        self.error: ProxyError | None = None

    @property
    def who(self) -> Mapping[str, str]:
        """Whom log lines are about."""
        return {"stream": self.key.digest}

    def _enter(self, state: State) -> None:
        if state is self.state:
            return
        self.state = state
        level = logging.WARNING if state is State.FAILED else logging.INFO
        said = f": {self.error.detail}" if self.error else ""
        log.log(level, "%s %s%s", self.word, state, said, extra=self.who)

    def _fail(self, error: ProxyError) -> None:
        self.error = error
        self._enter(State.FAILED)

    def _close(self) -> None:
        """Nobody needs it any more; one that has failed stays so."""
        if self.state is not State.FAILED:
            self.error = self.error or Closed("The stream was stopped", reason="closed")
            self._enter(State.CLOSED)
