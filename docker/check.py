#!/usr/bin/env python3
"""Carry out docker/Dockerfile without a container engine, step by step, in plain Debian roots.

    sudo docker/check.py /var/tmp/check        # some minutes, 3 GB; needs debootstrap and util-linux
    docker/check.py --wheels /var/tmp/wheels   # needs pip

Every ``RUN`` is executed as it stands, in a root made with debootstrap. What comes out is started by its own
``ENTRYPOINT`` as its own ``USER``, asked by its own ``HEALTHCHECK``, and stopped. It ends with what that took
and with the size of the root, which is that of the image before compression.

With ``--wheels`` it fetches what the lock file pins, for every system and architecture that has an image:
each must be there as a wheel with a known hash, as no image has a compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT = Path(__file__).resolve().parent.parent
SUITE = "trixie"
"""What ``debian:trixie-slim`` is made of."""
DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
"""What a slim base leaves out, also of packages that are installed later."""
HANDED_IN = re.compile(r"PIP_INDEX_URL|PIP_TRUSTED_HOST|https?_proxy|no_proxy", re.IGNORECASE)
"""Variables of this machine without which it reaches no package."""
CERTIFICATES = "/tmp/certificates-of-this-machine.crt"
"""Where pip finds, in a root, whom this machine trusts."""
READY, ENDED = 30.0, 15.0
GLIBC, MUSL = ("manylinux2014_{}", "manylinux_2_28_{}"), ("musllinux_1_1_{}", "musllinux_1_2_{}")
IMAGES = {"Dockerfile": ("3.13", GLIBC), "Dockerfile.alpine": ("3.12", MUSL)}
"""The Python of each image, and the tags of wheels (PEP 600, PEP 656) that it takes."""
ARCHITECTURES = ("x86_64", "aarch64")


@dataclass
class Stage:
    """One ``FROM`` with what follows it."""

    root: Path
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: str = ""


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instructions and their arguments; comments are left out, continued lines are joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", lines).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word, " ".join(rest.split())


def run(stage: Stage, command: list[str]) -> None:
    """A command in the root of a stage; it must succeed."""
    subprocess.run(inside(stage, command), env=environ_of(stage), check=True)


def inside(stage: Stage, command: list[str]) -> list[str]:
    """The command line for ``command`` in the root, as its user and in its directory."""
    root = str(stage.root)
    mounts = (
        "mount -t proc proc {0}/proc; mount --rbind /dev {0}/dev; cp /etc/resolv.conf {0}/etc/resolv.conf"
    )
    enter = f'set -e; {mounts.format(shlex.quote(root))}; exec "$@"'
    uid, _, gid = stage.user.partition(":")
    chroot = ["chroot", f"--userspec={uid}:{gid or uid}", "--groups=", root]
    change = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', stage.workdir]
    return [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        enter,
        "sh",
        *chroot,
        *change,
        *command,
    ]


def environ_of(stage: Stage) -> dict[str, str]:
    """Its variables, and those of this machine that lead to packages."""
    handed_in = {name: value for name, value in os.environ.items() if HANDED_IN.fullmatch(name)}
    certificates = {"PIP_CERT": CERTIFICATES} if "PIP_CERT" in os.environ else {}
    return handed_in | certificates | stage.environ


def words(rest: str, environ: dict[str, str]) -> list[str]:
    """Words of an instruction, with ``${NAME}`` replaced."""
    return shlex.split(re.sub(r"\$\{(\w+)\}", lambda found: environ.get(found[1], ""), rest))


def base(folder: Path) -> Path:
    """A plain root of Debian, made once."""
    root = folder / SUITE
    if not (root / "etc/debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", SUITE, str(root)], check=True)
    if "PIP_CERT" in os.environ:
        shutil.copyfile(os.environ["PIP_CERT"], root / CERTIFICATES.lstrip("/"))
    return root


def build(folder: Path) -> Stage:
    """All stages; the last one."""
    stages: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    stage: Stage | None = None
    for word, rest in instructions((CONTEXT / "docker/Dockerfile").read_text(encoding="utf-8")):
        print(f"== {word} {rest}"[:160], flush=True)
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "final"
            root = folder / name
            subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)
            subprocess.run(["cp", "-a", "--reflink=auto", str(base(folder)), str(root)], check=True)
            stage = stages[name] = Stage(root)
        elif stage is None:
            name, _, value = rest.partition("=")
            arguments[name] = value
        else:
            carry_out(stage, word, rest, stages)
    assert stage is not None
    return stage


def carry_out(stage: Stage, word: str, rest: str, stages: dict[str, Stage]) -> None:
    """One instruction of a stage."""
    if word == "RUN":
        run(stage, ["/bin/sh", "-c", rest])
    elif word == "ENV":
        stage.environ |= dict(pair.split("=", 1) for pair in words(rest, stage.environ))
    elif word == "WORKDIR":
        stage.workdir = rest
        (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif word == "USER":
        stage.user = rest
    elif word == "COPY":
        copy(stage, words(rest, stage.environ), stages)
    elif word == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif word == "CMD":
        stage.command = json.loads(rest)
    elif word == "HEALTHCHECK":
        stage.health = rest.partition("CMD ")[2]
    elif word not in {"ARG", "LABEL", "EXPOSE", "STOPSIGNAL"}:
        sys.exit(f"{word} is not known here")


def copy(stage: Stage, given: list[str], stages: dict[str, Stage]) -> None:
    """``COPY``: from the context or another stage; a folder's contents, as Docker does it."""
    options = dict(word[2:].split("=", 1) for word in given if word.startswith("--"))
    *sources, target = [word for word in given if not word.startswith("--")]
    origin = stages[options["from"]].root if "from" in options else CONTEXT
    place = stage.root / os.path.join(stage.workdir, target).lstrip("/")
    for source in sources:
        path = origin / source.lstrip("/")
        end = place / path.name if target.endswith("/") else place
        if path.is_dir():
            subprocess.run(["cp", "-a", "--no-target-directory", str(path), str(end)], check=True)
        else:
            shutil.copyfile(path, end)
            end.chmod(int(options.get("chmod", "0644"), 8))


def start_and_stop(stage: Stage) -> None:
    """Start it as its user, wait until its health check passes, and stop it."""
    environ = environ_of(stage)
    began = time.monotonic()
    daemon = subprocess.Popen(inside(stage, [*stage.entrypoint, *stage.command]), env=environ)
    check = ["chroot", str(stage.root), "/bin/sh", "-c", stage.health]
    while subprocess.run(check, env=environ, capture_output=True, check=False).returncode:
        if daemon.poll() is not None or time.monotonic() - began > READY:
            sys.exit("it did not become ready")
        time.sleep(0.05)
    ready = time.monotonic() - began
    began = time.monotonic()
    init = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text(encoding="ascii").split()[0]
    os.kill(int(init), signal.SIGTERM)
    code = daemon.wait(ENDED)
    print(
        f"\nready after   {ready:.2f} s\nended after   {time.monotonic() - began:.2f} s with exit code {code}"
    )
    if code:
        sys.exit("it did not end by itself")


def tell_size(stage: Stage) -> None:
    """What is in the root, without what a slim base drops."""

    def megabytes(path: Path) -> int:
        done = subprocess.run(["du", "-smx", str(path)], check=True, capture_output=True, text=True)
        return int(done.stdout.split()[0])

    dropped = sum(megabytes(stage.root / name) for name in DROPPED)
    lists = sum(megabytes(stage.root / name) for name in ("var/lib/apt/lists", "var/cache/apt"))
    whole, ours = megabytes(stage.root) - dropped - lists, megabytes(stage.root / "opt")
    print(f"size of root  {whole} MB, of which {ours} MB are ours")


def fetch_wheels(folder: Path) -> None:
    """What each image installs, one folder for each; pip says what is missing and ends it."""
    for image, (python, tags) in IMAGES.items():
        text = (CONTEXT / "docker" / image).read_text(encoding="utf-8")
        (chosen,) = re.findall(r"RUN awk '([^']+)' requirements.lock", text)
        locked = folder / f"{image}.txt"
        with locked.open("wb") as file:
            subprocess.run(["awk", chosen, str(CONTEXT / "requirements.lock")], stdout=file, check=True)
        for architecture in ARCHITECTURES:
            target = folder / f"{image}-{architecture}"
            given = [f"--platform={tag.format(architecture)}" for tag in tags]
            given += [f"--python-version={python}", "--implementation=cp", "--only-binary=:all:", "--no-deps"]
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", *given]
            subprocess.run([*pip, "--dest", str(target), "--requirement", str(locked)], check=True)
            print(f"{image}, {architecture}: {len(list(target.glob('*.whl')))} wheels")


def main() -> None:
    """Build, start, stop, measure; or fetch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the roots are made; kept for the next time")
    parser.add_argument("--wheels", action="store_true", help="fetch the wheels of all images instead")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.wheels:
        fetch_wheels(given.folder)
        return
    stage = build(given.folder.resolve())
    start_and_stop(stage)
    start_and_stop(stage)  # the second time everything is in memory
    tell_size(stage)


if __name__ == "__main__":
    main()
