// The picture of the plant as the gateway sends it, kept up to date, and whether it can be trusted.
// Guarantees: a change merges one level deep, a state replaces everything; a row that did not change
// stays the same object. Nothing heard for SILENT_MS, or a broken connection for LOST_MS, means that
// the console is gone; `gone` means that the gateway is. Either way the picture is stale, and whoever listens is told.

const SILENT_MS = 12000;
const LOST_MS = 3000;       // after the connection broke, and was not made again

export const plant = {
  revision: -1,
  site: {},
  alarms: new Map(),
  count: {},
  sections: {},
  timeMs: 0,          // the gateway's wall clock at `heardAt`
  heardAt: 0,         // performance.now()
  ready: false,
  trouble: "",        // "", "gateway", "console"
  troubleText: "",
  troubleSince: 0,
  broken: "",         // what a page failed with when it was drawn last: it shows the past then
};

const listeners = new Set();
let source = null;
let queued = false;

export function listen(heard) {
  listeners.add(heard);
  if (plant.ready) heard();
  return () => listeners.delete(heard);
}

export function nowMs() {
  return plant.timeMs ? plant.timeMs + (performance.now() - plant.heardAt) : Date.now();
}

export function stale() {
  return plant.trouble !== "" || plant.broken !== "";
}

export function start(signedOut) {
  stop();
  source = new EventSource("/api/live");
  plant.heardAt = plant.aliveAt = performance.now();
  plant.lostAt = 0;
  source.onopen = () => { plant.lostAt = 0; };
  source.onerror = () => { plant.lostAt ||= performance.now(); };
  const on = (name, take) => source.addEventListener(name, (event) => {
    plant.aliveAt = performance.now();
    take(event.data ? JSON.parse(event.data) : {});
  });
  on("state", (said) => { replace(said); fresh(); });
  on("change", (said) => { merge(said); fresh(); });
  on("beat", (said) => { if (plant.trouble !== "gateway") { tick(said); fresh(); } });
  on("heartbeat", (said) => { tick(said); fresh(); });
  on("gone", (said) => trouble("gateway", said.error ?? ""));
  on("signed_out", () => { stop(); signedOut(); });
}

export function stop() {
  source?.close();
  source = null;
}

setInterval(() => {
  const now = performance.now();
  if (source && (now - plant.aliveAt > SILENT_MS || (plant.lostAt && now - plant.lostAt > LOST_MS))) trouble("console", "");
  if (source && source.readyState === EventSource.CLOSED) start(() => location.assign("/sign-in"));
}, 1000);

function trouble(kind, text) {
  if (plant.trouble !== kind) plant.troubleSince = plant.timeMs || nowMs(); // the picture is of then
  plant.trouble = kind;
  plant.troubleText = text;
  told();
}

function fresh() {
  plant.trouble = "";
  plant.troubleText = "";
  plant.ready = plant.ready || plant.revision >= 0;
  told();
}

function tick(said) {
  if (!said.time_ns) return;
  plant.timeMs = said.time_ns / 1e6;
  plant.heardAt = performance.now();
}

function replace(said) {
  const before = plant.alarms;
  plant.revision = said.revision;
  plant.site = said.site ?? plant.site;
  plant.alarms = new Map(said.alarms.map((row) => [row.key, kept(before.get(row.key), row)]));
  plant.count = said.alarm_count ?? {};
  plant.sections = said.sections ?? {};
  tick(said);
}

function kept(old, row) {
  return old && JSON.stringify(old) === JSON.stringify(row) ? old : row;
}

function merge(said) {
  plant.revision = said.revision;
  if (said.alarms) {
    const alarms = new Map(plant.alarms);
    for (const key of said.alarms.gone) alarms.delete(key);
    for (const row of said.alarms.changed) alarms.set(row.key, row);
    plant.alarms = alarms;
  }
  if (said.alarm_count) plant.count = said.alarm_count;
  for (const [name, items] of Object.entries(said.sections ?? {})) {
    const section = { ...plant.sections[name], ...items };
    for (const [key, item] of Object.entries(items)) if (item === null) delete section[key];
    plant.sections = { ...plant.sections, [name]: section };
  }
  tick(said);
}

// Listeners draw at most once a frame, and while the page is hidden not at all.
function told() {
  if (queued) return;
  queued = true;
  const draw = () => {
    queued = false;
    let failed = "";
    for (const heard of listeners) {
      try { heard(); } catch (error) { failed = String(error); reportError(error); }
    }
    plant.broken = failed;
  };
  if (document.hidden) setTimeout(draw, 1000); else requestAnimationFrame(draw);
}

const ASIDE = new Set(["shelved", "suppressed_by_design", "out_of_service"]);
const WAITS = new Set(["unacknowledged_active", "returned_unacknowledged"]);
export const isAside = (row) => ASIDE.has(row.state);
export const waits = (row) => WAITS.has(row.state);

// In the order of the gateway: what calls people first.
export function ranked(rows) {
  const states = { unacknowledged_active: 0, acknowledged_active: 1, returned_unacknowledged: 2, latched: 2 };
  const rank = (row) => (isAside(row) ? 9 : (states[row.state] ?? 3) + (row.declaration ? 5 : 0));
  return [...rows].sort((a, b) => rank(a) - rank(b) || a.priority - b.priority || b.since_ns - a.since_ns);
}

export const items = (name) => Object.entries(plant.sections[name] ?? {});
