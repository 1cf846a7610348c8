"""Defaults as the contract has them, one clear line for what is not allowed, and no secret shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from m3u_proxy.settings import Settings, SettingsError, env_example, load, print_env

ROOT = Path(__file__).parents[2]
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/115.0.0.0 Safari/537.36"
)
STATE = Path("/nowhere/state")

# Typed from the tables of the contract, section by section; not from the program.
DEFAULTS: dict[str, Any] = {
    # Server
    "HOST": "0.0.0.0",
    "PORT": 8085,
    "ROOT_PATH": "/m3u-proxy",
    "API_TOKEN": None,
    "LOG_LEVEL": "info",
    "LOG_ANONYMIZE": True,
    "APP_DEBUG": False,
    "DOCS_URL": "/docs",
    "REDOC_URL": "/redoc",
    "OPENAPI_URL": "/openapi.json",
    "DEFAULT_USER_AGENT": AGENT,
    # Streams, time-outs, retries, failover
    "CLIENT_TIMEOUT": 12,
    "STREAM_TIMEOUT": 15,
    "SHARED_STREAM_GRACE": 3,
    "CLEANUP_INTERVAL": 30,
    "DEFAULT_CONNECTION_TIMEOUT": 5,
    "DEFAULT_READ_TIMEOUT": 10,
    "LIVE_CHUNK_TIMEOUT_SECONDS": 10,
    "VOD_CHUNK_TIMEOUT_SECONDS": 5.0,
    "VOD_PROBE_TIMEOUT": 8,
    "STREAM_RETRY_ATTEMPTS": None,
    "STREAM_RETRY_DELAY": 1.0,
    "STREAM_RETRY_EXPONENTIAL_BACKOFF": False,
    "STREAM_TOTAL_TIMEOUT": 30,
    "MAX_FAILOVER_ATTEMPTS": 0,
    "FILLER": 30,
    "USE_STICKY_SESSION": False,
    "CONNECTION_IDLE_ALERT_THRESHOLD": 600,
    "CONNECTION_IDLE_ERROR_THRESHOLD": 1800,
    "ENABLE_CONNECTION_IDLE_MONITORING": True,
    # Live checks
    "STRICT_LIVE_TS": False,
    "STRICT_LIVE_TS_PREBUFFER_SIZE": 262144,
    "STRICT_LIVE_TS_PREBUFFER_TIMEOUT": 10,
    "STRICT_LIVE_TS_CIRCUIT_BREAKER_TIMEOUT": 2,
    "STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN": 60,
    "STRICT_LIVE_TS_OVERLAP_TRIM": True,
    "STRICT_LIVE_TS_OVERLAP_SIGNATURE_SIZE": 16384,
    "STRICT_LIVE_TS_OVERLAP_MAX_SEARCH_SIZE": 8388608,
    "STRICT_LIVE_TS_OVERLAP_MAX_WAIT": 0.5,
    "ENABLE_BITRATE_MONITORING": False,
    "MIN_BITRATE_THRESHOLD": 62500,
    "BITRATE_CHECK_INTERVAL": 5,
    "BITRATE_FAILOVER_THRESHOLD": 3,
    "BITRATE_MONITORING_GRACE_PERIOD": 10,
    "SLOW_RATE_FAILOVER": False,
    "ENABLE_SILENCE_DETECTION": False,
    "SILENCE_THRESHOLD_DB": -50,
    "SILENCE_DURATION": 3,
    "SILENCE_CHECK_INTERVAL": 10,
    "SILENCE_FAILOVER_THRESHOLD": 3,
    "SILENCE_MONITORING_GRACE_PERIOD": 15,
    # Transcoding and HLS output
    "HLS_TEMP_DIR": STATE / "hls",
    "HLS_WAIT_TIME": 10,
    "HLS_GC_ENABLED": True,
    "HLS_GC_INTERVAL": 600,
    "HLS_GC_AGE_THRESHOLD": 7200,
    "CHANGE_BUFFER_CHUNKS": 128,
    "STREAMLINK_ENABLED": True,
    "YTDLP_ENABLED": True,
    "HW_ACCEL_AVAILABLE": None,
    "HW_ACCEL_TYPE": "cpu",
    "HW_ACCEL_DEVICE": "",
    # Broadcast and DVR
    "HLS_BROADCAST_DIR": STATE / "broadcasts",
    "DVR_RECORDING_DIR": STATE / "recordings",
    "BROADCAST_GC_ENABLED": True,
    "BROADCAST_GC_INTERVAL": 600,
    "BROADCAST_GC_AGE_THRESHOLD": 7200,
    "BROADCAST_CALLBACK_TIMEOUT": 3,
    "BROADCAST_MAX_START_RETRIES": 3,
    "BROADCAST_START_RETRY_WINDOW": 300,
    "BROADCAST_START_RETRY_COOLDOWN": 15,
    "BROADCAST_SUBTITLE_SYNC_OFFSET_SECONDS": 1.0,
    "DVR_RESTART_WINDOW_SECONDS": 60,
    "DVR_STALL_TIMEOUT_SECONDS": 30,
    # Redis
    "REDIS_ENABLED": False,
    "REDIS_HOST": "localhost",
    "REDIS_DB": 0,
    "REDIS_PORT": 6379,
    "REDIS_SERVER_PORT": None,
    "REDIS_PASSWORD": None,
    "REDIS_URL": None,
    "ENABLE_TRANSCODING_POOLING": True,
    "WORKER_ID": None,
    "HEARTBEAT_INTERVAL": 30,
    # Ours
    "STATE_DIR": STATE,
    "MAX_FFMPEG": 32,
    "MAX_STREAMS": 5000,
    "MAX_VIEWERS": 10000,
    "STREAM_RETENTION": 86400,
    "ALLOW_LOOPBACK_TARGETS": None,
    "ALLOW_PRIVATE_TARGETS": None,
    "ACCOUNT_LIMITS": {},
    "UPSTREAM_TLS_VERIFY": True,
    "RELAY_BUFFER_SIZE": 16 * 1024 * 1024,
    "SEGMENT_CACHE_SIZE": 256 * 1024 * 1024,
    "HLS_PREFETCH": False,
    "HLS_SEGMENT_DURATION": 2,
    "HLS_WINDOW": 6,
    "FFMPEG_PATH": None,
    "FFPROBE_PATH": None,
    "WORKERS": 1,
    "CHANNELS_M3U": None,
    "CHANNELS_REFRESH": 3600,
    "CHANNELS_FOLD": "off",
    "CHANNEL_SEGMENT_DURATION": 2,
    "CHANNEL_MAX_SEGMENTS": 5,
    "CHANNEL_CLEANUP_INTERVAL": 5,
    "PUBLIC_URL": None,
    "SESSION_TIMEOUT": 600,
    "VOD_CACHE_DIR": STATE / "vod",
    "VOD_CACHE_SIZE": 20_000_000_000,
    "DISK_WARNING_BYTES": 2 * 1024**3,
    "DISK_CRITICAL_BYTES": 512 * 1024**2,
    "METRICS_PORT": None,
    "SENDFILE_MODE": "off",
    "LOG_FORMAT": "text",
    "ENV_FILE": None,
    "API_TOKEN_FILE": None,
    "REDIS_PASSWORD_FILE": None,
    # Times and budgets without a name in the contract
    "VIEWER_STUCK": 20,
    "VIEWER_PAUSE": 600,
    "DRAIN": 7,
    "TERM_KILL": 2,
    "SEG_STALL": 10,
    "AUTH_TRIES": 20,
    "HEADER_TIMEOUT": 10,
    "BODY_TIMEOUT": 15,
    "IDLE_TIMEOUT": 30,
    "JSON_BODY_LIMIT": 256 * 1024,
    # Accepted for compatibility only
    "SHARED_STREAM_TIMEOUT": 30,
    "STREAM_SHARING_STRATEGY": "url_profile",
    "MAX_CLIENTS_PER_SHARED_STREAM": 10,
    "DEFAULT_MAX_RETRIES": 3,
    "DEFAULT_BACKOFF_FACTOR": 1.5,
    "DEFAULT_HEALTH_CHECK_INTERVAL": 300,
    "DEFAULT_RETRY_ATTEMPTS": 3,
    "DEFAULT_RETRY_DELAY": 5,
    "VOD_READ_TIMEOUT": 3600,
    "VOD_WRITE_TIMEOUT": 3600,
    "LIVE_TV_WRITE_TIMEOUT": 1800,
    "BROADCAST_START_FAILURE_GRACE": 3,
    "TEMP_DIR": None,
    "LOG_FILE": None,
    "LOG_DIR": "logs",
    "RELOAD": False,
    "LIVE_SILENT_RECONNECT_MIN_CHUNKS": 10,
    "PRIMARY_HANDOFF_WAIT_SECONDS": 2.0,
    "DISABLE_ASGI_DISCONNECT_MONITOR": False,
    "ENABLE_REDIS_POOLING": None,
    "REDIS_POOL_MAX_CONNECTIONS": None,
}


def loaded(**variables: str) -> Settings:
    return load({"STATE_DIR": str(STATE), **variables})


def refusal(environ: Mapping[str, str]) -> str:
    """The one line that a bad environment is answered with."""
    with pytest.raises(SettingsError) as caught:
        load({"STATE_DIR": str(STATE), **environ})
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    assert len(str(error).splitlines()) == 1
    return str(error)


def test_every_default() -> None:
    settings = loaded()
    assert {name.upper(): value for name, value in settings} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "38085", 38085),
        ("PORT", "0", 0),
        ("port", "9000", 9000),
        ("Log_Level", "ERROR", "error"),
        ("LOG_LEVEL", "Warn", "warn"),
        ("LOG_FORMAT", "JSON", "json"),
        ("LIVE_CHUNK_TIMEOUT_SECONDS", "0", 0),
        ("HLS_WAIT_TIME", "2.5", 2.5),
        ("SILENCE_THRESHOLD_DB", "-35.5", -35.5),
        ("SENDFILE_MODE", "nginx", "nginx"),
        ("HW_ACCEL_AVAILABLE", "false", False),
        ("HW_ACCEL_DEVICE", "/dev/dri/renderD128", "/dev/dri/renderD128"),
        ("PUBLIC_URL", "https://tv.example:8443/m3u-proxy/", "https://tv.example:8443/m3u-proxy"),
        ("HLS_TEMP_DIR", "/nowhere/../elsewhere//hls/", Path("/elsewhere/hls")),
        ("HLS_TEMP_DIR", "//elsewhere", Path("/elsewhere")),
        ("HLS_TEMP_DIR", "relative/hls", Path.cwd() / "relative/hls"),
        ("CHANNELS_M3U", "http://provider.example/get.php?username=a&type=m3u", ...),
    ],
)
def test_a_value_is_read(name: str, value: str, expected: object) -> None:
    settings = dict(loaded(**{name: value}))
    assert settings[name.lower()] == (value if expected is ... else expected)


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", "Yes"])
def test_words_for_yes(word: str) -> None:
    assert loaded(STRICT_LIVE_TS=word).strict_live_ts is True


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "FALSE", "Off"])
def test_words_for_no(word: str) -> None:
    assert loaded(HLS_GC_ENABLED=word).hls_gc_enabled is False


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("/", ""),
        ("m3u-proxy", "/m3u-proxy"),
        ("/m3u-proxy/", "/m3u-proxy"),
        ("//a/b.c//", "/a/b.c"),
        ("/a_b~1/v2", "/a_b~1/v2"),
    ],
)
def test_root_path_is_normalised(given: str, normal: str) -> None:
    assert loaded(ROOT_PATH=given).root_path == normal


WHOLE_PORT = "expected a whole number from 0 to 65535"
YES_NO = "expected one of 1 0 true false yes no on off"
DIRECTORY = "expected a directory, present or not, other than /"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "abc", f"PORT: 'abc' is not allowed; {WHOLE_PORT}"),
        ("PORT", "65536", f"PORT: '65536' is not allowed; {WHOLE_PORT}"),
        ("PORT", "-1", f"PORT: '-1' is not allowed; {WHOLE_PORT}"),
        ("PORT", "80.5", f"PORT: '80.5' is not allowed; {WHOLE_PORT}"),
        ("METRICS_PORT", "x", f"METRICS_PORT: 'x' is not allowed; {WHOLE_PORT}"),
        ("LOG_ANONYMIZE", "maybe", f"LOG_ANONYMIZE: 'maybe' is not allowed; {YES_NO}"),
        ("LOG_ANONYMIZE", "y", f"LOG_ANONYMIZE: 'y' is not allowed; {YES_NO}"),
        ("ALLOW_LOOPBACK_TARGETS", "2", f"ALLOW_LOOPBACK_TARGETS: '2' is not allowed; {YES_NO}"),
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL: 'loud' is not allowed; expected one of debug, info, warning, error, critical",
        ),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: 'xml' is not allowed; expected text or json"),
        ("SENDFILE_MODE", "on", "SENDFILE_MODE: 'on' is not allowed; expected off or nginx"),
        (
            "CLIENT_TIMEOUT",
            "-1",
            "CLIENT_TIMEOUT: '-1' is not allowed; expected seconds, more than 0, at most ten years",
        ),
        ("DRAIN", "-0.1", "DRAIN: '-0.1' is not allowed; expected seconds, 0 or more, at most ten years"),
        ("HLS_TEMP_DIR", "/", f"HLS_TEMP_DIR: '/' is not allowed; {DIRECTORY}"),
        ("HLS_TEMP_DIR", "//tmp/..", f"HLS_TEMP_DIR: '//tmp/..' is not allowed; {DIRECTORY}"),
        ("STATE_DIR", "/dev/null", f"STATE_DIR: '/dev/null' is not allowed; {DIRECTORY}"),
        ("VOD_CACHE_DIR", "/dev/null/a/b", f"VOD_CACHE_DIR: '/dev/null/a/b' is not allowed; {DIRECTORY}"),
        ("DOCS_URL", "docs", "DOCS_URL: 'docs' is not allowed; expected a path such as /docs"),
        (
            "ACCOUNT_LIMITS",
            "a=1,a=2",
            "ACCOUNT_LIMITS: 'a=1,a=2' is not allowed; expected host=number pairs separated by commas, "
            "no host twice",
        ),
        (
            "JSON_BODY_LIMIT",
            "1e9",
            "JSON_BODY_LIMIT: '1e9' is not allowed; expected bytes, a whole number up to 10^15",
        ),
    ],
)
def test_a_bad_value_is_named_in_one_line(name: str, value: str, message: str) -> None:
    assert refusal({name: value}) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("CLIENT_TIMEOUT", value) for value in ("nan", "inf", "1e300", "0", "soon")),
        *(
            ("ROOT_PATH", value)
            for value in ("/a b", "/a/../b", "/.", "/a//b", "/a?b", "/é", "/a%2f", "/a\n")
        ),
        *(
            ("PUBLIC_URL", value)
            for value in ("tv.example", "ftp://a", "http://", "http://a:99999", "http://a?b")
        ),
        *(("PUBLIC_URL", value) for value in ("http://bob:pw@a", "http://a/ b", "http://[::1")),
        *(
            ("ACCOUNT_LIMITS", value)
            for value in ("a", "a=", "=3", "a=x", "a=0", "a=1;b=2", "http://a=1", "A=1,a=1")
        ),
        *(("HOST", value) for value in ("a b", "http://a", " ")),
        *(("WORKERS", value) for value in ("0", "257")),
        *(("DEFAULT_USER_AGENT", value) for value in ("a\r\nX: y", " ", "a\x00")),
        *(("API_TOKEN", value) for value in (" ", "\t", " a", "a\n", "a\x00b")),
        ("HLS_TEMP_DIR", "/proc/self/root"),
        ("HLS_TEMP_DIR", "/a\x00"),
        ("MAX_VIEWERS", "1" * 5000),
    ],
)
def test_what_is_not_allowed(name: str, value: str) -> None:
    assert refusal({name: value}).startswith(f"{name}: ")


@given(st.text(min_size=1))
def test_every_bad_text_is_answered_in_one_line(value: str) -> None:
    line = refusal({"PORT": f"x{value}"})
    assert line.isprintable()
    assert len(line) < 1_200


@given(st.text(alphabet="/.a b%?#\\\n\u202e", min_size=1))
def test_a_root_path_is_safe_or_refused(value: str) -> None:
    try:
        path = loaded(ROOT_PATH=value).root_path
    except SettingsError:
        return
    assert path == "" or (path.startswith("/") and not path.endswith("/") and "//" not in path)
    assert set(path) <= set("/.ab")
    assert not {".", ".."} & set(path.split("/"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", " CANARY"),
        ("REDIS_PASSWORD", "CANARY\n"),
        ("REDIS_URL", "http://bob:CANARY@redis.example/0"),
        ("REDIS_URL", "redis.example:CANARY"),
        ("PUBLIC_URL", "http://bob:CANARY@tv.example"),
        ("CHANNELS_M3U", "http://provider.example/get.php?password=CANARY\x00"),
    ],
)
def test_a_refusal_shows_no_secret(name: str, value: str) -> None:
    line = refusal({name: value})
    assert line.startswith(f"{name}: ")
    assert "CANARY" not in line


def test_a_secret_next_to_a_bad_value_is_not_shown() -> None:
    assert "CANARY" not in refusal({"API_TOKEN": "CANARY", "PORT": "x"})


def test_settings_do_not_print_secrets() -> None:
    settings = loaded(
        API_TOKEN="CANARY",
        REDIS_PASSWORD="CANARY",
        REDIS_URL="redis://bob:CANARY@r.example/0",
        CHANNELS_M3U="http://p.example/get.php?password=CANARY",
    )
    assert settings.api_token == SecretStr("CANARY")
    assert "CANARY" not in print_env(settings)
    assert "API_TOKEN=***\n" in print_env(settings)
    assert "API_TOKEN=\n" in print_env(loaded())


def test_empty_is_unset_and_unknown_is_ignored() -> None:
    settings = loaded(PORT="", API_TOKEN="", NO_SUCH_SETTING="x")
    assert (settings.port, settings.api_token) == (8085, None)


def test_upper_case_wins_unless_empty() -> None:
    assert loaded(port="1", PORT="2", Port="3").port == 2
    assert loaded(port="1", PORT="").port == 1


def test_settings_cannot_be_changed() -> None:
    settings = loaded(ACCOUNT_LIMITS="a=1")
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1
    with pytest.raises(TypeError):
        settings.account_limits["a"] = 2  # type: ignore[index]


def test_account_limits() -> None:
    limits = loaded(ACCOUNT_LIMITS=" Provider.example=1, other.example:8080=3,[::1]:80=2,").account_limits
    assert limits == {"provider.example": 1, "other.example:8080": 3, "[::1]:80": 2}


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, 6379),
        ({"REDIS_PORT": "36790"}, 36790),
        ({"REDIS_SERVER_PORT": "36791"}, 36791),
        ({"REDIS_PORT": "36790", "REDIS_SERVER_PORT": "36791"}, 36791),
    ],
)
def test_the_two_names_of_the_redis_port(variables: dict[str, str], port: int) -> None:
    assert loaded(**variables).redis_port == port


def test_the_redis_password_is_the_token_unless_given() -> None:
    assert loaded(API_TOKEN="t").redis_password == SecretStr("t")
    assert loaded(API_TOKEN="t", REDIS_PASSWORD="p").redis_password == SecretStr("p")


def test_broadcast_collection_follows_that_of_hls() -> None:
    settings = loaded(HLS_GC_INTERVAL="60", HLS_GC_AGE_THRESHOLD="120", BROADCAST_GC_AGE_THRESHOLD="600")
    assert (settings.broadcast_gc_interval, settings.broadcast_gc_age_threshold) == (60, 600)


def test_the_queue_of_a_viewer_is_four_mebibytes() -> None:
    assert loaded().viewer_queue == 4 * 1024 * 1024
    assert loaded(CHANGE_BUFFER_CHUNKS="10").viewer_queue == 10 * 32 * 1024


class TestStateDirectory:
    @pytest.mark.parametrize(
        ("uid", "environ", "expected"),
        [
            (1000, {"HOME": "/home/bob"}, "/home/bob/.local/state/m3u-proxy"),
            (1000, {"HOME": "/home/bob", "XDG_STATE_HOME": "/s"}, "/s/m3u-proxy"),
            (1000, {"HOME": "/home/bob", "XDG_STATE_HOME": "s"}, "/home/bob/.local/state/m3u-proxy"),
            (0, {"HOME": "/root"}, "/var/lib/m3u-proxy"),
            (0, {"HOME": "/root", "XDG_STATE_HOME": "/s"}, "/s/m3u-proxy"),
        ],
    )
    def test_default(
        self, monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], expected: str
    ) -> None:
        monkeypatch.setattr("os.geteuid", lambda: uid)
        settings = load(environ)
        assert settings.state_dir == Path(expected)
        assert settings.hls_temp_dir == Path(expected) / "hls"

    def test_no_home_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.geteuid", lambda: 1000)
        monkeypatch.setattr("os.path.expanduser", lambda path: path)
        with pytest.raises(SettingsError, match=r"\ASTATE_DIR: .* no home directory\Z"):
            load({})

    def test_loading_makes_nothing(self, tmp_path: Path) -> None:
        load({"STATE_DIR": str(tmp_path / "state")})
        assert list(tmp_path.iterdir()) == []

    def test_a_derived_directory_is_checked_too(self, tmp_path: Path) -> None:
        (tmp_path / "hls").write_text("a file")
        assert refusal({"STATE_DIR": str(tmp_path)}).startswith(
            f"HLS_TEMP_DIR: '{tmp_path}/hls' is not allowed"
        )

    def test_a_link_to_the_root_is_the_root(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/")
        assert refusal({"HLS_TEMP_DIR": str(tmp_path / "link")}).endswith(DIRECTORY)


class TestFiles:
    def test_nothing_is_read_from_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".env").write_text("PORT=1\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PORT", "2")
        assert loaded().port == 8085

    def test_a_named_file_is_read_and_the_environment_wins(self, tmp_path: Path) -> None:
        file = tmp_path / "env"
        file.write_text("# ours\nPORT=1\nexport HOST='::1'\nlog_level=debug\nENV_FILE=/none\n")
        settings = loaded(ENV_FILE=str(file), PORT="2")
        assert (settings.port, settings.host, settings.log_level) == (2, "::1", "debug")
        assert settings.env_file == str(file)

    def test_a_named_file_expands_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTHER_SECRET", "CANARY")
        (tmp_path / "env").write_text("WORKER_ID=${OTHER_SECRET}\n")
        assert loaded(ENV_FILE=str(tmp_path / "env")).worker_id == "${OTHER_SECRET}"

    def test_a_bad_value_in_a_named_file(self, tmp_path: Path) -> None:
        (tmp_path / "env").write_text("PORT=abc\n")
        assert refusal({"ENV_FILE": str(tmp_path / "env")}).startswith("PORT: 'abc' is not allowed")

    @pytest.mark.parametrize("name", ["ENV_FILE", "API_TOKEN_FILE", "REDIS_PASSWORD_FILE"])
    def test_a_named_file_must_be_readable(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        (tmp_path / "blank").write_text(" \n")
        for path in (tmp_path / "none", tmp_path, tmp_path / "binary", tmp_path / "blank"):
            assert refusal({name: str(path)}).startswith(
                f"{name}: '{path}' is not allowed; expected a readable"
            )

    @pytest.mark.parametrize("name", ["API_TOKEN", "REDIS_PASSWORD"])
    def test_a_secret_from_a_file(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "secret").write_text("s3cret\r\n")
        settings = dict(loaded(**{f"{name}_FILE": str(tmp_path / "secret")}))
        assert settings[name.lower()] == SecretStr("s3cret")

    def test_a_secret_has_one_origin(self, tmp_path: Path) -> None:
        line = refusal({"API_TOKEN": "CANARY", "API_TOKEN_FILE": "/run/token"})
        assert line == "API_TOKEN_FILE: '/run/token' is not allowed; expected API_TOKEN to be unset"


class TestExample:
    def test_the_committed_file_is_up_to_date(self) -> None:
        assert (ROOT / ".env.example").read_text() == env_example(), "write env_example() to .env.example"

    def test_it_names_every_variable_once(self) -> None:
        names = [line[2:].partition("=")[0] for line in env_example().splitlines() if line[2:3].isupper()]
        named = [name for name in names if name in DEFAULTS]
        assert sorted(named) == sorted(DEFAULTS)

    def test_its_lines_are_the_defaults(self, tmp_path: Path) -> None:
        lines = [line[2:] for line in env_example().splitlines() if line[2:].partition("=")[0] in DEFAULTS]
        (tmp_path / "env").write_text("\n".join(lines))
        written = loaded(ENV_FILE=str(tmp_path / "env"))
        assert written == loaded().model_copy(update={"env_file": str(tmp_path / "env")})

    def test_it_shows_no_path_of_this_machine(self) -> None:
        assert str(Path.home()) not in env_example()
        assert "\n# STATE_DIR=\n" in env_example()
        assert "\n# HLS_TEMP_DIR=\n" in env_example()


def test_what_is_printed_can_be_loaded(tmp_path: Path) -> None:
    settings = loaded(ACCOUNT_LIMITS="a=1,b=2", HLS_WAIT_TIME="2.5", ROOT_PATH="/", LOG_ANONYMIZE="no")
    (tmp_path / "env").write_text(print_env(settings))
    again = load({"ENV_FILE": str(tmp_path / "env")})
    assert again == settings.model_copy(update={"env_file": str(tmp_path / "env")})
