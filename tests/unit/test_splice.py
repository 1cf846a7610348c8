"""What viewers see of a live playlist while the sources behind it restart, jump and replace each other."""

from __future__ import annotations

import time
from collections.abc import Iterable

from m3u_proxy.media.hls.splice import Splice
from m3u_proxy.media.playlist import Playlist, Reference, Role, parse

BREAK = "#EXT-X-DISCONTINUITY"


def live(
    sequence: int,
    names: Iterable[str],
    *,
    target: int = 6,
    head: Iterable[str] = (),
    foot: Iterable[str] = (),
) -> Playlist:
    """A media playlist; a name may have lines of its own ahead: ``#TAG|#TAG|name``."""
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{sequence}", *head]
    for name in names:
        *tags, uri = name.split("|")
        lines += [*tags, "#EXTINF:6,", uri]
    return parse("\n".join([*lines, *foot, ""]).encode())


def run(name: str, start: int, stop: int) -> list[str]:
    return [f"{name}{number}.ts" for number in range(start, stop)]


def url(reference: Reference) -> str:
    return f"{reference.source}/{reference.uri}"


def text(playlist: Playlist) -> list[str]:
    return playlist.render(url).splitlines()


def body(playlist: Playlist) -> list[str]:
    """The lines behind the header, without durations."""
    lines = [line for line in text(playlist) if not line.startswith("#EXTINF")]
    header = ("#EXTM3U", "#EXT-X-TARGET", "#EXT-X-MEDIA-SEQ", "#EXT-X-DISCONTINUITY-S", "#EXT-X-VERSION")
    return [line for line in lines if not line.startswith(header)]


def names(source: int, items: Iterable[str]) -> list[str]:
    return [f"{source}/{item}" for item in items]


def test_while_nothing_happens_the_playlist_is_the_same_object() -> None:
    splice = Splice()
    for first in (7, 7, 8, 10, 16):
        playlist = live(first, run("a", first, first + 6))
        assert splice.follow(playlist) is playlist
    assert splice.resets == splice.source == 0


def test_another_source_goes_on_behind_one_discontinuity() -> None:
    splice = Splice()
    splice.follow(live(100, run("a", 0, 6)))
    seam = splice.follow(live(7, run("b", 0, 6)), is_new_source=True)
    assert seam.media_sequence == 103
    assert body(seam) == [*names(0, run("a", 3, 6)), BREAK, *names(1, run("b", 0, 6))]
    assert seam.segments()[0] == Reference(Role.SEGMENT, "a3.ts")
    assert splice.resets == 0
    assert splice.source == 1


def test_old_segments_leave_one_for_one_and_the_offset_stays() -> None:
    splice = Splice()
    splice.follow(live(100, run("a", 0, 6)))
    splice.follow(live(0, run("b", 0, 1)), is_new_source=True)
    results = [splice.follow(live(max(0, end - 6), run("b", max(0, end - 6), end))) for end in range(2, 9)]
    firsts = [(result.media_sequence, result.length) for result in results]
    assert firsts == [(102 + step, 6) for step in range(7)]
    assert [body(result).count(BREAK) for result in results] == [1, 1, 1, 1, 1, 0, 0]
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1" in text(results[-1])
    assert body(results[-1]) == names(1, run("b", 2, 8))


def test_when_the_old_segments_are_gone_the_window_is_the_source_s_own() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6)))
    results = [splice.follow(live(0, run("b", 0, 6)), is_new_source=True)]
    results += [splice.follow(live(n, run("b", n, n + 6))) for n in range(1, 5)]
    assert [(result.media_sequence, result.length) for result in results] == [
        (3, 9),
        (4, 9),
        (5, 9),
        (9, 6),
        (10, 6),
    ]


def test_a_restart_is_a_seam_without_being_told() -> None:
    splice = Splice()
    splice.follow(live(100, run("a", 100, 106)))
    result = splice.follow(live(0, run("a", 0, 2)))
    assert splice.resets == 1
    assert result.media_sequence == 102
    assert body(result) == [*names(0, run("a", 102, 106)), BREAK, *names(1, run("a", 0, 2))]


def test_a_restart_with_the_numbers_of_a_young_stream_is_noticed() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6)))
    result = splice.follow(live(0, run("x", 0, 2)))
    assert splice.resets == 1
    assert body(result) == [*names(0, run("a", 2, 6)), BREAK, *names(1, run("x", 0, 2))]


def test_a_jump_beyond_the_window_is_a_seam() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6)))
    result = splice.follow(live(50, run("a", 50, 56)))
    assert splice.resets == 1
    assert result.media_sequence == 3
    assert body(result) == [*names(0, run("a", 3, 6)), BREAK, *names(1, run("a", 50, 56))]


def test_a_stale_revision_changes_nothing() -> None:
    splice = Splice()
    newest = splice.follow(live(5, run("a", 5, 11)))
    assert splice.follow(live(4, [f"{name}?token=2" for name in run("a", 4, 10)])) is newest
    assert splice.follow(live(5, run("a", 5, 9))) is newest
    assert splice.follow(live(11, [])) is newest
    assert splice.follow(live(0, [])) is newest
    following = live(6, run("a", 6, 12))
    assert splice.follow(following) is following
    assert splice.resets == 0


def test_a_window_that_grows_at_the_front_is_cut() -> None:
    splice = Splice()
    splice.follow(live(5, [f"{BREAK}|a5.ts", "a6.ts"], head=["#EXT-X-DISCONTINUITY-SEQUENCE:4"]))
    grown = ["a3.ts", f"{BREAK}|a4.ts", f"{BREAK}|a5.ts", "a6.ts", "a7.ts"]
    result = splice.follow(live(3, grown, head=["#EXT-X-DISCONTINUITY-SEQUENCE:3"]))
    assert body(result) == [BREAK, *names(0, run("a", 5, 8))]
    assert "#EXT-X-MEDIA-SEQUENCE:5" in text(result)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:4" in text(result)


def test_a_discontinuity_of_the_new_source_is_not_doubled() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 3)))
    result = splice.follow(live(9, [f"{BREAK}|b0.ts", f"{BREAK}|b1.ts"]), is_new_source=True)
    assert body(result) == [*names(0, run("a", 0, 3)), BREAK, "1/b0.ts", BREAK, "1/b1.ts"]


def test_a_backup_with_the_same_files_and_numbers_goes_on_without_a_seam() -> None:
    splice = Splice()
    splice.follow(live(10, run("a", 10, 16)))
    result = splice.follow(live(12, run("a", 12, 18)), is_new_source=True)
    assert body(result) == [*names(0, run("a", 12, 16)), *names(1, run("a", 16, 18))]
    assert result.media_sequence == 12
    later = splice.follow(live(16, run("a", 16, 22)))
    assert body(later) == names(1, run("a", 16, 22))
    assert later.media_sequence == 16


def test_a_backup_with_the_same_files_and_other_numbers_goes_on_behind_a_seam() -> None:
    splice = Splice()
    splice.follow(live(10, run("a", 10, 16)))
    result = splice.follow(live(500, run("a", 13, 17)), is_new_source=True)
    assert body(result) == [*names(0, run("a", 11, 16)), BREAK, "1/a16.ts"]


def test_a_backup_that_lags_adds_nothing_until_it_has_caught_up() -> None:
    splice = Splice()
    newest = splice.follow(live(10, run("a", 10, 16)))
    assert splice.follow(live(8, run("a", 8, 14)), is_new_source=True) is newest
    assert splice.follow(live(9, run("a", 9, 16))) is newest
    assert body(splice.follow(live(11, run("a", 11, 17))))[-2:] == ["0/a15.ts", "1/a16.ts"]


def test_a_primary_that_comes_back_frozen_replays_nothing() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6)))
    splice.follow(live(0, run("b", 0, 6)), is_new_source=True)
    for first in range(1, 12):
        last = splice.follow(live(first, run("b", first, first + 6)))
    assert splice.follow(live(0, run("a", 0, 6)), is_new_source=True) is last
    result = splice.follow(live(1, run("a", 1, 7)))
    assert body(result) == [*names(1, run("b", 12, 17)), BREAK, "2/a6.ts"]
    assert result.media_sequence == 18


def test_the_target_duration_and_the_version_never_fall() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6), target=10, head=["#EXT-X-VERSION:6"]))
    results = [splice.follow(live(0, run("b", 0, 6), head=["#EXT-X-VERSION:3"]), is_new_source=True)]
    results += [splice.follow(live(n, run("b", n, n + 6), target=4)) for n in range(1, 12)]
    for result in results:
        assert text(result)[1:3] == ["#EXT-X-VERSION:6", "#EXT-X-TARGETDURATION:10"]
        assert result.target_duration == 10
    assert text(splice.follow(live(12, run("b", 12, 18), target=12)))[2] == "#EXT-X-TARGETDURATION:12"


def test_a_target_that_shrinks_without_a_seam_is_kept_as_well() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6), target=10))
    shrunk = splice.follow(live(1, run("a", 1, 7), target=6))
    assert "#EXT-X-TARGETDURATION:10" in text(shrunk)
    assert body(shrunk) == names(0, run("a", 1, 7))


KEY = '#EXT-X-KEY:METHOD=AES-128,URI="{}.key",IV=0x1'


def written_key(source: int, name: str) -> str:
    return f'#EXT-X-KEY:METHOD=AES-128,URI="{source}/{name}.key",IV=0x1'


def test_each_part_keeps_its_keys() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 6), head=[KEY.format("old")]))
    result = splice.follow(live(0, run("b", 0, 6), head=[KEY.format("new")]), is_new_source=True)
    old = [written_key(0, "old"), *names(0, run("a", 3, 6))]
    assert body(result) == [*old, BREAK, written_key(1, "new"), *names(1, run("b", 0, 6))]
    assert result.has_keys


def test_behind_an_encrypted_source_a_clear_one_says_so() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 3), head=[KEY.format("old")]))
    result = splice.follow(
        live(0, ["#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z|b0.ts"]), is_new_source=True
    )
    seam = [BREAK, "#EXT-X-KEY:METHOD=NONE", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z", "1/b0.ts"]
    assert body(result)[-4:] == seam


def test_a_key_system_that_the_new_source_does_not_use_ends() -> None:
    other = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"'
    splice = Splice()
    splice.follow(live(0, run("a", 0, 3), head=[KEY.format("old"), other]))
    result = splice.follow(live(0, ["b0.ts"], head=[KEY.format("new")]), is_new_source=True)
    assert body(result)[-4:] == [BREAK, "#EXT-X-KEY:METHOD=NONE", written_key(1, "new"), "1/b0.ts"]


def test_a_key_without_iv_gets_the_number_of_its_source() -> None:
    key = '#EXT-X-KEY:METHOD=AES-128,URI="k"'
    splice = Splice()
    splice.follow(live(100, run("a", 0, 3), head=[key]))
    result = splice.follow(live(7, run("b", 7, 9), head=[key]), is_new_source=True)

    def numbered(number: int) -> str:
        return f'#EXT-X-KEY:IV=0x{number:032X},METHOD=AES-128,URI="1/k"'

    old = ['#EXT-X-KEY:METHOD=AES-128,URI="0/k"', *names(0, run("a", 0, 3))]
    assert body(result) == [*old, BREAK, numbered(7), "1/b7.ts", numbered(8), "1/b8.ts"]
    assert text(result)[1] == "#EXT-X-VERSION:2"


def test_maps_change_at_the_seam() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 3), head=['#EXT-X-MAP:URI="i.mp4"']))
    result = splice.follow(live(0, run("b", 0, 1), head=['#EXT-X-MAP:URI="i.mp4"']), is_new_source=True)
    old = ['#EXT-X-MAP:URI="0/i.mp4"', *names(0, run("a", 0, 3))]
    assert body(result) == [*old, BREAK, '#EXT-X-MAP:URI="1/i.mp4"', "1/b0.ts"]


def test_between_map_and_no_map_the_old_segments_are_dropped() -> None:
    for before, after in ((['#EXT-X-MAP:URI="i.mp4"'], []), ([], ['#EXT-X-MAP:URI="i.mp4"'])):
        splice = Splice()
        splice.follow(live(5, run("a", 0, 3), head=before))
        result = splice.follow(live(0, run("b", 0, 2), head=after), is_new_source=True)
        assert result.media_sequence == 8
        assert body(result)[0] == BREAK
        assert [segment.source for segment in result.segments()] == [1, 1]
        later = splice.follow(live(1, run("b", 1, 3), head=after))
        assert BREAK not in body(later)
        assert "#EXT-X-DISCONTINUITY-SEQUENCE:1" in text(later)


def test_the_end_is_passed_on_only_if_it_is_meant() -> None:
    splice = Splice()
    ended = live(0, run("a", 0, 3), foot=["#EXT-X-ENDLIST"])
    kept_open = splice.follow(ended)
    assert not kept_open.is_ended
    assert "#EXT-X-ENDLIST" not in text(kept_open)
    assert splice.follow(ended, is_final=True) is ended
    seam = splice.follow(live(0, run("b", 0, 1)), is_new_source=True, is_final=True)
    assert not seam.is_ended
    final = splice.follow(live(0, run("b", 0, 2), foot=["#EXT-X-ENDLIST"]), is_final=True)
    assert final.is_ended
    assert text(final)[-1] == "#EXT-X-ENDLIST"
    stale = live(0, run("b", 0, 1))
    assert not splice.follow(stale).is_ended


def test_a_spliced_playlist_has_no_type() -> None:
    splice = Splice()
    event = live(0, run("a", 0, 3), head=["#EXT-X-PLAYLIST-TYPE:EVENT"])
    assert splice.follow(event) is event
    vod = live(0, run("b", 0, 3), head=["#EXT-X-PLAYLIST-TYPE:VOD"])
    result = splice.follow(vod, is_new_source=True)
    assert not any(line.startswith("#EXT-X-PLAYLIST-TYPE") for line in text(result))
    assert not result.is_ended


LOW_LATENCY = ('#EXT-X-PART:DURATION=1,URI="p"', '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="h"')


def test_low_latency_tags_are_those_of_the_new_source_alone() -> None:
    report = '#EXT-X-RENDITION-REPORT:URI="r.m3u8"'
    splice = Splice()
    splice.follow(live(0, ["a0.ts", f"{LOW_LATENCY[0]}|a1.ts"], foot=[*LOW_LATENCY, report]))
    new = live(0, ["b0.ts", f"{LOW_LATENCY[0]}|b1.ts"], foot=[*LOW_LATENCY, report])
    result = splice.follow(new, is_new_source=True)
    part, hint = '#EXT-X-PART:DURATION=1,URI="1/p"', '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="1/h"'
    foot = [part, hint, '#EXT-X-RENDITION-REPORT:URI="1/r.m3u8"']
    assert body(result) == ["0/a0.ts", "0/a1.ts", BREAK, "1/b0.ts", part, "1/b1.ts", *foot]


def test_independent_segments_are_promised_only_if_all_sources_do() -> None:
    promise = ["#EXT-X-INDEPENDENT-SEGMENTS"]
    splice = Splice()
    splice.follow(live(0, run("a", 0, 3)))
    seam = splice.follow(live(0, run("b", 0, 3), head=promise), is_new_source=True)
    assert promise[0] not in text(seam)
    assert promise[0] in text(splice.follow(live(3, run("b", 3, 6), head=promise)))


def test_a_new_source_without_segments_waits_for_its_first() -> None:
    splice = Splice()
    old = splice.follow(live(0, run("a", 0, 3)))
    assert splice.follow(live(0, []), is_new_source=True) is old
    assert body(splice.follow(live(0, ["b0.ts"])))[-2:] == [BREAK, "1/b0.ts"]


def test_two_seams_in_one_window() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 4)))
    splice.follow(live(0, run("b", 0, 1)), is_new_source=True)
    result = splice.follow(live(0, run("c", 0, 1)), is_new_source=True)
    assert body(result) == [*names(0, run("a", 2, 4)), BREAK, "1/b0.ts", BREAK, "2/c0.ts"]
    assert result.media_sequence == 2


def test_lines_with_carriage_returns_and_a_last_line_without_end() -> None:
    splice = Splice()
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:6", "#EXTINF:6,", "a0.ts", "#EXTINF:6,", "a1.ts"]
    splice.follow(parse("\r\n".join(lines).encode()))
    result = splice.follow(live(0, ["b0.ts"]), is_new_source=True)
    assert body(result) == ["0/a0.ts", "0/a1.ts", BREAK, "1/b0.ts"]
    assert body(parse(result.render(url).encode())) == [*names(0, body(result)[:2]), BREAK, "0/1/b0.ts"]


def test_a_thousand_segments_are_spliced_within_three_milliseconds() -> None:
    splice = Splice()
    splice.follow(live(0, run("a", 0, 1000)))
    splice.follow(live(0, run("b", 0, 500)), is_new_source=True)
    taken = []
    for end in range(501, 521):
        playlist = live(0, run("b", 0, end))
        start = time.thread_time()
        result = splice.follow(playlist)
        taken.append(time.thread_time() - start)
        assert result.length == 1000
    assert min(taken) < 0.003
