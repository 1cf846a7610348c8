"""The house rules that a machine can check: imports, style, types, sizes, and what the papers say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "m3u_proxy"
FILE_LIMITS = {"m3u_proxy": 350, "benchmarks": 350, "tests": 600}
FUNCTION_LIMIT = 60
TOOLS = Path(sys.executable).parent

pytestmark = [pytest.mark.timeout(180), pytest.mark.may_block]  # mypy starts cold in a clean checkout


@pytest.fixture(scope="module")
def project() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["lint-imports", "--no-cache"], id="imports"),
        pytest.param(["ruff", "check", "--no-cache", "--output-format=concise"], id="ruff-check"),
        pytest.param(["ruff", "format", "--check", "--no-cache"], id="ruff-format"),
        pytest.param(["mypy"], id="mypy"),
    ],
)
def test_tools_have_nothing_to_say(command: list[str]) -> None:
    tool, *arguments = command
    done = subprocess.run([TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{tool}:\n{done.stdout}{done.stderr}"


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    lengths = {_name(path): len(path.read_text().splitlines()) for path in _sources()}
    assert lengths, "no sources found"
    over = {name: length for name, length in lengths.items() if length > FILE_LIMITS[name.split("/")[0]]}
    assert over == {}


def test_no_function_is_longer_than_a_screen() -> None:
    found = {
        where: lines for path in _sources() for where, lines in _functions(path) if lines > FUNCTION_LIMIT
    }
    assert found == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [_name(path) for path in _modules() if not ast.get_docstring(_tree(path))]
    assert silent == []


def test_modules_that_call_themselves_pure_are_held_to_it(project: dict[str, dict[str, object]]) -> None:
    contracts = project["tool"]["importlinter"]["contracts"]  # type: ignore[index]
    (pure,) = [contract for contract in contracts if contract["id"] == "pure"]
    claimed = {
        _module(path) for path in _modules() if re.search(r"\bPure\b", ast.get_docstring(_tree(path)) or "")
    }
    assert claimed, "no module calls itself pure"
    held = tuple(pure["source_modules"])
    loose = {name for name in claimed if not any(f"{name}.".startswith(f"{room}.") for room in held)}
    assert loose == set()


def test_the_map_names_every_module_and_no_other() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    named: dict[str, set[str]] = {}
    for room, row in re.findall(r"^\| `m3u_proxy/([a-z/]*)` \| (.*) \|$", text, re.MULTILINE):
        named[room] = set(re.findall(r"`([a-z_]+\.py)`", row))
    real: dict[str, set[str]] = {}
    for path in _modules():
        if path.name != "__init__.py":
            room = path.parent.relative_to(PACKAGE).as_posix()
            real.setdefault("" if room == "." else f"{room}/", set()).add(path.name)
    assert named == real


def test_the_map_leads_to_modules_that_are_there() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text)
    assert "pool/audience.py" in named
    assert [
        path for path in named if not ((PACKAGE / path).exists() or (ROOT / "tests" / path).exists())
    ] == []


def test_requirements_txt_is_what_the_project_depends_on(project: dict[str, dict[str, object]]) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == project["project"]["dependencies"]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_pin_and_hash_everything_and_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^([a-z0-9-]+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    packages = re.findall(r"^[a-z0-9]\S*", text, re.MULTILINE | re.IGNORECASE)
    assert pins
    assert len(pins) == len(packages)
    assert not re.search(r"://|--index-url|--find-links|--trusted-host", text)


def test_lock_files_hold_what_the_project_asks_for(project: dict[str, dict[str, object]]) -> None:
    runtime = _names(project["project"]["dependencies"])
    runtime |= _names(project["project"]["optional-dependencies"]["ffmpeg"])  # type: ignore[index]
    locked = _locked("requirements.lock")
    both = _locked("requirements-dev.lock")
    assert runtime <= locked.keys()
    assert runtime | _names(project["dependency-groups"]["dev"]) <= both.keys()
    assert {name: both.get(name) for name in locked} == locked


def _locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def _names(requirements: object) -> set[str]:
    assert isinstance(requirements, list)
    return {re.split(r"[<>=!~;\[ ]", requirement)[0].lower() for requirement in requirements}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _sources() -> list[Path]:
    """All Python of the project: the package, its tests, its benchmarks."""
    return [path for folder in map(ROOT.joinpath, FILE_LIMITS) for path in folder.rglob("*.py")]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: Path) -> str:
    return _name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    """Where each function is, and its lines from ``def`` on."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            yield f"{_name(path)}:{node.lineno} {node.name}", last - node.lineno + 1


def test_test_modules_have_names_of_their_own() -> None:
    """Folders of tests are no packages: of two modules with one name only one would run."""
    names = [path.name for path in (ROOT / "tests").glob("*/test_*.py")]
    assert sorted(set(names)) == sorted(names)
