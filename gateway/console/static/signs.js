// Signs that pages share: a priority is a shape, a number and a word beside its colour, so that
// nobody depends on colour. Only the sign of an unacknowledged alarm blinks, never its text.

import { h, s } from "./dom.js";
import { t, word, number } from "./words.js";
import { plant, waits } from "./plant.js";

const SHAPES = {
  1: "M16 1 31 16 16 31 1 16z",
  2: "M16 2 31 29H1z",
  3: "M3 4h26v24H3z",
  4: "M16 2a14 14 0 1 0 0 28 14 14 0 0 0 0-28z",
};

export function sign(priority, blinks = false) {
  const shown = SHAPES[priority] ? priority : 4;
  return s("svg", { class: `sign p${shown}${blinks ? " blink" : ""}`, viewBox: "0 0 32 32", role: "img", "aria-label": `${t(`priority.${shown}`)}${blinks ? `, ${t("state.unacknowledged")}` : ""}` },
    s("path", { d: SHAPES[shown] }),
    s("text", { x: 16, y: shown === 2 ? 26 : 22, "text-anchor": "middle" }, String(priority)));
}

export const signOf = (row) => sign(row.priority, waits(row) && !row.declaration);

// An alarm's source for people, and what of it: a point as it is, an area and a permit by their kind
// and name, of a permit also the point or camera.
export function sourceParts(row) {
  const [kind, ...rest] = row.source.split("/");
  if (kind === "area") return [t("source.area", { name: rest.join("/") }), ""];
  const [ticket, ...subject] = rest;
  return kind === "permit" ? [t("source.permit", { name: ticket }), subject.join("/")] : [row.source, ""];
}

// What people call a place, a hazard or a piece of equipment: its description in the site file.
export const called = (name) => plant.site.descriptions?.[name] || name;

export function sourceText(row) {
  return sourceParts(row).filter(Boolean).join(" · ");
}

export const stateWord = (row) => word("state", row.state);

export function conditionWord(row) {
  return word("condition", row.condition);
}

export function valueText(row) {
  return number(row.value, row.unit);
}

export function limitText(row) {
  if (row.limit === null) return "";
  return t("alarm.limit", { limit: number(row.limit, row.unit === "people" ? "" : row.unit) });
}

// A state as a mark with a word: good, warn, bad, dull.
export function mark(kind, text, title = "") {
  return h("span", { class: `mark ${kind}`, title: title || null }, h("i", { "aria-hidden": "true" }), text);
}

export function linked(connected) {
  if (connected === null || connected === undefined) return mark("dull", t("link.unknown"));
  return connected ? mark("good", t("link.up")) : mark("bad", t("link.down"));
}

export function empty(text) {
  return h("p", { class: "empty" }, text);
}
