"""What is to be done after a failed attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Try:
    """Open ``url`` after ``delay`` seconds."""

    url: str
    index: int
    delay: float
    is_switch: bool
    """Another URL than the last."""


@dataclass(frozen=True)
class AskResolver:
    """Ask the resolver, and tell `Failover.resolved` what it says. The fields are those of its request."""

    current_url: str
    index: int
    status: int | None
    reason: str


@dataclass(frozen=True)
class Wait:
    """Nothing may be asked for now, as attempts at other channels use up what the account has to spare: look
    again with `Failover.again` after ``delay`` seconds."""

    delay: float


@dataclass(frozen=True)
class GiveUp:
    """Nothing is left to try: ``reason`` is that of the last outcome.

    After `Failover.manual` it is ``no_failover`` or ``nothing_viable``, and the source goes on as it was.
    """

    reason: str


Decision = Try | AskResolver | Wait | GiveUp
