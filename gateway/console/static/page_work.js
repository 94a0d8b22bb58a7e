// Special work 特殊作业: permits, what is violated, gas analyses, entering and moving on.

import { h, settle } from "./dom.js";
import { moment, number, span, t, word } from "./words.js";
import { items, listen, nowMs } from "./plant.js";
import { empty, mark } from "./signs.js";
import { command } from "./api.js";
import { ask, attempt } from "./forms.js";
import { may } from "./who.js";

const KINDS = ["hot_work", "confined_space", "blind_plate", "height", "lifting", "temporary_power", "earth", "road_closing", "plugging", "tank_cleaning", "water_draining", "unplanned_maintenance"];
const VERBS = { received: ["approve", "cancel"], approved: ["start", "cancel"], active: ["suspend", "end"], suspended: ["resume", "end"], ended: ["close"], closed: [] };

export function mount(page) {
  let chosen = new URLSearchParams(location.search).get("ticket");
  let drawn = "";
  const list = h("tbody");
  const side = h("aside", { class: "side", "aria-live": "polite" });
  page.append(h("div", { class: "split" }, h("section", {},
    h("div", { class: "tools" }, may("permit.enter") ? h("button", { class: "main", onclick: enter }, t("work.enter")) : null),
    h("div", { class: "scroll" }, h("table", { class: "list" }, h("thead", {}, h("tr", {}, ["work.ticket", "work.kind", "work.level_label", "work.area", "work.state", "work.remaining", "work.violations"].map((key) => h("th", { scope: "col" }, t(key))))), list))), side));

  function draw() {
    const jobs = items("work").map(([, one]) => one);
    const rank = (one) => (one.counted === "closed" ? 3 : one.counted === "ended" ? 2 : one.standing ? 0 : 1);
    jobs.sort((a, b) => rank(a) - rank(b) || b.plan_start_ns - a.plan_start_ns);
    const held = document.activeElement?.dataset?.ticket;
    settle(list, jobs.length ? jobs.map(row) : [h("tr", {}, h("td", { colspan: 7 }, empty(t("work.none"))))]);
    if (held) list.querySelector(`[data-ticket="${CSS.escape(held)}"]`)?.focus();
    const one = jobs.find((job) => job.ticket_no === chosen);
    const now = one ? JSON.stringify(one) : "";
    if (now !== drawn || !one) {
      drawn = now;
      const act = document.activeElement?.dataset?.act;
      side.replaceChildren(...(one ? detail(one) : [empty(t("work.choose"))]));
      if (act) side.querySelector(`[data-act="${act}"]`)?.focus();
    }
  }

  function row(one) {
    const choose = () => { chosen = one.ticket_no; history.replaceState(null, "", `/work?${new URLSearchParams({ ticket: chosen })}`); draw(); };
    return h("tr", { tabindex: 0, "data-ticket": one.ticket_no, class: `${one.standing ? "waits" : ""} ${chosen === one.ticket_no ? "chosen" : ""} ${["ended", "closed"].includes(one.counted) ? "aside" : ""}`, onclick: choose, onkeydown: (event) => { if (event.key === "Enter") choose(); } },
      h("td", { class: "name" }, one.ticket_no), h("td", {}, word("work", one.work)), h("td", {}, word("level", one.level)), h("td", {}, one.area || one.place, blind(one) ? h("br") : null, blind(one) ? mark("bad", t("work.not_watched")) : null),
      h("td", {}, word("permit", one.counted), one.waiting_for.length ? h("small", {}, t("work.waits_short")) : null),
      h("td", { class: "time" }, remaining(one)),
      h("td", {}, one.standing ? mark("bad", t("work.violated", { n: one.standing })) : t("work.all", { n: one.violations })));
  }

  // A permit whose place the site file does not know: nothing there is watched, and that is said.
  function blind(one) {
    return one.watched === false && !["ended", "closed"].includes(one.counted);
  }

  function remaining(one) {
    if (["ended", "closed"].includes(one.counted) || !one.plan_end_ns) return "–";
    const left = one.plan_end_ns / 1e6 - nowMs();
    return left < 0 ? mark("bad", t("work.late", { span: span(-left) })) : t("work.left", { span: span(left) });
  }

  function detail(one) {
    const english = document.documentElement.lang === "en";
    const site = one.counted === "approved" && one.started_ns ? "active" : one.counted;
    const verbs = VERBS[site] ?? [];
    return [
      h("h2", {}, `${word("work", one.work)} ${word("level", one.level)} · ${one.ticket_no}`),
      h("p", { class: "headline" }, word("permit", one.counted), one.special_time.length ? h("em", { class: "tag" }, one.special_time.map((why) => word("special", why)).join("、")) : null),
      blind(one) ? h("p", { class: "refused" }, t("work.not_watched_long", { name: one.area || one.place || "–" })) : null,
      one.waiting_for.length ? h("p", { class: "refused" }, t("work.waits", { what: one.waiting_for.map((code) => word("condition", code)).join("、") })) : null,
      h("div", { class: "buttons" }, may("permit.change") ? verbs.map((verb) => change(one, verb)) : null,
        may("permit.gas") && !["ended", "closed"].includes(one.counted) ? h("button", { "data-act": "gas", onclick: () => gas(one) }, t("work.gas")) : null,
        one.record ? h("a", { class: "button", href: `/api/evidence/${encodeURIComponent(one.record)}`, target: "_blank", rel: "noopener" }, t("work.record")) : null),
      h("section", {}, h("h3", {}, t("work.violations_now")), one.now_violated.length ? h("ul", { class: "violations" }, one.now_violated.map((found) => h("li", {},
        h("b", {}, found.stop ? h("em", { class: "tag bad" }, t("work.stop")) : null, english ? found.en : found.zh),
        h("small", {}, `${found.citation} · ${moment(found.raised_ns)}`)))) : empty(t("work.no_violations"))),
      h("section", {}, h("h3", {}, t("work.analyses")), one.analyses.length ? h("ol", { class: "steps" }, [...one.analyses].reverse().map((found) => h("li", {},
        h("time", {}, moment(found.time_ns)), h("b", {}, `${found.gas} ${number(found.value, found.unit)}`), h("span", {}, [found.place, found.analyst].filter(Boolean).join(" · "))))) : empty(t("work.no_analyses"))),
      h("dl", {}, [["work.area", one.area], ["alarms.place", one.place], ["work.content", one.content], ["work.guardian", one.guardian], ["work.worker", one.worker], ["work.company", one.company],
        ["work.planned", one.plan_start_ns || one.plan_end_ns ? `${moment(one.plan_start_ns)} – ${moment(one.plan_end_ns)}` : ""], ["work.started", one.started_ns ? moment(one.started_ns) : ""], ["work.ended", one.ended_ns ? moment(one.ended_ns) : ""],
        ["work.camera", one.camera], ["work.detectors", one.detectors]].filter(([, value]) => value).map(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)])),
    ].filter(Boolean);
  }

  const stop = listen(draw);
  const timer = setInterval(draw, 5000);
  draw();
  return () => { clearInterval(timer); stop(); };
}

function change(one, verb) {
  const does = (said) => command("permit.change", { ticket: one.ticket_no, verb, reason: said.reason ?? "" });
  if (["approve", "start", "resume"].includes(verb)) {
    return h("button", { class: "main", "data-act": verb, onclick: (event) => attempt(event.currentTarget, () => does({}), t("done")) }, t(`permit_verb.${verb}`));
  }
  return h("button", { "data-act": verb, onclick: () => ask({
    title: `${t(`permit_verb.${verb}`)} · ${one.ticket_no}`, button: t(`permit_verb.${verb}`), done: t("done"),
    fields: [{ name: "reason", label: t("field.reason"), wide: true, required: verb === "cancel" }], action: does,
  }) }, t(`permit_verb.${verb}`));
}

function gas(one) {
  ask({
    title: `${t("work.gas")} · ${one.ticket_no}`, button: t("work.gas_enter"), done: t("done"),
    fields: [
      { name: "gas", label: t("gas.gas"), required: true, hint: t("gas.gas_hint") },
      { name: "value", label: t("gas.value"), type: "number", step: "any", required: true },
      { name: "unit", label: t("gas.unit"), options: ["%vol", "%LEL", "ppm", "mg/m3"].map((unit) => [unit, unit]), required: true },
      { name: "time", label: t("gas.time"), type: "moment", required: true, value: localNow() },
      { name: "place", label: t("gas.place") },
      { name: "analyst", label: t("gas.analyst") },
    ],
    action: (said) => command("permit.gas", { analysis: { ...said, permit: one.ticket_no } }),
  });
}

function enter() {
  ask({
    title: t("work.enter"), about: t("work.enter_about"), button: t("work.enter_button"), done: t("done"),
    fields: [
      { name: "ticket_no", label: t("work.ticket"), required: true },
      { name: "work", label: t("work.kind"), options: KINDS.map((kind) => [kind, word("work", kind)]), required: true },
      { name: "level", label: t("work.level_label"), options: ["", "special", "first", "second"].map((level) => [level, level ? word("level", level) : t("work.no_level")]) },
      { name: "area", label: t("work.area"), hint: t("work.area_hint") },
      { name: "plan_start", label: t("work.from"), type: "moment", required: true, value: localNow() },
      { name: "plan_end", label: t("work.to"), type: "moment", required: true, value: localNow(8) },
      { name: "content", label: t("work.content"), wide: true },
      { name: "guardian", label: t("work.guardian"), required: true },
      { name: "guardian_card", label: t("work.guardian_card") },
      { name: "worker", label: t("work.worker") },
      { name: "camera", label: t("work.camera") },
      { name: "detectors", label: t("work.detectors") },
      { name: "related_tickets", label: t("work.related") },
      { name: "height_m", label: t("work.height_m"), type: "number", step: "any", min: 0 },
      { name: "load_t", label: t("work.load_t"), type: "number", step: "any", min: 0 },
      { name: "depth_m", label: t("work.depth_m"), type: "number", step: "any", min: 0 },
      { name: "pipe", label: t("work.pipe") },
      { name: "upgraded", label: t("work.upgraded"), type: "checkbox" },
      { name: "status", label: t("work.status"), options: ["approved", "received"].map((state) => [state, word("permit", state)]) },
    ],
    action: (said) => command("permit.enter", { permit: said }),
  });
}

// Plant time for a field, whatever zone and habits the browser has.
function localNow(plusHours = 0) {
  return new Date(nowMs() + (8 + plusHours) * 36e5).toISOString().slice(0, 16).replace("T", " ");
}
