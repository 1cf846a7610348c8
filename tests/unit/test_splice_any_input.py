"""Any schedule of slides, jumps, restarts and switches: viewers see one playlist that keeps its promises."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.hls.splice import Splice
from m3u_proxy.media.playlist import Playlist, Reference, parse

BREAK = "#EXT-X-DISCONTINUITY"
CLEAR = ""

many = settings(deadline=None, max_examples=250, derandomize=True)


@dataclass
class Segment:
    """One segment of a scripted source."""

    name: str
    number: int
    """Media sequence number that its source gives it."""
    key: str
    """Name of the key; ``CLEAR`` for none."""
    section: str
    breaks: int
    target: int


@dataclass
class Origin:
    """A scripted source: segments out so far, the last ``window`` of them listed."""

    name: str
    window: int
    start: int
    """Media sequence number of the first segment."""
    section: str = ""
    has_number: bool = True
    """EXT-X-DISCONTINUITY-SEQUENCE is written."""
    out: list[Segment] = field(default_factory=list)
    key: str = CLEAR
    target: int = 6
    made: int = 0

    def grow(self, count: int, *, breaks: int = 0) -> None:
        for _ in range(count):
            name = f"{self.name}{self.made}.ts"
            number = self.start + len(self.out)
            self.out.append(Segment(name, number, self.key, self.section, breaks, self.target))
            self.made += 1
            breaks = 0

    def forget(self, start: int) -> None:
        """Number what comes from ``start`` on; what was is not listed any more."""
        self.out, self.start = [], start

    def text(self, *, back: int = 0, is_ended: bool = False) -> bytes:
        """The playlist as it was ``back`` segments ago."""
        end = len(self.out) - back
        first = max(0, end - self.window)
        passed = sum(segment.breaks for segment in self.out[:first])
        lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{self.target}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{self.start + first}")
        if self.has_number:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{passed}")
        key, section = CLEAR, ""
        for segment in self.out[first:end]:
            lines += [BREAK] * segment.breaks
            if segment.key != key:
                uri = f'METHOD=AES-128,URI="{segment.key}"' if segment.key else "METHOD=NONE"
                lines.append(f"#EXT-X-KEY:{uri}")
            if segment.section != section:
                lines.append(f'#EXT-X-MAP:URI="{segment.section}"')
            key, section = segment.key, segment.section
            lines += [f"#EXTINF:{segment.target},", segment.name]
        return "\n".join([*lines, *["#EXT-X-ENDLIST"] * is_ended, ""]).encode()


def url(reference: Reference) -> str:
    return f"{reference.source}/{reference.uri}"


@dataclass(frozen=True)
class Seen:
    """A segment as a viewer finds it; read without the code under test."""

    uri: str
    breaks: int
    key: str
    """Attributes of the one in force."""
    section: str


def viewed(text: str) -> tuple[dict[str, int], list[Seen]]:
    """Integers of the header, and the segments."""
    numbers: dict[str, int] = {}
    segments: list[Seen] = []
    key, section, breaks = "", "", 0
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.isdecimal() and name != "#EXTINF":
            assert name not in numbers
            numbers[name] = int(value)
        elif line == BREAK:
            breaks += 1
        elif name == "#EXT-X-KEY":
            key = "" if value == "METHOD=NONE" else value
        elif name == "#EXT-X-MAP":
            section = value
        elif line and not line.startswith("#"):
            segments.append(Seen(line, breaks, key, section))
            breaks = 0
    return numbers, segments


class Viewer:
    """Checks each revision against all it has seen."""

    def __init__(self) -> None:
        self.number_of: dict[str, int] = {}
        self.uri_of: dict[int, str] = {}
        self.breaks_of: dict[int, int] = {}
        self.first = self.target = self.newest = -1

    def take(self, result: Playlist) -> list[Seen]:
        numbers, segments = viewed(result.render(url))
        first = numbers["#EXT-X-MEDIA-SEQUENCE"]
        assert first == result.media_sequence
        assert first >= self.first
        assert numbers["#EXT-X-TARGETDURATION"] >= self.target
        self.first, self.target = first, numbers["#EXT-X-TARGETDURATION"]
        uris = [segment.uri for segment in segments]
        assert len(set(uris)) == len(uris)
        for number, segment in enumerate(segments, first):
            assert self.number_of.setdefault(segment.uri, number) == number
            assert self.uri_of.setdefault(number, segment.uri) == segment.uri
            self.breaks_of.setdefault(number, segment.breaks)
            assert self.breaks_of[number] == segment.breaks
        assert first + len(segments) - 1 >= self.newest
        self.newest = max(self.newest, first + len(segments) - 1)
        return segments


ACTIONS = ("slide", "slide", "slide", "jump", "restart", "switch", "return", "stale", "empty", "key", "break")


@dataclass
class Schedule:
    """A splice, its sources and the one in use."""

    draw: st.DrawFn
    splice: Splice = field(default_factory=Splice)
    origins: list[Origin] = field(default_factory=list)
    current: int = 0
    seams: int = 0
    resets: int = 0

    def origin(self) -> Origin:
        return self.origins[self.current]

    def add(self) -> None:
        section = self.draw(st.sampled_from(["", "", "i.mp4"]))
        window = self.draw(st.integers(1, 8))
        name = "abcdefghijklmnopqrstuvwxyz"[len(self.origins)]
        start = self.draw(st.sampled_from([0, 3, 1000]))
        origin = Origin(name, window, start, section, has_number=self.draw(st.booleans()))
        origin.target = self.draw(st.sampled_from([4, 6, 9]))
        origin.key = self.draw(st.sampled_from([CLEAR, f"{name}.key", "same.key"]))
        origin.grow(self.draw(st.integers(1, 9)))
        self.current = len(self.origins)
        self.origins.append(origin)

    def step(self) -> Playlist:
        """One revision; counts the resets and the seams that there should be."""
        action = self.draw(st.sampled_from(ACTIONS))
        resets = self.resets
        origin, is_new_source, back = self.origin(), False, 0
        match action:
            case "jump":
                origin.forget(origin.start + len(origin.out) + self.draw(st.integers(1, 50)))
                origin.grow(self.draw(st.integers(1, 5)))
                self.resets += 1
            case "restart" if origin.start + len(origin.out) > 9:
                origin.forget(0)
                origin.grow(self.draw(st.integers(1, 5)))
                self.resets += 1
            case "switch" if len(self.origins) < 20:
                self.add()
                origin, is_new_source = self.origin(), True
                self.seams += 1
            case "return" if self.current:
                self.current = self.draw(st.integers(0, self.current - 1))
                origin, is_new_source = self.origin(), True
                origin.grow(max(1, origin.window))
                self.seams += 1
            case "stale":
                back = min(2, len(origin.out) - 1, origin.window - 1)
            case "empty":
                text = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{origin.start}\n"
                return self.splice.follow(parse(text.encode()))
            case "key":
                origin.key = self.draw(st.sampled_from([CLEAR, "k1", "k2"]))
                origin.grow(1)
            case "break":
                origin.grow(1, breaks=1)
            case _:
                origin.grow(self.draw(st.integers(0, min(2, origin.window))))
        self.seams += self.resets - resets
        playlist = parse(origin.text(back=back, is_ended=self.draw(st.booleans())))
        return self.splice.follow(playlist, is_new_source=is_new_source)


@dataclass(frozen=True)
class Revision:
    """What a splice gave, and what it should have counted by then."""

    result: Playlist
    seams: int
    resets: int
    splice: tuple[int, int]
    """What it counted: sources, resets."""
    script: dict[str, Segment]
    """All segments that are out."""
    has_number: bool
    """The first source says EXT-X-DISCONTINUITY-SEQUENCE."""


@st.composite
def histories(draw: st.DrawFn) -> list[Revision]:
    """Some revisions, the first one as it came."""
    schedule = Schedule(draw)
    schedule.add()
    script: dict[str, Segment] = {}
    history: list[Revision] = []
    result = schedule.splice.follow(parse(schedule.origin().text()))
    for _ in range(draw(st.integers(1, 25))):
        script.update((segment.name, segment) for origin in schedule.origins for segment in origin.out)
        counted = schedule.splice.source, schedule.splice.resets
        has_number = schedule.origins[0].has_number
        history.append(Revision(result, schedule.seams, schedule.resets, counted, script, has_number))
        result = schedule.step()
    return history


@many
@given(history=histories())
def test_numbers_are_kept_for_life(history: list[Revision]) -> None:
    viewer = Viewer()
    for revision in history:
        assert viewer.take(revision.result)
        assert not revision.result.is_ended
        assert revision.splice == (revision.seams, revision.resets)


@many
@given(history=histories())
def test_each_seam_has_one_discontinuity_and_the_others_stay(history: list[Revision]) -> None:
    viewer = Viewer()
    sources: set[int] = set()
    begun: set[int] = {0}
    for revision in history:
        segments = viewer.take(revision.result)
        for place, segment in enumerate(segments):
            source, name = segment.uri.split("/")
            sources.add(int(source))
            is_first = int(source) not in begun or (
                place > 0 and segments[place - 1].uri.split("/")[0] != source
            )
            if is_first:
                assert segment.breaks == 1
                begun.add(int(source))
            elif place:
                assert segment.breaks == revision.script[name].breaks
    assert sources == set(range(history[-1].seams + 1))


@many
@given(history=histories())
def test_discontinuities_that_left_are_counted(history: list[Revision]) -> None:
    viewer = Viewer()
    first, counted = 0, 0
    for place, revision in enumerate(history):
        viewer.take(revision.result)
        said = viewed(revision.result.render(url))[0].get("#EXT-X-DISCONTINUITY-SEQUENCE", 0)
        is_told = revision.has_number or (place and history[place - 1].seams > 0)
        if place and is_told:
            counted += sum(viewer.breaks_of[number] for number in range(first, viewer.first))
            assert said == counted
        first, counted = viewer.first, said


@many
@given(history=histories())
def test_each_segment_has_the_key_the_iv_and_the_map_of_its_source(history: list[Revision]) -> None:
    for revision in history:
        _, segments = viewed(revision.result.render(url))
        for number, segment in enumerate(segments, revision.result.media_sequence):
            source, name = segment.uri.split("/")
            scripted = revision.script[name]
            assert segment.section == (f'URI="{source}/{scripted.section}"' if scripted.section else "")
            uri = f'METHOD=AES-128,URI="{source}/{scripted.key}"' if scripted.key else ""
            assert segment.key.endswith(uri) if uri else not segment.key
            if uri:
                iv = segment.key.removesuffix(uri).removesuffix(",").removeprefix("IV=")
                assert (int(iv, 16) if iv else number) == scripted.number


@many
@given(history=histories())
def test_the_result_reads_back_as_what_it_says(history: list[Revision]) -> None:
    for result in (revision.result for revision in history):
        again = parse(result.render(url).encode())
        assert again.render(lambda reference: reference.uri) == result.render(url)
        assert [(r.role, r.uri, r.byte_range) for r in again.references] == [
            (r.role, url(r), r.byte_range) for r in result.references
        ]
        for name in ("media_sequence", "target_duration", "is_ended", "has_keys", "has_map", "length"):
            assert getattr(again, name) == getattr(result, name), name
        assert [(s.before, s.kind, s.scope) for s in again.slots] == [
            (s.before, s.kind, s.scope) for s in result.slots
        ]
        assert again.trailer == result.trailer


@st.composite
def mirrored(draw: st.DrawFn) -> tuple[int, list[Playlist]]:
    """Results over mirrors of one stream that lag a little behind each other, the second with numbers that
    differ from those of the first by the integer.
    """
    shift = draw(st.sampled_from([0, 0, 7, -3]))
    splice, results, edge, current = Splice(), [], 12, 0
    for _ in range(draw(st.integers(2, 25))):
        chosen = draw(st.sampled_from([0, 0, 1]))
        edge += draw(st.integers(0, 2))
        origin = Origin("a", 6, 10 + shift * chosen)
        origin.grow(edge)
        playlist = parse(origin.text(back=draw(st.integers(0, 2))))
        results.append(splice.follow(playlist, is_new_source=chosen != current))
        current = chosen
    return shift, results


@many
@given(case=mirrored())
def test_mirrors_of_one_stream_replay_and_leave_out_nothing(case: tuple[int, list[Playlist]]) -> None:
    shift, results = case
    viewer = Viewer()
    for result in results:
        for segment in viewer.take(result):
            assert shift or not segment.breaks
    listed = [viewer.uri_of[number].split("/")[1] for number in sorted(viewer.uri_of)]
    start = int(listed[0].removeprefix("a").removesuffix(".ts"))
    assert listed == [f"a{number}.ts" for number in range(start, start + len(listed))]
