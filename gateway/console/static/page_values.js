// Values: search, limits, quality in words, and the trend of one.

import { h, settle } from "./dom.js";
import { number, since, t, unitWord, word } from "./words.js";
import { nowMs, stale } from "./plant.js";
import { get } from "./api.js";
import { called, empty } from "./signs.js";
import { trend } from "./chart.js";

const SIZE = 50;
const EVERY_MS = 2000;
const RANGES = { "1h": 1, "8h": 8, "24h": 24, "7d": 168 };
const LIMITS = ["low_low", "low", "high", "high_high"];

export function mount(page) {
  let search = new URLSearchParams(location.search).get("search") ?? "";
  let at = 0;
  let turn = 0;
  let chosen = null;
  const words = h("input", { type: "search", placeholder: t("values.search"), "aria-label": t("values.search"), oninput: (event) => { search = event.target.value; at = 0; void load(); } });
  words.value = search;
  const body = h("tbody");
  const note = h("p", { class: "note" });
  const back = h("button", { onclick: () => { at -= 1; void load(); } }, t("values.back"));
  const next = h("button", { onclick: () => { at += 1; void load(); } }, t("values.next"));
  const side = h("aside", { class: "side" }, empty(t("values.choose")));
  page.append(h("div", { class: "split" }, h("section", {},
    h("div", { class: "tools" }, words, back, next), note,
    h("div", { class: "scroll" }, h("table", { class: "list values" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("values.name")), h("th", { scope: "col" }, t("values.description")), h("th", { scope: "col", class: "value" }, t("values.value")), h("th", { scope: "col" }, t("values.quality")), h("th", { scope: "col" }, t("values.time")), LIMITS.map((name) => h("th", { scope: "col", class: "value" }, t(`limit.${name}`))))), body))), side));

  async function load() {
    const mine = ++turn;
    try {
      const found = await get("/api/values", { search, page: at, size: SIZE });
      if (mine !== turn) return;
      back.disabled = at === 0;
      next.disabled = !found.more;
      note.replaceChildren(t("values.shown", { first: found.rows.length ? at * SIZE + 1 : 0, last: at * SIZE + found.rows.length, points: found.points }));
      const held = document.activeElement?.dataset?.point;
      settle(body, found.rows.length ? found.rows.map(row) : [h("tr", {}, h("td", { colspan: 9 }, empty(t("values.none"))))]);
      if (held) body.querySelector(`[data-point="${CSS.escape(held)}"]`)?.focus();
    } catch (error) {
      if (mine === turn) note.replaceChildren(error.message);
    }
  }

  function row(one) {
    const severity = one.quality.split(":")[0] || "unknown";
    const beyond = beyondOf(one);
    const open = () => { chosen = one; void draw("8h"); body.querySelectorAll(".chosen").forEach((old) => old.classList.remove("chosen")); };
    return h("tr", { tabindex: 0, "data-point": one.name, class: chosen?.name === one.name ? "chosen" : "", onclick: (event) => { open(); event.currentTarget.classList.add("chosen"); }, onkeydown: (event) => { if (event.key === "Enter") { open(); event.currentTarget.classList.add("chosen"); } } },
      h("td", { class: "name" }, one.name), h("td", {}, one.description),
      h("td", { class: `value q-${severity} ${beyond ? "beyond" : ""}` }, number(one.value, one.unit), beyond ? h("small", {}, t(`limit.${beyond}`)) : null),
      h("td", {}, h("span", { class: `quality q-${severity}` }, one.quality ? word("quality", one.quality) : t("values.unseen"))),
      h("td", { class: "time" }, since(one.time_ns, nowMs())),
      LIMITS.map((name) => h("td", { class: "value" }, one[name] === null ? "" : number(one[name]))));
  }

  async function draw(range) {
    const point = chosen;
    const to = nowMs();
    const from = to - RANGES[range] * 36e5;
    const tabs = h("div", { class: "tabs", role: "group" }, Object.keys(RANGES).map((name) =>
      h("button", { class: name === range ? "on" : "", "aria-pressed": name === range, onclick: () => draw(name) }, t(`values.range_${name}`))));
    const head = [h("h2", {}, point.name), h("p", { class: "about" }, [point.description, called(point.place), point.gas].filter(Boolean).join(" · ")), tabs];
    side.replaceChildren(...head, empty(t("loading")));
    try {
      const found = await get("/api/history", { point: point.name, from_ns: `${Math.round(from)}000000`, to_ns: `${Math.round(to)}000000` });
      if (chosen !== point) return;
      const limits = Object.fromEntries(LIMITS.map((name) => [name, point[name]]));
      side.replaceChildren(...head, trend(found, from, to, limits, [Math.max(300, side.clientWidth - 34), 260]), h("p", { class: "note" }, t("values.legend", { unit: unitWord(point.unit) || "–" })), facts(point));
    } catch (error) {
      if (chosen === point) side.replaceChildren(...head, empty(error.message));
    }
  }

  const timer = setInterval(() => { if (!document.hidden && !stale()) void load(); }, EVERY_MS);
  void load();
  words.focus();
  return () => { clearInterval(timer); turn += 1; };
}

function facts(point) {
  const pairs = [["values.range", point.range_low === null && point.range_high === null ? "" : `${number(point.range_low)} … ${number(point.range_high, point.unit)}`],
    ["values.gas", point.gas], ["alarms.place", called(point.place)], ["alarms.priority", t(`priority.${point.priority}`)]];
  return h("dl", {}, pairs.filter(([, value]) => value).map(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)]));
}

function beyondOf(one) {
  if (typeof one.value !== "number" || one.quality.startsWith("bad")) return "";
  if (one.high_high !== null && one.value >= one.high_high) return "high_high";
  if (one.high !== null && one.value >= one.high) return "high";
  if (one.low_low !== null && one.value <= one.low_low) return "low_low";
  if (one.low !== null && one.value <= one.low) return "low";
  return "";
}
