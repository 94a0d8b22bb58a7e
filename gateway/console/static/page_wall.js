// The wall 大屏: what calls people, readable from 5 m. Nothing here is clicked.
// Sizes are in rem of a 1920-wide screen (wall.css), so it fills any screen of that shape.

import { h, Nodes, settle } from "./dom.js";
import { clock, day, hours, number, since, span, t, word } from "./words.js";
import { isAside, items, listen, nowMs, plant, ranked, waits } from "./plant.js";
import { called, conditionWord, limitText, mark, sign, signOf, sourceParts, stateWord, valueText } from "./signs.js";

export function mount(page) {
  const head = h("section", { class: "w-head" });
  const tiles = h("section", { class: "w-tiles", "aria-label": t("page.alarms") });
  const list = h("ol", { class: "w-alarms", "aria-label": t("wall.alarms") });
  const more = h("p", { class: "w-more" });
  const areas = h("section", { class: "w-areas" });
  const work = h("section", { class: "w-work" });
  const cameras = h("section", { class: "w-cameras" });
  const foot = h("footer", { class: "w-foot" });
  page.append(h("div", { class: "wall" }, head, tiles,
    h("div", { class: "w-left" }, list, more),
    h("div", { class: "w-right" }, areas, work, cameras), foot));
  const rows = new Nodes(alarmRow);

  function draw() {
    settle(head, header());
    settle(tiles, [1, 2, 3, 4].map(tile));
    const calling = ranked([...plant.alarms.values()]).filter((row) => !isAside(row) && !row.declaration);
    const room = Math.max(1, Math.floor((list.clientHeight / rem() + 0.45) / 4.9));
    const shown = calling.slice(0, room);
    const today = day(new Date(nowMs()));
    settle(list, shown.length ? rows.of(shown, (row) => row.key, today) : [h("li", { class: "w-quiet" }, t("wall.quiet"))]);
    const outside = hiddenCount(shown);
    more.replaceChildren(outside > 0 ? t("wall.more", { n: outside }) : "", aside());
    settle(areas, section(t("wall.areas"), areaCards(), t("wall.no_areas")));
    settle(work, section(t("wall.work"), workCards(), t("wall.no_work")));
    settle(cameras, section(t("page.cameras"), cameraCards(), ""));
    settle(foot, footer());
  }
  const timer = setInterval(draw, 1000);
  const stop = listen(draw);
  addEventListener("resize", draw);
  draw();
  return () => { clearInterval(timer); stop(); removeEventListener("resize", draw); };
}

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

function header() {
  const now = new Date(nowMs());
  const grade = plant.sections.risk?.grade;
  return [
    h("h1", {}, plant.site.gateway ?? "plantgate", h("small", {}, plant.site.enterprise ?? "")),
    grade ? h("span", { class: `w-grade g-${grade}` }, t("wall.grade"), h("b", {}, t(`grade.${grade}`))) : "",
    h("div", { class: "w-links" }, items("uplinks").map(([name, link]) =>
      h("span", {}, `${t("wall.uplink")} ${name} `, mark(link.connected ? "good" : "bad", link.connected ? t("link.up") : t("link.down")),
        link.connected && !(link.backlog_records > 100) ? null : h("em", {}, t("wall.backlog", { n: number(link.backlog_records) }))))),
    h("time", { class: "w-clock" }, h("small", {}, day(now)), clock(now)),
  ];
}

function tile(priority) {
  const active = plant.count.by_priority?.[priority] ?? 0;
  const waiting = plant.count.unacknowledged_by_priority?.[priority] ?? 0;
  return h("div", { class: `w-tile p${priority} ${active || waiting ? "some" : "none"}` }, sign(priority, waiting > 0),
    h("b", {}, String(active)), h("span", {}, t(`priority.${priority}`)),
    h("em", { class: waiting ? "some" : "none" }, t("wall.waiting", { n: waiting })));
}

function alarmRow(row) {
  const [source, subject] = sourceParts(row);
  const where = [row.description, subject, called(row.place)].filter(Boolean).join(" · ");
  return h("li", { class: `w-alarm p${row.priority} ${waits(row) ? "waits" : "known"} ${row.active ? "" : "gone"}` },
    signOf(row),
    h("div", { class: "w-what" }, h("b", {}, source), h("span", {}, conditionWord(row)), where ? h("small", {}, where) : null),
    h("div", { class: "w-value" }, h("b", {}, valueText(row)), h("small", {}, limitText(row))),
    h("div", { class: "w-state" }, h("b", {}, stateWord(row)), h("small", {}, since(row.raised_ns, nowMs()))));
}

function hiddenCount(shown) {
  const { total = 0, shelved = 0, suppressed = 0, out_of_service: out = 0, under_test: test = 0 } = plant.count;
  return total - shelved - suppressed - out - test - shown.length;
}

function aside() {
  const { shelved = 0, suppressed = 0, out_of_service: out = 0, under_test: test = 0 } = plant.count;
  const parts = [["state.shelved", shelved], ["state.suppressed_by_design", suppressed], ["state.out_of_service", out], ["state.under_test", test]];
  return h("span", { class: "w-aside" }, parts.filter(([, n]) => n).map(([key, n]) => h("span", {}, `${t(key)} ${n}`)));
}

function section(title, cards, none) {
  if (!cards.length && !none) return [];
  return [h("h2", {}, title), cards.length ? h("div", { class: "w-cards" }, cards) : h("p", { class: "empty" }, none)];
}

function areaCards() {
  const rank = (area) => (area.over ? 0 : area.judged ? 1 : 2);
  return items("areas").sort(([a, x], [b, y]) => rank(x) - rank(y) || a.localeCompare(b)).slice(0, 4).map(([name, area]) => {
    const people = Math.max(area.cameras ?? -1, area.positioning ?? -1);
    const known = people >= 0;
    return h("div", { class: `w-area ${area.over ? "bad" : ""}` }, h("h3", {}, name),
      h("p", { class: "w-people" }, h("b", {}, known ? String(people) : "?"), h("span", {}, area.most === null ? t("wall.people") : t("wall.of_people", { most: area.most }))),
      h("small", {}, area.over ? h("strong", {}, t("area.over")) : area.judged ? t(`area.${area.kind}`) : t("area.not_judged")),
      h("small", {}, t("area.counts", { cameras: number(area.cameras), positioning: number(area.positioning) })));
  });
}

function workCards() {
  const open = items("work").filter(([, one]) => !["ended", "closed"].includes(one.counted));
  const rank = (one) => (one.standing ? 0 : one.counted === "active" ? 1 : 2);
  return open.sort(([, a], [, b]) => rank(a) - rank(b) || a.plan_end_ns - b.plan_end_ns).slice(0, 4).map(([ticket, one]) => {
    const leftMs = one.plan_end_ns / 1e6 - nowMs();
    const late = one.plan_end_ns && leftMs < 0;
    return h("div", { class: `w-job ${one.standing ? "bad" : ""}` },
      h("h3", {}, `${word("work", one.work)} ${one.level ? word("level", one.level) : ""}`, h("small", {}, ticket)),
      h("p", {}, h("span", {}, one.area || one.place || "–"), h("span", {}, word("permit", one.counted)),
        h("b", { class: late ? "late" : "" }, one.plan_end_ns ? (late ? t("work.late", { span: span(-leftMs) }) : t("work.left", { span: span(leftMs) })) : "")),
      one.now_violated.length
        ? h("p", { class: "w-violated" }, h("strong", {}, t("work.violated", { n: one.now_violated.length })), " ", violation(one.now_violated[0]))
        : one.waiting_for.length ? h("p", {}, t("work.waits", { what: one.waiting_for.map((code) => word("condition", code)).join("、") })) : null);
  });
}

export function violation(one) {
  return document.documentElement.lang === "en" ? one.en : one.zh;
}

function cameraCards() {
  return items("cameras").slice(0, 6).map(([name, camera]) => {
    const bad = camera.connected === false || camera.view;
    return h("div", { class: `w-camera ${bad ? "bad" : ""}` }, h("b", {}, name),
      bad ? mark("bad", camera.view ? word("view", camera.view) : t("camera.lost"))
        : h("span", {}, camera.zones.map((zone) => `${zone.name} ${number(zone.people)}${zone.most === null ? "" : `/${zone.most}`}`).join("  ")),
      camera.recording ? mark("warn", t("camera.recording")) : null);
  });
}

function footer() {
  const { telemetry } = plant.sections.buffer ?? {};
  const sources = items("sources");
  const lost = sources.filter(([, one]) => one.connected === false);
  const health = plant.sections.health?.state;
  return [
    h("span", {}, t("wall.sources", { n: sources.length - lost.length, all: sources.length }),
      lost.length ? mark("bad", `${t("link.down")}: ${lost.map(([name]) => name).slice(0, 4).join(", ")}${lost.length > 4 ? " …" : ""}`) : null),
    h("span", {}, t("wall.flow", { n: number(plant.sections.flow?.values_per_s ?? null) })),
    h("span", {}, t("wall.buffer", { hours: hours(telemetry?.capacity_hours ?? null) })),
    health ? h("span", {}, `${t("wall.health")} `, mark({ ok: "good", degraded: "warn", failed: "bad" }[health] ?? "dull", t(`health.${health}`))) : "",
    plant.sections.duty?.calls ? h("span", {}, t("wall.calls", { n: plant.sections.duty.calls })) : "",
  ].filter(Boolean);
}
