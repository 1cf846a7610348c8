"""What a child may have and do: its environment, its limits, its privileges, and that it dies with us.

A child keeps nothing of ours but the few variables it needs, holds no capability, gains none, and receives
SIGKILL from the kernel when the thread that started it ends. That is why only the main thread may start one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from m3u_proxy.errors import Unavailable

MARKER = "M3U_PROXY_INSTANCE"
"""Variable in a child's environment that names the instance it belongs to."""

KEPT = frozenset(
    {
        *("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TZDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        # Where an image's FFmpeg and its drivers find their libraries and devices.
        *("LD_LIBRARY_PATH", "XDG_RUNTIME_DIR", "VDPAU_DRIVER", "DRI_PRIME"),
    }
)
KEPT_PREFIXES = ("LC_", "LIBVA_", "NVIDIA_", "CUDA_", "MESA_", "ONEVPL_", "FONTCONFIG_")

# Between our fork and the request for the death signal we may have died already; then nobody would ever send
# it. So the child compares its parent with the pid it was told. The script is constant: argv arrives as "$@".
_PARENT_CHECK = ("/bin/sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
_SETPRIV = (
    *("setpriv", "--pdeathsig", "KILL", "--no-new-privs"),
    *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"),
)

# The same without util-linux. Python ignores SIGPIPE and SIGXFSZ and an ignored signal survives exec, so both
# are given back. From <linux/prctl.h>: PR_SET_PDEATHSIG 1, PR_CAPBSET_DROP 24, PR_SET_NO_NEW_PRIVS 38,
# PR_CAP_AMBIENT 47 with PR_CAP_AMBIENT_CLEAR_ALL 4.
_PRCTL = """
import ctypes, os, signal, sys
prctl = ctypes.CDLL(None).prctl
prctl(1, signal.SIGKILL, 0, 0, 0)
for capability in range(64):
    prctl(24, capability, 0, 0, 0)
prctl(47, 4, 0, 0, 0)
prctl(38, 1, 0, 0, 0)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

_NO_MEMORY = (b"Cannot allocate memory", b"out of memory", b"malloc of size", b"bad_alloc", b"MemoryError")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """The fence around one child."""

    marker: str
    """Our instance id, put into the child's environment as ``M3U_PROXY_INSTANCE``."""

    umask: int = 0o077
    """0o022 where the child writes into a served directory."""

    address_space: int | None = None
    """Bytes of address space. ``None`` under a hardware encoder: its driver maps more than it uses."""

    file_size: int | None = None
    """Bytes of the largest file it may write; beyond that SIGXFSZ ends it."""


def environment(source: Mapping[str, str], marker: str | None = None) -> dict[str, str]:
    """The part of ``source`` a child may see: an allow-list, so that a new secret of ours stays ours."""
    kept = {name: value for name, value in source.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    if marker is not None:
        kept[MARKER] = marker
    return kept


def wrap(argv: Sequence[str]) -> list[str]:
    """``argv`` behind the launcher; ``argv[0]`` is a path, or a name to be found in ``PATH``.

    Raises:
        Unavailable: ``ffmpeg_missing``. The launcher would notice too, but only after the start.
    """
    return [*launcher(), str(os.getpid()), _executable(argv[0]), *argv[1:]]


@cache
def launcher() -> tuple[str, ...]:
    """The command in front of every child; it expects our pid and then the child's argv.

    util-linux' ``setpriv`` (1.5 ms) where it works, our own interpreter (12 ms) where it does not: busybox
    has a setpriv without ``--pdeathsig``. The first call tries it out, which takes about 2 ms.

    Raises:
        OSError: the trial could not be started for want of processes or memory.
    """
    prefix = (*_SETPRIV, *_PARENT_CHECK)
    if _works([*prefix, str(os.getpid()), "/bin/sh", "-c", ":"]):
        return prefix
    log.info("setpriv is missing or too old, FFmpeg is started through the interpreter")
    return (sys.executable, "-I", "-S", "-c", _PRCTL)


def _works(command: Sequence[str]) -> bool:
    try:
        trial = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(os.environ),
        )
    except (FileNotFoundError, PermissionError):
        return False
    return trial.wait() == 0


def _executable(program: str) -> str:
    paths = [program] if "/" in program else [os.path.join(d, program) for d in os.get_exec_path()]
    for path in paths:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                mode = os.fstat(fd).st_mode
            finally:
                os.close(fd)
            if stat.S_ISREG(mode) and mode & 0o111:
                return path
    raise Unavailable("ffmpeg unavailable", reason="ffmpeg_missing")


def limit(pid: int, confinement: Confinement) -> None:
    """Set the limits of a child that has just started; it inherits them through its launcher's exec.

    A limit that is already lower stays. A limit that cannot be set costs a warning, not the stream.
    """
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: confinement.file_size,
        resource.RLIMIT_AS: confinement.address_space,
    }
    for kind, wanted in bounds.items():
        if wanted is None:
            continue
        try:
            _, hard = resource.prlimit(pid, kind)
            bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(pid, kind, (bound, bound))
        except ProcessLookupError:
            return
        except OSError as error:
            log.warning("limit %d of child %d could not be set: %s", kind, pid, error.strerror)


def out_of_memory(confinement: Confinement, last_words: bytes) -> bool:
    """Whether a child that failed ran into its limit, by the end of its stderr.

    Without a limit of ours the same words mean other memory, such as a graphics card's.
    """
    return confinement.address_space is not None and any(words in last_words for words in _NO_MEMORY)


def oom_kills() -> int:
    """How often the kernel has killed a process for want of memory since boot; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in _read_proc("/proc/vmstat").splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return 0


def _read_proc(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return b"".join(iter(lambda: os.read(fd, 1 << 14), b""))
    finally:
        os.close(fd)
