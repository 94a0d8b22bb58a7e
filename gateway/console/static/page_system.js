// System: sources, links to the platform, the buffer, who is called, and health in words.

import { h, settle } from "./dom.js";
import { bytes, hours, moment, number, t } from "./words.js";
import { items, listen, plant } from "./plant.js";
import { empty, linked, mark } from "./signs.js";

export function mount(page) {
  const parts = { health: h("section"), sources: h("section"), uplinks: h("section"), buffer: h("section"), about: h("section") };
  page.append(h("div", { class: "one system" }, Object.values(parts)));

  function draw() {
    const health = items("health").filter(([name]) => name !== "state");
    settle(parts.health, [h("h2", {}, t("system.health"), " ", mark({ ok: "good", degraded: "warn", failed: "bad" }[plant.sections.health?.state] ?? "dull", t(`health.${plant.sections.health?.state ?? "unknown"}`))),
      h("ul", { class: "plainlist" }, health.map(([name, part]) => h("li", {}, mark(part.ok ? "good" : "bad", name), " ", part.text)))]);
    const sources = items("sources").sort(([a, x], [b, y]) => (x.connected === false ? 0 : 1) - (y.connected === false ? 0 : 1) || a.localeCompare(b));
    table(parts.sources, "system.sources", ["system.name", "system.driver", "system.link", "system.since", "system.period", "system.timeouts", "system.exceptions", "system.text"],
      sources.map(([name, one]) => [h("b", {}, name), one.driver, linked(one.connected), h("time", {}, moment(one.since_ns)), !one.period_ms ? "–" : `${number(one.period_ms)} ms`, number(one.timeouts), number(one.exceptions), one.text]));
    table(parts.uplinks, "system.uplinks", ["system.name", "system.target", "system.link", "system.backlog", "system.lag", "system.rejected", "system.reconnects", "system.text"],
      items("uplinks").map(([name, one]) => [h("b", {}, name), one.target, linked(one.connected), number(one.backlog_records), one.live_lag_ms === null ? "–" : `${number(one.live_lag_ms)} ms`, number(one.rejected_records), number(one.reconnects), one.text]));
    table(parts.buffer, "system.buffer", ["system.stream", "system.used", "system.quota", "system.held", "system.capacity"],
      items("buffer").map(([name, one]) => [h("b", {}, t(`stream.${name}`)), bytes(one.used_bytes), bytes(one.quota_bytes), hours(one.held_hours), hours(one.capacity_hours)]));
    settle(parts.about, [h("h2", {}, t("system.about")), h("dl", {}, [["system.gateway", plant.site.gateway], ["system.enterprise", plant.site.enterprise], ["system.software", plant.site.software],
      ["system.points", number(plant.sections.flow?.points ?? null)], ["system.values", number(plant.sections.flow?.values_per_s ?? null, t("unit.per_s"))],
      ["system.calls", plant.sections.duty?.calls === undefined ? t("system.no_duty") : number(plant.sections.duty.calls)],
      ["system.raised", (plant.sections.risk?.raised ?? []).join(", ")]].filter(([, value]) => value).map(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)]))]);
  }
  draw();
  return listen(draw);
}

function table(section, title, heads, rows) {
  settle(section, [h("h2", {}, t(title)), rows.length ? h("div", { class: "scroll" }, h("table", { class: "list" },
    h("thead", {}, h("tr", {}, heads.map((key) => h("th", { scope: "col" }, t(key))))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell))))))) : empty(t("system.none"))]);
}
