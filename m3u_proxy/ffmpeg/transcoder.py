"""Makes the FFmpeg side of a transcoded stream from its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from m3u_proxy.errors import Unavailable
from m3u_proxy.ffmpeg.binary import Binaries, FFmpeg
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.command.render import Rendered, hls_argv, pipe_argv, render, uses_hardware
from m3u_proxy.ffmpeg.command.shape import HlsOptions
from m3u_proxy.ffmpeg.ear import Ear
from m3u_proxy.ffmpeg.hls.writer import HlsOutput, HlsWriter
from m3u_proxy.ffmpeg.pipe import PipeSource
from m3u_proxy.ffmpeg.process.run import Feed, Kit
from m3u_proxy.model import Naming, SilenceCheck, Stream
from m3u_proxy.storage.directories import claim

STALL_SEGMENTS = 3


@dataclass(frozen=True)
class Transcoder:
    """What all transcodes have in common. ``admit`` refuses a start while the disk is too full."""

    binaries: Binaries
    kit: Kit
    shapes: Mapping[Naming, HlsOptions]
    """Of HLS output, by how its segments are called."""
    stall: float
    """Least seconds without output, in spite of input, after which an FFmpeg has failed."""
    root: Path
    """HLS_TEMP_DIR."""
    instance: str
    admit: Callable[[], None]

    def check(self) -> FFmpeg:
        """The binary; raises ``Unavailable`` when there is none."""
        if self.binaries.ffmpeg is None:
            raise Unavailable("ffmpeg unavailable", reason="ffmpeg_missing", retry_after=60.0)
        return self.binaries.ffmpeg

    def _kit_for(self, rendered: Rendered) -> Kit:
        """Without a limit of memory for the driver of a card."""
        if not uses_hardware(rendered):
            return self.kit
        return replace(self.kit, confinement=replace(self.kit.confinement, address_space=None))

    def writer(self, stream: Stream, feed: Feed) -> HlsWriter:
        """The writer of a stream with HLS output."""
        assert stream.transcode is not None
        rendered = _render(stream)
        options = self.shapes[stream.transcode.naming].of(rendered)
        ffmpeg = self.check()
        output = HlsOutput(
            argv=lambda fd, source, first: hls_argv(
                ffmpeg.path,
                rendered,
                options,
                source=source,
                progress_fd=fd,
                version=ffmpeg.version_info,
                adts=feed.has_adts,
                first=first,
            ),
            segment_duration=options.segment_duration,
            window=options.window,
            keep_extra=options.keep_extra,
            stall=max(STALL_SEGMENTS * options.segment_duration, self.stall),
            naming=options.naming,
            linger=options.linger,
        )
        return HlsWriter(
            stream.key,
            output,
            feed=feed,
            kit=self._kit_for(rendered),
            claim=partial(claim, self.root, stream.id, instance=self.instance, kind="hls"),
            admit=self.admit,
        )

    def pipe(self, stream: Stream, feed: Feed) -> Callable[[], PipeSource]:
        """Opens the source behind the relay of a stream with piped output."""
        ffmpeg, rendered = self.check(), _render(stream)

        def argv(fd: int, source: Input) -> list[str]:
            return pipe_argv(
                ffmpeg.path,
                rendered,
                source=source,
                progress_fd=fd,
                version=ffmpeg.version_info,
                adts=feed.has_adts,
            )

        def open_source() -> PipeSource:
            return PipeSource(
                argv,
                feed=feed,
                kit=self._kit_for(rendered),
                kind=stream.kind,
                stream=stream.key.digest,
                stall=self.stall,
            )

        return open_source

    def ear(self, feed: Feed, check: SilenceCheck, stream: str) -> Ear:
        """Listens to a source for silence; raises ``Unavailable`` when there is no FFmpeg."""
        return Ear(self.check().path, self.kit, feed, check, stream)


def _render(stream: Stream) -> Rendered:
    """The template once more, as it was rendered when the stream was made."""
    transcode = stream.transcode
    assert transcode is not None
    return render(
        transcode.template,
        transcode.variables,
        input_url=stream.origin.url,
        output_format=transcode.output_format,
    )
