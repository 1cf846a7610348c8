"""What the papers for operators name exists: files they link to, settings, words of the log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m3u_proxy.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAPERS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_OTHER = {
    "LICENSE",
    "FFMPEG",
    "SIGKILL",
    "SIGTERM",
    "ID",
    "CLIENT",
    "JOBS",
    "DEMO",
    "M3U_PROXY_URL",
    "PATH",
    "COMMAND",
}
"""Words in capitals that are no settings."""
_QUOTED_FROM_THE_LOG = (
    "hardware encoding: none found, the processor encodes",
    "hardware encoding does not work, the processor encodes: ",
    "ffmpeg is too slow",
    "no FFmpeg, transcoding is off",
    "ffmpeg ended: ",
    "The source failed a short while ago and is not to be asked yet",
    "Not enough free disk space for a new stream",
    "The proxy is shutting down",
    "Loopback targets need an API token",
    "A public source points at a private address",
    "The target is this proxy itself",
    "Invalid segment token",
    "set, but without effect",
)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_links_lead_somewhere(paper: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", paper.read_text(encoding="utf-8")):
        assert "://" in link or (paper.parent / link).exists(), link


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_settings_that_are_named_exist(paper: Path) -> None:
    code = re.findall(r"`([^`\n]+)`", paper.read_text(encoding="utf-8"))
    named = {
        word
        for text in code
        for word in re.findall(r"(?<![\w/-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?=[=`\s]|$)", text)
    }
    assert {name.lower() for name in named - _OTHER} <= Settings.model_fields.keys() | {
        "chaos_seeds",
        "chaos_steps",
    }


def test_what_is_quoted_is_what_the_program_says() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "m3u_proxy").rglob("*.py"))
    papers = "".join(" ".join(paper.read_text(encoding="utf-8").split()) for paper in PAPERS)
    for words in _QUOTED_FROM_THE_LOG:
        assert words in source
        assert words.removesuffix(": ") in papers
