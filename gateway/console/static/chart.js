// A trend: mean as a line, least to greatest as a band, limits as dashed lines with their names, and
// where values were bad, a hatched foot. Pure: rows [start_ns, low, mean, high, used, bad] to an SVG.

import { s } from "./dom.js";
import { clock, day, number, t } from "./words.js";

const PAD = { left: 52, right: 34, top: 14, bottom: 26 };

// size: [width, height] in px as it is shown, so that its words keep their size.
export function trend(found, fromMs, toMs, limits, size) {
  const [W, H] = size;
  const rows = found.rows.map(([ns, ...rest]) => [ns / 1e6, ...rest]);
  const drawn = rows.filter((row) => row[2] !== null);
  const named = Object.entries(limits).filter(([, value]) => value !== null && value !== undefined);
  const bounds = [...drawn.flatMap((row) => [row[1], row[3]]), ...named.map(([, value]) => value)];
  let low = Math.min(...bounds);
  let high = Math.max(...bounds);
  if (!bounds.length) { low = 0; high = 1; }
  const margin = (high - low || Math.abs(high) || 1) * 0.06;
  low -= margin;
  high += margin;
  const x = (ms) => PAD.left + (ms - fromMs) / (toMs - fromMs) * (W - PAD.left - PAD.right);
  const y = (value) => H - PAD.bottom - (value - low) / (high - low) * (H - PAD.top - PAD.bottom);
  const step = found.step_ns / 1e6;
  const parts = runs(drawn, step);
  const path = (points) => points.map(([px, py], at) => `${at ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
  return s("svg", { class: "trend", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": t("values.trend_of", { point: found.point }) },
    ticks(low, high, 5).map((value) => [
      s("line", { class: "grid", x1: PAD.left, x2: W - PAD.right, y1: y(value), y2: y(value) }),
      s("text", { class: "axis", x: PAD.left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value))]),
    times(fromMs, toMs, W / 75).map((ms) => [
      s("line", { class: "grid", x1: x(ms), x2: x(ms), y1: PAD.top, y2: H - PAD.bottom }),
      s("text", { class: "axis", x: x(ms), y: H - 10, "text-anchor": "middle" }, toMs - fromMs > 36e5 * 25 ? day(ms).slice(5) : clock(ms).slice(0, 5))]),
    rows.filter((row) => row[5] > 0).map((row) => s("rect", { class: "badtime", x: x(row[0]), width: Math.max(1, x(row[0] + step) - x(row[0])), y: H - PAD.bottom - 8, height: 8 })),
    parts.map((part) => s("path", { class: "band", d: `${path(part.map((row) => [x(row[0] + step / 2), y(row[3])]))}L${[...part].reverse().map((row) => `${x(row[0] + step / 2).toFixed(1)} ${y(row[1]).toFixed(1)}`).join("L")}Z` })),
    parts.map((part) => part.length > 1
      ? s("path", { class: "mean", d: path(part.map((row) => [x(row[0] + step / 2), y(row[2])])) })
      : s("circle", { class: "dot", cx: x(part[0][0] + step / 2), cy: y(part[0][2]), r: 2.5 })),
    named.map(([name, value]) => [
      s("line", { class: `limit ${name}`, x1: PAD.left, x2: W - PAD.right, y1: y(value), y2: y(value) }),
      s("text", { class: "limitname", x: W - PAD.right + 6, y: y(value) + 4 }, t(`limit.${name}`))]),
    drawn.length ? null : s("text", { class: "axis", x: W / 2, y: H / 2, "text-anchor": "middle" }, t("values.no_history")));
}

// Minutes that follow each other without a hole.
function runs(rows, step) {
  const found = [];
  for (const row of rows) {
    const last = found.at(-1);
    if (last && row[0] - last.at(-1)[0] <= step * 1.5) last.push(row); else found.push([row]);
  }
  return found;
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high && found.length < 20; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

const STEPS = [1, 5, 10, 15, 30, 60, 120, 240, 720, 1440].map((minutes) => minutes * 6e4);

function times(fromMs, toMs, most) {
  const step = STEPS.find((one) => (toMs - fromMs) / one <= most) ?? STEPS.at(-1);
  const offset = 8 * 36e5; // plant time
  const found = [];
  for (let at = Math.ceil((fromMs + offset) / step) * step - offset; at <= toMs; at += step) found.push(at);
  return found;
}
