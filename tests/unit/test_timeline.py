"""FFmpeg's playlist in, ours out (RFC 8216)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.timeline import MAP, BadPlaylist, ListedSegment, Timeline, Written, parse

WRITTEN = """#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXTINF:2.000000,
#EXT-X-PROGRAM-DATE-TIME:2026-05-01T10:00:00.000+0000
segment_7.ts
#EXT-X-DISCONTINUITY
#EXTINF:1.500000,title, with a comma
segment_8.ts
#EXT-X-SOMETHING-NEW:x
#EXTINF:2,
segment_9.ts
"""


def written(*numbers: int, duration: float = 2.0, map_name: str | None = None) -> Written:
    entries = tuple(ListedSegment(number, duration, f"segment_{number}.ts") for number in numbers)
    return Written(entries, map_name)


def take(timeline: Timeline, *numbers: int, duration: float = 2.0) -> None:
    """What FFmpeg listed is taken in."""
    timeline.extend(timeline.missing(written(*numbers, duration=duration)))


def render(timeline: Timeline) -> str:
    return timeline.render(lambda number, name: f"/{number}/{name}")


# --- reading


def test_a_playlist_of_ffmpeg_is_read() -> None:
    assert parse(WRITTEN) == Written(
        (
            ListedSegment(7, 2.0, "segment_7.ts", date="2026-05-01T10:00:00.000+0000"),
            ListedSegment(8, 1.5, "segment_8.ts", discontinuity=True),
            ListedSegment(9, 2.0, "segment_9.ts"),
        ),
        None,
    )


def test_line_ends_may_be_of_either_kind() -> None:
    assert parse(WRITTEN.replace("\n", "\r\n")) == parse(WRITTEN)


def test_the_initialization_section_is_read() -> None:
    found = parse('#EXTM3U\n#EXT-X-MAP:URI="init.mp4",BYTERANGE="1@0"\n#EXTINF:2,\na.m4s\n')
    assert found.map_name == "init.mp4"


def test_a_playlist_without_segments_is_one() -> None:
    assert parse("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n") == Written((), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "#EXTM3",
        "<html>",
        "#EXTM3U\nsegment_0.ts\n",
        "#EXTM3U\n#EXTINF:2.0,\n",
        "#EXTM3U\n#EXTINF:,\na.ts\n",
        "#EXTM3U\n#EXTINF:two,\na.ts\n",
        "#EXTM3U\n#EXTINF:inf,\na.ts\n",
        "#EXTM3U\n#EXTINF:nan,\na.ts\n",
        "#EXTM3U\n#EXTINF:-2,\na.ts\n",
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:\n#EXTINF:2,\na.ts\n",
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1.5\n#EXTINF:2,\na.ts\n",
    ],
)
def test_what_is_cut_off_or_no_playlist_is_refused(text: str) -> None:
    with pytest.raises(BadPlaylist):
        parse(text)


@given(st.lists(st.sampled_from([*WRITTEN.splitlines(), "#EXTINF:9e999,", "#EXT-X-MEDIA-SEQUENCE:x", ""])))
def test_any_lines_are_a_playlist_that_can_be_shown_or_are_refused(lines: list[str]) -> None:
    try:
        found = parse("\n".join(["#EXTM3U", *lines]))
    except BadPlaylist:
        return
    timeline = Timeline(6, 2, 2.0)
    timeline.extend(timeline.missing(found))
    names = [line for line in lines if line.startswith("segment_")]
    assert [entry.name for entry in timeline.listed()] == names[-6:]


@given(st.integers(0, len(WRITTEN)))
def test_a_playlist_cut_anywhere_never_shows_a_wrong_duration(size: int) -> None:
    whole = parse(WRITTEN).entries
    try:
        found = parse(WRITTEN[:size])
    except BadPlaylist:
        return
    for entry, true in zip(found.entries, whole, strict=False):
        assert (entry.number, entry.duration) == (true.number, true.duration)
        assert true.name.startswith(entry.name)  # a name cut off is that of no file


# --- writing


def test_an_empty_timeline_has_a_valid_playlist() -> None:
    assert render(Timeline(6, 2, 2.0)).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]


def test_a_playlist_lists_the_window_with_our_addresses() -> None:
    timeline = Timeline(3, 2, 2.0)
    take(timeline, 0, 1, 2, 3)
    assert timeline.served() == {0, 1, 2, 3}
    assert render(timeline).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:1",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXTINF:2.000000,",
        "/1/segment_1.ts",
        "#EXTINF:2.000000,",
        "/2/segment_2.ts",
        "#EXTINF:2.000000,",
        "/3/segment_3.ts",
    ]


def test_fragmented_mp4_has_its_map_and_the_version_that_allows_it() -> None:
    timeline = Timeline(3, 2, 2.0)
    timeline.map_name = "init.mp4"
    timeline.extend([ListedSegment(0, 2.0, "segment_0.m4s", date="2026-05-01T10:00:00Z")])
    lines = render(timeline).splitlines()
    assert "#EXT-X-VERSION:7" in lines
    assert lines[-4:] == [
        f'#EXT-X-MAP:URI="/{MAP}/init.mp4"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-05-01T10:00:00Z",
        "#EXTINF:2.000000,",
        "/0/segment_0.m4s",
    ]


def test_segments_past_window_and_extra_are_no_longer_served() -> None:
    timeline = Timeline(2, 1, 2.0)
    take(timeline, 0, 1, 2)
    assert timeline.served() == {0, 1, 2}
    take(timeline, 0, 1, 2, 3, 4)
    assert timeline.served() == {2, 3, 4}
    assert len(timeline) == 3
    assert [entry.number for entry in timeline.listed()] == [3, 4]


def test_what_is_here_already_is_not_missing() -> None:
    timeline = Timeline(6, 2, 2.0)
    take(timeline, 0, 1)
    assert [entry.number for entry in timeline.missing(written(0, 1, 2))] == [2]
    assert timeline.missing(written(0, 1)) == []


@pytest.mark.parametrize(
    ("durations", "target"),
    [([2.0], 2), ([2.49], 2), ([2.5], 3), ([3.5], 4), ([5.2, 2.0], 5), ([0.1], 2)],
)
def test_the_target_duration_covers_every_segment_and_never_shrinks(
    durations: list[float], target: int
) -> None:
    timeline = Timeline(1, 0, 2.0)
    for number, duration in enumerate(durations):
        take(timeline, number, duration=duration)
    assert timeline.target == target
    assert f"#EXT-X-TARGETDURATION:{target}\n" in render(timeline)


def test_the_target_duration_is_a_second_at_least() -> None:
    assert Timeline(6, 2, 0.2).target == 1


def test_a_new_ffmpeg_goes_on_with_the_numbers_and_marks_the_seam() -> None:
    timeline = Timeline(6, 2, 2.0)
    take(timeline, 0, 1)
    timeline.restart()
    assert timeline.next == 2
    take(timeline, 0, 1)
    assert [(entry.number, entry.discontinuity) for entry in timeline.listed()] == [
        (0, False),
        (1, False),
        (2, True),
        (3, False),
    ]


def test_a_first_ffmpeg_that_left_nothing_behind_leaves_no_seam() -> None:
    timeline = Timeline(6, 2, 2.0)
    timeline.restart()
    take(timeline, 0)
    assert "#EXT-X-DISCONTINUITY" not in render(timeline)


def test_every_ffmpeg_has_an_initialization_section_of_its_own() -> None:
    """RFC 8216 §4.3.2.5: EXT-X-MAP applies to the segments behind it, up to the next one."""
    timeline = Timeline(3, 1, 2.0)
    for _ in range(2):
        timeline.map_name = "init.mp4"
        take(timeline, 0, 1)
        timeline.restart()
    assert timeline.served() == {MAP, MAP - 1, 0, 1, 2, 3}
    assert [line for line in render(timeline).splitlines() if not line.startswith("#EXTINF")][5:] == [
        f'#EXT-X-MAP:URI="/{MAP}/init.mp4"',
        "/1/segment_1.ts",
        "#EXT-X-DISCONTINUITY",
        f'#EXT-X-MAP:URI="/{MAP - 1}/init.mp4"',
        "/2/segment_0.ts",
        "/3/segment_1.ts",
    ]
    timeline.map_name = "init.mp4"
    take(timeline, 0, 1, 2)
    assert timeline.served() == {MAP - 1, MAP - 2, 3, 4, 5, 6}


def dated(*seconds: int) -> Written:
    """FFmpeg's playlist, its segments of 2 s dated so many seconds after noon."""
    dates = [f"2026-05-01T12:00:{second:02d}.000+0000" for second in seconds]
    return Written(
        tuple(ListedSegment(n, 2.0, f"segment_{n}.ts", date=date) for n, date in enumerate(dates)), None
    )


@pytest.mark.parametrize(
    ("second_run", "shown_as"),
    [([3, 5], [4, 6]), ([4, 6], [4, 6]), ([9, 11], [9, 11])],
    ids=["too early", "in time", "after a pause"],
)
def test_the_dates_of_a_new_ffmpeg_do_not_go_back(second_run: list[int], shown_as: list[int]) -> None:
    """RFC 8216 §4.3.2.6: the dates of a presentation are one clock."""
    timeline = Timeline(6, 2, 2.0)
    timeline.extend(timeline.missing(dated(0, 2)))
    timeline.restart()
    timeline.extend(timeline.missing(dated(*second_run)))
    found = re.findall(r"DATE-TIME:2026-05-01T12:00:(\d\d)\.000\+00:?00", render(timeline))
    assert [int(second) for second in found] == [0, 2, *shown_as]


@pytest.mark.parametrize("date", ["soon", "2026-05-01T12:00:00", "2026-05-01"])
def test_a_date_that_is_none_is_passed_on(date: str) -> None:
    timeline = Timeline(6, 2, 2.0)
    for _ in range(2):
        timeline.extend(timeline.missing(Written((ListedSegment(0, 2.0, "segment_0.ts", date=date),), None)))
        timeline.restart()
    assert [entry.date for entry in timeline.listed()] == [date, date]


def test_a_successor_whose_first_ffmpeg_showed_nothing_still_has_its_seam() -> None:
    earlier, later = Timeline(3, 1, 2.0), Timeline(3, 1, 2.0)
    take(earlier, 0)
    later.follow(earlier.mark())
    later.restart()
    later.restart()
    take(later, 0, 1)
    seams = [(entry.number, entry.discontinuity) for entry in later.listed()]
    assert seams == [(1, True), (2, False)]


def test_a_later_timeline_goes_on_where_an_earlier_one_ended() -> None:
    earlier, later = Timeline(3, 1, 2.0), Timeline(3, 1, 2.0)
    take(earlier, 0, 1, 2, 3, duration=4.2)
    earlier.restart()
    take(earlier, 0)
    later.follow(earlier.mark())
    assert (later.next, later.target) == (5, 4)
    take(later, 0, 1)
    lines = render(later).splitlines()
    assert lines[2:5] == [
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:5",
        "#EXT-X-DISCONTINUITY-SEQUENCE:1",
    ]
    assert lines[6:] == [
        "#EXT-X-DISCONTINUITY",
        "#EXTINF:2.000000,",
        "/5/segment_0.ts",
        "#EXTINF:2.000000,",
        "/6/segment_1.ts",
    ]


def test_after_a_timeline_that_showed_nothing_there_is_no_seam() -> None:
    later = Timeline(3, 1, 2.0)
    later.follow(Timeline(3, 1, 2.0).mark())
    take(later, 0)
    assert "#EXT-X-DISCONTINUITY" not in render(later)


def test_segments_that_were_never_taken_leave_no_gap_in_the_numbers() -> None:
    """A full disk: FFmpeg's list moves past empty segments that nobody may be shown."""
    timeline = Timeline(6, 2, 2.0)
    take(timeline, 0, 1, 2)
    for _ in range(2):  # asking changes nothing for whoever asks again
        assert [entry.number for entry in timeline.missing(written(7, 8))] == [3, 4]
    take(timeline, 7, 8)
    take(timeline, 8, 9)
    assert [(entry.number, entry.name, entry.discontinuity) for entry in timeline.listed()][3:] == [
        (3, "segment_7.ts", True),
        (4, "segment_8.ts", False),
        (5, "segment_9.ts", False),
    ]


def test_a_discontinuity_that_has_left_the_playlist_is_counted() -> None:
    timeline = Timeline(2, 1, 2.0)
    take(timeline, 0)
    timeline.restart()
    take(timeline, 0, 1)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE" not in render(timeline)
    take(timeline, 2)  # the seam is still served, but no longer listed
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in render(timeline)
    take(timeline, 3, 4, 5)  # it is gone
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in render(timeline)


# --- the whole, as a player sees it


@dataclass
class Shown:
    """One playlist, read as RFC 8216 says."""

    target: int
    segments: dict[int, tuple[str, float, int]]
    """Media sequence number -> URL, duration, discontinuity sequence number (§6.2.1)."""


def shown(text: str) -> Shown:
    def value(tag: str, default: str = "0") -> str:
        found = re.search(rf"^#{tag}:(.*)$", text, re.MULTILINE)
        return found[1] if found else default

    number, discontinuity = int(value("EXT-X-MEDIA-SEQUENCE")), int(value("EXT-X-DISCONTINUITY-SEQUENCE"))
    segments: dict[int, tuple[str, float, int]] = {}
    duration = 0.0
    for line in text.splitlines():
        if line == "#EXT-X-DISCONTINUITY":
            discontinuity += 1
        elif line.startswith("#EXTINF:"):
            duration = float(line[8:].rstrip(","))
        elif line and not line.startswith("#"):
            segments[number + len(segments)] = (line, duration, discontinuity)
    return Shown(int(value("EXT-X-TARGETDURATION")), segments)


class FFmpeg:
    """Writes segments and lists the last few, from 0 on."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: list[ListedSegment] = []

    def write(self, duration: float) -> None:
        number = len(self._entries)
        self._entries.append(ListedSegment(number, duration, f"segment_{number}.ts"))

    def playlist(self) -> Written:
        return Written(tuple(self._entries[-self._size :]), None)


WRITE = st.floats(0.1, 9.0).map(lambda duration: ("write", duration))
LOOK = st.integers(0, 3).map(lambda untaken: ("look", untaken))
NEW = st.sampled_from([("restart", 0), ("successor", 0)])
STEPS = st.lists(st.one_of(WRITE, WRITE, WRITE, LOOK, LOOK, NEW), min_size=20, max_size=60)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 5), st.integers(0, 3))
def test_what_a_player_has_read_once_stays_true(
    steps: Sequence[tuple[str, float]], window: int, extra: int
) -> None:
    """Whatever is looked at late, taken in part or written anew: a number means one segment (§6.2.2)."""
    timeline, ffmpeg = Timeline(window, extra, 2.0), FFmpeg(4)
    known: dict[int, tuple[str, float, int]] = {}
    numbers: list[int] = []
    oldest = target = 0
    for step, amount in steps:
        if step == "write":
            ffmpeg.write(amount)
        elif step == "restart":
            timeline.restart()
            ffmpeg = FFmpeg(4)
        elif step == "successor":
            before, timeline, ffmpeg = timeline, Timeline(window, extra, 2.0), FFmpeg(4)
            timeline.follow(before.mark())
        else:
            fresh = timeline.missing(ffmpeg.playlist())
            fresh = fresh[: max(0, len(fresh) - int(amount))]
            timeline.extend(fresh)
            numbers += [entry.number for entry in fresh]
        page = shown(render(timeline))
        for number, segment in page.segments.items():
            assert known.setdefault(number, segment) == segment
        assert min(page.segments, default=oldest) >= oldest
        assert page.target >= target
        assert all(int(duration + 0.5) <= page.target for _, duration, _ in page.segments.values())
        assert len(page.segments) <= window
        assert len(timeline) <= window + extra
        oldest, target = min(page.segments, default=oldest), page.target
    assert numbers == sorted(set(numbers))
    assert not numbers or timeline.next > numbers[-1]


# --- the end


def test_the_playlist_of_a_film_that_is_over_says_so() -> None:
    timeline = Timeline(3, 0, 2.0)
    take(timeline, 0, 1)
    live = render(timeline)
    assert "#EXT-X-ENDLIST" not in live
    timeline.end()
    assert render(timeline) == live + "#EXT-X-ENDLIST\n"


def test_nothing_comes_after_the_end() -> None:
    timeline = Timeline(3, 0, 2.0)
    take(timeline, 0)
    timeline.end()
    with pytest.raises(AssertionError):
        take(timeline, 1)


def test_ffmpeg_may_begin_its_numbers_anywhere() -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:41\n#EXTINF:2,\na.ts\n#EXTINF:2,\nb.ts\n"
    assert [entry.number for entry in parse(text, 40).entries] == [1, 2]


def test_what_has_left_the_playlist_can_be_dropped_and_nothing_else() -> None:
    timeline = Timeline(window=2, extra=3, target=2.0)
    timeline.extend(
        [ListedSegment(number, 2.0, f"{number}.ts", discontinuity=number == 1) for number in range(4)]
    )
    assert timeline.unlisted == 2
    timeline.drop(1)
    assert timeline.served() == {1, 2, 3}
    timeline.drop(9)
    assert timeline.unlisted == 0
    assert timeline.served() == {2, 3}
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in timeline.render(lambda _, name: name)
