// The page /ui: what is on, and a player for HLS streams and files. Everything shown is put in as text, never as markup.

const POLL = 3000; // milliseconds between two looks at the streams
const PATIENCE = 8000; // milliseconds for one answer
const RETRY = [1000, 2000, 4000, 8000]; // milliseconds before a broken stream is tried again, the last for ever
const TOKEN = "m3u-proxy-token"; // its key in the session's storage
const STATES = { starting: "Starting", live: "Live", reconnecting: "Reconnecting", failed: "Failed", closed: "Idle" };

const $ = (id) => document.getElementById(id);
const absolute = (endpoint) => new URL(endpoint.slice(1), location.href).href; // below the root path, if any
const isHls = (stream) => stream.endpoint.endsWith(".m3u8");
const isFile = (stream) => stream.stream_type === "VOD";
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const show = (id, visible = true) => { $(id).hidden = !visible; };

function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text; // what is unchanged is not read out again
  show(id, text !== "");
}

function titleOf({ metadata, stream_id }) {
  if (metadata.title || metadata.name) return metadata.title || metadata.name;
  return metadata.type && metadata.id ? `${metadata.type} ${metadata.id}` : `Stream ${stream_id.slice(0, 8)}`;
}

function scaled(value, units) {
  let index = 0;
  for (; value >= 1000 && index < units.length - 1; index += 1) value /= 1000;
  return `${value.toFixed(index && value < 100 ? 1 : 0)} ${units[index]}`;
}

/** The words of an error body, `{"detail": "…"}` or `{"detail": [{"msg": "…"}]}`; empty if it has none. */
function detailOf(text) {
  try {
    const { detail } = JSON.parse(text);
    return Array.isArray(detail) ? detail.map((row) => row.msg).join("; ") : String(detail ?? "");
  } catch {
    return "";
  }
}

async function copy(text, button) {
  button.dataset.label ??= button.textContent;
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not a secure page: plain HTTP from another machine
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    copied = document.execCommand("copy");
    area.remove();
    button.focus(); // which the selection took
  }
  button.textContent = copied ? "Copied" : "Not allowed";
  setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
}

// -- the player ------------------------------------------------------------------------------------------
const video = $("video");
const viewer = `web-${crypto.getRandomValues(new Uint32Array(2)).join("")}`; // two tabs are two viewers
let started = false; // the page starts one stream by itself, once
const player = { stream: null, hls: null, live: false, failures: 0, recoveredAt: -Infinity, timer: 0 };

function play(stream) {
  unload();
  started = true;
  Object.assign(player, { stream, failures: 0 });
  $("now").textContent = titleOf(stream);
  show("player");
  $("player").scrollIntoView({ block: "nearest" });
  load();
}

function unload() {
  clearTimeout(player.timer);
  player.hls?.destroy();
  player.hls = null;
  video.removeAttribute("src");
  video.load();
  $("now-detail").textContent = "";
}

function load() {
  const url = `${absolute(player.stream.endpoint)}?client_id=${viewer}`;
  if (!player.failures) say("message", "Waiting for the stream…");
  if (isFile(player.stream)) video.src = url;
  else if (Hls.isSupported()) player.hls = liveHls(url);
  else if (video.canPlayType("application/vnd.apple.mpegurl")) video.src = url;
  else return say("message", "This browser cannot play HLS. Copy the URL into another player.");
  return video.play().catch((error) => error.name === "NotAllowedError" && say("message", "Press play to start."));
}

function liveHls(url) {
  const patient = { maxTimeToFirstByteMs: 60000, maxLoadTimeMs: 60000, timeoutRetry: null, errorRetry: null };
  const hls = new Hls({
    liveSyncDurationCount: 2,
    liveMaxLatencyDurationCount: 8,
    maxLiveSyncPlaybackRate: 1.05,
    liveDurationInfinity: true,
    backBufferLength: 30,
    manifestLoadPolicy: { default: patient }, // the first playlist is answered when it has a segment
  });
  hls.on(Hls.Events.ERROR, (_, data) => data.fatal && onFatal(hls, data));
  hls.on(Hls.Events.LEVEL_LOADED, (_, data) => { player.live = data.details.live; });
  hls.attachMedia(video);
  hls.loadSource(url);
  return hls;
}

function onFatal(hls, data) {
  const now = performance.now();
  if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
    retry(networkReason(data.networkDetails));
  } else if (data.type === Hls.ErrorTypes.MEDIA_ERROR && now - player.recoveredAt > 5000) {
    player.recoveredAt = now;
    hls.recoverMediaError();
  } else {
    retry("The picture cannot be decoded");
  }
}

function networkReason(request) {
  if (!request?.status) return "The daemon does not answer";
  const text = ["", "text"].includes(request.responseType) ? request.responseText : "";
  return detailOf(text) || `The daemon answered ${request.status}`;
}

function retry(reason) {
  unload();
  say("message", `Cannot play yet, trying again: ${reason}`);
  player.timer = setTimeout(load, RETRY[Math.min(player.failures, RETRY.length - 1)]);
  player.failures += 1;
}

video.addEventListener("playing", () => {
  player.failures = 0;
  say("message", "");
});
video.addEventListener("waiting", () => player.failures || say("message", "Waiting for the stream…"));
video.addEventListener("error", () => !player.hls && video.src && retry("The browser cannot play it"));
video.addEventListener("timeupdate", () => {
  const size = video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : "";
  const behind = player.live && player.hls?.latency > 0 ? `${Math.round(player.hls.latency)} s behind live` : "";
  $("now-detail").textContent = [size, behind].filter(Boolean).join(", ");
});
$("stop").addEventListener("click", () => {
  unload();
  show("player", false);
});

// -- the table -------------------------------------------------------------------------------------------
const rows = new Map(); // stream id -> its row

function newRow(id) {
  const element = $("row").content.firstElementChild.cloneNode(true);
  const cells = {};
  for (const cell of element.querySelectorAll("[data-cell]")) cells[cell.dataset.cell] = cell;
  const row = { element, cells, stream: null };
  rows.set(id, row);
  cells.title.id = `title-${id}`;
  for (const button of [cells.play, cells.copy]) button.setAttribute("aria-describedby", cells.title.id);
  cells.copy.addEventListener("click", () => copy(absolute(row.stream.endpoint), cells.copy));
  cells.play.addEventListener("click", () => play(row.stream));
  $("rows").append(element);
  return row;
}

function fill(row, stream) {
  const { cells } = row;
  const media = { ...stream.media_info, ...stream.output_media_info };
  row.stream = stream;
  cells.title.textContent = titleOf(stream);
  const how = stream.stream_type === "Transcoding" ? ", transcoded" : "";
  const kind = isFile(stream) ? "File" : isHls(stream) ? "HLS" : "MPEG-TS";
  cells.kind.textContent = kind + how;
  cells.state.textContent = STATES[stream.state] ?? stream.state;
  cells.state.className = `state ${stream.state}`;
  cells.reason.textContent = stream.state === "failed" ? stream.reason ?? "" : "";
  cells.reason.hidden = !cells.reason.textContent;
  cells.viewers.textContent = stream.client_count;
  cells.bitrate.textContent = media.bitrate_kbps ? scaled(media.bitrate_kbps, ["kbit/s", "Mbit/s"]) : "–";
  cells.sent.textContent = scaled(stream.total_bytes_served, ["B", "kB", "MB", "GB", "TB"]);
  cells.play.hidden = !isHls(stream) && !isFile(stream);
}

function render(streams) {
  const listed = new Set(streams.map((stream) => stream.stream_id));
  for (const [id, row] of rows) if (!listed.has(id) && rows.delete(id)) row.element.remove();
  for (const stream of streams) fill(rows.get(stream.stream_id) ?? newRow(stream.stream_id), stream);
  const viewers = streams.reduce((sum, stream) => sum + stream.client_count, 0);
  say("summary", `${plural(streams.length, "stream")}, ${plural(viewers, "viewer")}`);
  show("streams", streams.length > 0);
  show("empty", streams.length === 0);
  $("example").textContent = example();
  show("token-form", false);
  const first = streams.find((stream) => stream.metadata.demo && isHls(stream));
  const gone = player.failures && !listed.has(player.stream.stream_id); // the daemon was started anew
  if (first && (gone || !started)) play(first);
}

// -- asking the daemon -----------------------------------------------------------------------------------
let memory = null;
try { memory = sessionStorage; } catch { /* forbidden: the token lasts as long as the page */ }
let token = memory?.getItem(TOKEN) ?? "";
let wake = () => {};

async function look() {
  const headers = token ? { "X-API-Token": token } : {};
  const how = { headers, signal: AbortSignal.timeout(PATIENCE), cache: "no-store" };
  const answer = await fetch(absolute("/streams"), how).catch(() => null);
  if (!answer) return "The daemon does not answer. Trying again…";
  if (answer.status === 401 || answer.status === 403) return askForToken(answer.status);
  const text = await answer.text();
  if (!answer.ok) return detailOf(text) || `The daemon answered ${answer.status}. Trying again…`;
  render(JSON.parse(text).streams);
  return "";
}

function example() {
  const secret = token ? "-H 'X-API-Token: YOUR_TOKEN' " : "";
  return `curl -X POST ${absolute("/streams")} \\
  ${secret}-H 'Content-Type: application/json' \\
  -d '{"url": "http://provider.example/live/1.ts", "metadata": {"title": "Channel 1"}}'`;
}

function askForToken(status) {
  $("token-reason").textContent = status === 403 ? "That token was not accepted." : "The daemon asks for its token.";
  say("summary", "Token needed");
  for (const id of ["streams", "empty"]) show(id, false);
  if ($("token-form").hidden) {
    show("token-form");
    $("token").focus();
  }
  return "";
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  memory?.setItem(TOKEN, token);
  $("token").value = "";
  wake();
});
document.addEventListener("visibilitychange", () => wake());

$("copy-example").addEventListener("click", (event) => copy(example(), event.currentTarget));

for (;;) {
  if (!document.hidden) {
    const trouble = await look().catch(() => "The daemon's answer is cut off. Trying again…");
    say("notice", trouble);
    $("streams").classList.toggle("stale", trouble !== "");
  }
  await new Promise((resolve) => setTimeout((wake = resolve), POLL));
}
