// Alarms: all that are not plainly normal, and what a person does about one.

import { h, Nodes, settle } from "./dom.js";
import { bytes, moment, number, since, t, word } from "./words.js";
import { isAside, listen, nowMs, plant, ranked, waits } from "./plant.js";
import { called, conditionWord, empty, limitText, signOf, sourceText, stateWord, valueText } from "./signs.js";
import { command, get } from "./api.js";
import { ask, attempt } from "./forms.js";
import { may } from "./who.js";
import { clip } from "./clip.js";

const STEPS = { new: ["confirm", "reject"], pushed: ["confirm", "reject"], confirmed: ["handle", "reject"], false: ["confirm", "close"], handling: ["close"], closed: [] };
const FILTERS = {
  calling: (row) => !isAside(row) && !row.declaration,
  unacknowledged: (row) => waits(row) && !row.declaration,
  aside: (row) => isAside(row),
  test: (row) => Boolean(row.declaration),
  all: () => true,
};

export function mount(page) {
  let kind = "calling";
  let search = "";
  let priority = "";
  let chosen = new URLSearchParams(location.search).get("key");
  const words = h("input", { type: "search", placeholder: t("alarms.search"), "aria-label": t("alarms.search"), oninput: (event) => { search = event.target.value.toLowerCase(); draw(); } });
  const level = h("select", { "aria-label": t("alarms.priority"), onchange: (event) => { priority = event.target.value; draw(); } },
    h("option", { value: "" }, t("alarms.any_priority")), [1, 2, 3, 4].map((p) => h("option", { value: p }, t(`priority.${p}`))));
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": t("alarms.filter") });
  const body = h("tbody");
  const note = h("p", { class: "note" });
  const side = h("aside", { class: "side", "aria-live": "polite" });
  page.append(h("div", { class: "split" },
    h("section", {}, h("div", { class: "tools" }, tabs, level, words), note,
      h("div", { class: "scroll" }, h("table", { class: "list alarms" },
        h("thead", {}, h("tr", {}, ["", "alarms.raised", "alarms.source", "alarms.condition", "alarms.value", "alarms.state", "alarms.place"].map((key) => h("th", { scope: "col" }, key ? t(key) : h("span", { class: "sr" }, t("alarms.priority")))))),
        body))),
    side));
  const rows = new Nodes(row);
  const detail = new Detail(side);

  function row(one) {
    return h("tr", { class: `${waits(one) ? "waits" : ""} ${isAside(one) ? "aside" : ""} ${chosen === one.key ? "chosen" : ""}`, tabindex: 0, "data-key": one.key, onclick: () => choose(one.key), onkeydown: (event) => { if (event.key === "Enter") choose(one.key); } },
      h("td", {}, signOf(one)), h("td", { class: "time" }, since(one.raised_ns, nowMs())), h("td", { class: "name" }, sourceText(one), one.description ? h("small", {}, one.description) : null),
      h("td", {}, conditionWord(one)),
      h("td", { class: "value" }, valueText(one), h("small", {}, limitText(one))),
      h("td", {}, stateWord(one), one.declaration ? h("em", { class: "tag" }, t("state.under_test")) : null, one.first_out ? h("em", { class: "tag" }, t("alarms.first_out")) : null, one.handling ? h("small", {}, word("handling", one.handling)) : null),
      h("td", {}, called(one.place)));
  }

  function choose(key) {
    chosen = key;
    history.replaceState(null, "", `/alarms?${new URLSearchParams({ key })}`);
    draw();
    detail.open(key);
  }

  function draw() {
    const all = ranked([...plant.alarms.values()]);
    settle(tabs, Object.keys(FILTERS).map((name) => h("button", { class: name === kind ? "on" : "", "aria-pressed": name === kind, onclick: () => { kind = name; draw(); tabs.querySelector(".on")?.focus(); } }, t(`alarms.f_${name}`))));
    const shown = all.filter((one) => FILTERS[kind](one)
      && (!priority || String(one.priority) === priority)
      && (!search || `${one.source} ${one.condition} ${conditionWord(one)} ${one.place} ${called(one.place)} ${one.description} ${one.text}`.toLowerCase().includes(search)));
    const held = document.activeElement?.dataset?.key;
    settle(body, rows.of(shown.slice(0, 300), (one) => one.key, chosen));
    if (held && document.activeElement === document.body) body.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
    const total = plant.count.total ?? 0;
    note.replaceChildren(t("alarms.shown", { shown: Math.min(shown.length, 300), total }), all.length < total ? ` ${t("alarms.beyond", { n: total - all.length })}` : "");
    if (!shown.length) settle(body, [h("tr", {}, h("td", { colspan: 7 }, empty(t("alarms.none"))))]);
    detail.refresh();
  }
  const stop = listen(draw);
  draw();
  if (chosen) detail.open(chosen); else detail.nothing();
  return stop;
}

class Detail {
  constructor(side) {
    this.side = side;
    this.key = null;
    this.seen = null;
    this.turn = 0;
  }

  nothing() {
    this.side.replaceChildren(empty(t("alarms.choose")));
  }

  async open(key) {
    this.key = key;
    this.seen = plant.alarms.get(key);
    const turn = ++this.turn;
    if (this.seen) this.draw({ alarm: this.seen, evidence: [], history: [], handling: null, rule: null });
    try {
      const found = await get("/api/alarms/detail", { key });
      if (turn === this.turn) { this.found = found; this.draw(found); }
    } catch (error) {
      if (turn === this.turn) this.side.replaceChildren(empty(error.status === 409 ? t("alarms.over") : error.message));
    }
  }

  // The alarm changed while it is open, is over, or is less urgent now than those that are listed:
  // look again.
  refresh() {
    if (this.key && plant.alarms.get(this.key) !== this.seen) void this.open(this.key);
  }

  draw(found) {
    const row = found.alarm;
    if (!row) return;
    const focused = document.activeElement?.dataset?.act;
    settle(this.side, [
      h("h2", {}, signOf(row), h("span", {}, sourceText(row))),
      h("p", { class: "headline" }, `${conditionWord(row)} · ${valueText(row)} ${limitText(row)}`),
      row.description ? h("p", { class: "about" }, row.description) : null,
      h("p", { class: "about" }, row.text),
      h("div", { class: "buttons" }, this.actions(row)),
      found.handling ? this.handling(found.handling) : null,
      found.evidence.length ? h("section", {}, h("h3", {}, t("alarms.evidence")), h("div", { class: "evidence" }, found.evidence.map(evidence))) : null,
      facts(row, found.rule),
      found.history.length ? h("section", {}, h("h3", {}, t("alarms.history")), h("ol", { class: "steps" }, [...found.history].reverse().map((one) =>
        h("li", {}, h("time", {}, moment(one.time_ns)), h("b", {}, word("state", one.state)), one.operator ? h("span", {}, one.operator) : null, one.reason ? h("q", {}, one.reason) : null)))) : null,
    ]);
    if (focused) this.side.querySelector(`[data-act="${focused}"]`)?.focus();
  }

  actions(row) {
    if (!may("alarm.command")) return null;
    if (row.rule.startsWith("opcua.condition")) return h("p", { class: "about" }, t("alarms.mirrored"));
    const does = async (verb, fields = {}) => {
      await command("alarm.command", { verb, source: row.source, condition: row.condition, alarm_id: row.alarm_id, ...fields });
      await this.open(this.key);
    };
    const plain = (verb) => h("button", { class: verb === "ack" ? "main" : "", "data-act": verb, onclick: (event) => attempt(event.currentTarget, () => does(verb), t("done")) }, t(`verb.${verb}`));
    const withEnd = (verb) => h("button", { "data-act": verb, onclick: () => ask({
      title: `${t(`verb.${verb}`)} · ${row.source}`, about: t(`verb.${verb}_about`), button: t(`verb.${verb}`), done: t("done"),
      fields: [
        { name: "reason", label: t("field.reason"), required: true, wide: true },
        { name: "minutes", label: t("field.for_how_long"), options: [15, 30, 60, 120, 240, 480].map((n) => [n, t("field.minutes", { n })]), value: 60 },
      ],
      action: (said) => does(verb, { reason: said.reason, minutes: Number(said.minutes) }),
    }) }, t(`verb.${verb}`));
    const found = [];
    if (waits(row)) found.push(plain("ack"));
    if (row.state === "latched") found.push(plain("reset"));
    if (row.state === "shelved") found.push(plain("unshelve"));
    if (row.state === "out_of_service") found.push(plain("restore"));
    if (!isAside(row)) found.push(withEnd("shelve"), withEnd("remove"));
    return found;
  }

  handling(one) {
    const step = (action) => h("button", { "data-act": action, onclick: () => ask({
      title: t(`handling.do_${action}`), button: t(`handling.do_${action}`), done: t("done"),
      fields: [{ name: "note", label: t("field.note"), type: "textarea", wide: true, required: ["reject", "close"].includes(action) }],
      action: async (said) => { await command("handling.act", { alarm: one.alarm_id, action, note: said.note ?? "" }); await this.open(this.key); },
    }) }, t(`handling.do_${action}`));
    return h("section", {}, h("h3", {}, t("alarms.handling"), " ", h("em", { class: "tag" }, word("handling", one.state))),
      may("handling.act") ? h("div", { class: "buttons" }, (STEPS[one.state] ?? []).map(step)) : null,
      h("ol", { class: "steps" }, one.steps.map((taken) => h("li", {}, h("time", {}, moment(taken.time_ns)), h("b", {}, word("handling", taken.state)), h("span", {}, taken.person), taken.note ? h("q", {}, taken.note) : null))));
  }
}

function evidence(file) {
  const address = `/api/evidence/${encodeURIComponent(file.sha256)}`;
  const about = h("figcaption", {}, moment(file.time_ns), " · ", bytes(file.total_bytes), " · ", h("code", { title: file.sha256 }, file.sha256.slice(0, 12)), " ", h("a", { href: address, target: "_blank", rel: "noopener" }, t("alarms.open")));
  if (file.media_type.startsWith("image/")) return h("figure", {}, h("a", { href: address, target: "_blank", rel: "noopener" }, h("img", { src: address, alt: t("alarms.picture"), loading: "lazy" })), about);
  if (file.media_type === "video/mp4") return h("figure", {}, h("video", { src: address, controls: true, preload: "metadata" }), about);
  if (file.media_type === "video/x-msvideo") return h("figure", {}, h("p", { class: "file" }, t("alarms.clip")), clip(address), about);
  return h("figure", {}, h("p", { class: "file" }, t(file.media_type.startsWith("video/") ? "alarms.clip" : file.media_type === "application/json" ? "alarms.sheet" : "alarms.file")), about);
}

function facts(row, rule) {
  const language = document.documentElement.lang === "en" ? "en" : "zh";
  const pairs = [
    ["alarms.raised", moment(row.raised_ns)], ["alarms.changed", moment(row.since_ns)], ["alarms.quality", word("quality", row.quality)],
    ["alarms.place", called(row.place)], ["alarms.hazard", called(row.hazard)], ["alarms.equipment", called(row.equipment)],
    ["alarms.operator", row.operator], ["field.reason", row.reason], ["alarms.until", row.until_ns ? moment(row.until_ns) : ""],
    ["alarms.declaration", row.declaration], ["alarms.clause", row.clause || rule?.citation], ["alarms.rule", rule ? rule[language] : ""],
    ["alarms.rule_source", rule?.source], ["alarms.rule_value", rule?.value === null || !rule ? "" : number(rule.value, rule.unit)], ["alarms.rule_id", row.rule], ["alarms.id", row.alarm_id],
  ];
  return h("dl", {}, pairs.filter(([, value]) => value).map(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)]));
}
