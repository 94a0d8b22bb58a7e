// Declared tests 标气测试, calibrations 校准 and outages 停用检修: they hide nothing, they mark.

import { h, settle } from "./dom.js";
import { moment, t, word } from "./words.js";
import { items, listen } from "./plant.js";
import { empty } from "./signs.js";
import { command } from "./api.js";
import { ask } from "./forms.js";
import { may } from "./who.js";

export function mount(page) {
  const list = h("tbody");
  page.append(h("section", { class: "one" },
    h("div", { class: "tools" }, may("declare.begin") ? h("button", { class: "main", onclick: begin }, t("declare.begin")) : null), h("p", { class: "about" }, t("declare.about")),
    h("div", { class: "scroll" }, h("table", { class: "list" }, h("thead", {}, h("tr", {}, ["declare.kind", "declare.scope", "declare.name", "declare.person", "field.reason", "declare.start", "declare.end", "declare.alarms", ""].map((key) => h("th", { scope: "col" }, key ? t(key) : "")))), list))));
  function draw() {
    const all = items("declarations").sort(([, a], [, b]) => a.end_ns - b.end_ns);
    settle(list, all.length ? all.map(([id, one]) => h("tr", { class: one.running ? "" : "aside" },
      h("td", {}, word("declaration", one.kind), one.running ? null : h("small", {}, t("declare.later"))), h("td", {}, word("scope", one.scope)), h("td", { class: "name" }, one.name), h("td", {}, one.person), h("td", {}, one.reason),
      h("td", { class: "time" }, moment(one.start_ns)), h("td", { class: "time" }, moment(one.end_ns)), h("td", { class: "value" }, String(one.alarms)),
      h("td", {}, may("declare.end") ? h("button", { onclick: () => ask({ title: `${t("declare.stop")} · ${one.name}`, about: t("declare.stop_about"), fields: [], button: t("declare.stop"), done: t("done"), action: () => command("declare.end", { id }) }) }, t("declare.stop")) : null)))
      : [h("tr", {}, h("td", { colspan: 9 }, empty(t("declare.none"))))]);
  }
  draw();
  return listen(draw);
}

function begin() {
  ask({
    title: t("declare.begin"), about: t("declare.about"), button: t("declare.begin_button"), done: t("done"),
    fields: [
      { name: "kind", label: t("declare.kind"), options: ["span_gas", "calibration", "maintenance"].map((kind) => [kind, word("declaration", kind)]), required: true },
      { name: "scope", label: t("declare.scope"), options: ["point", "device", "place"].map((scope) => [scope, word("scope", scope)]), required: true },
      { name: "name", label: t("declare.name"), required: true, wide: true, hint: t("declare.name_hint") },
      { name: "minutes", label: t("declare.minutes"), type: "number", min: 1, step: 1, value: 30, required: true },
      { name: "after_minutes", label: t("declare.after"), type: "number", min: 0, step: 1, value: 0 },
      { name: "reason", label: t("field.reason"), required: true, wide: true },
    ],
    action: (said) => command("declare.begin", said),
  });
}
