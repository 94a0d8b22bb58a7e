// Words of the page in the chosen language (zh.json, en.json), sentences of the gateway and the
// console in Chinese (said.json), and how numbers and times are said.
// Times are plant time, UTC+8, wherever the browser stands.

const KEPT = "plantgate.language";
let words = {};
let sentences = [];
let language = "zh";
const zone = "Asia/Shanghai";
const time = new Intl.DateTimeFormat("zh-CN", { timeZone: zone, hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" });

export function chosen() {
  return language;
}

export async function choose(wanted) {
  const kept = wanted ?? localStorage.getItem(KEPT) ?? (navigator.language.startsWith("zh") ? "zh" : "en");
  language = kept === "en" ? "en" : "zh";
  localStorage.setItem(KEPT, language);
  const answer = await fetch(`/static/${language}.json`);
  words = await answer.json();
  const said = language === "zh" ? await (await fetch("/static/said.json")).json() : {};
  sentences = Object.entries(said).map(([sentence, text]) => [patternOf(sentence), text]);
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

// A text with {name} filled in. A key without a text is shown itself: that is a mistake to be seen.
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// A sentence of the gateway or the console, which speak English: in Chinese where said.json has it.
export function sentence(said) {
  for (const [pattern, text] of sentences) {
    const found = pattern.exec(said);
    if (found) return text.replace(/\{(\w+)\}/g, (_, name) => found.groups[name]);
  }
  return said;
}

function patternOf(said) {
  const parts = said.split(/\{(\w+)\}/).map((part, at) => at % 2 ? `(?<${part}>.+?)` : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("")}\\.?$`, "s");
}

// A word of the gateway, such as a condition: translated where known, else as it is.
export function word(group, raw) {
  if (!raw) return "";
  const [kind, ...rest] = String(raw).split(/[.:](?=\D)/);
  const known = words[`${group}.${raw}`] ?? words[`${group}.${kind}`];
  if (known === undefined) return String(raw).replaceAll("_", " ");
  return words[`${group}.${raw}`] || !rest.length ? known : `${known} ${rest.join(".").replaceAll("_", " ")}`;
}

// A unit: what stands for a word is translated, symbols are the same in both languages.
export const unitWord = (unit) => words[`unit.${unit}`] ?? unit;

export function number(value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const text = Math.abs(value) >= 1e7 || (value !== 0 && Math.abs(value) < 1e-4)
    ? value.toExponential(3) : String(Number(value.toPrecision(6)));
  return unit ? `${text} ${unitWord(unit)}` : text;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const step = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < step.length - 1) { value /= 1000; at += 1; }
  return `${Number(value.toPrecision(3))} ${step[at]}`;
}

export function hours(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return t("time.minutes", { n: Math.round(value * 60) });
  return value >= 48 ? t("time.days", { n: Math.floor(value / 24) }) : t("time.hours", { n: Number(value.toPrecision(2)) });
}

export const ms = (ns) => ns / 1e6;
export const clock = (at) => time.format(at);
export const day = (at) => date.format(at);

export function moment(ns) {
  if (!ns) return "–";
  const at = new Date(ms(ns));
  return `${day(at)} ${clock(at)}`;
}

// Short: the time of today, else with the day.
export function since(ns, nowMs) {
  if (!ns) return "–";
  const at = new Date(ms(ns));
  return day(at) === day(new Date(nowMs)) ? clock(at) : `${day(at).slice(5)} ${clock(at).slice(0, 5)}`;
}

export function span(milliseconds) {
  const total = Math.max(0, Math.floor(milliseconds / 1000));
  const [d, hh, m, sec] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60, total % 60];
  const two = (n) => String(n).padStart(2, "0");
  return d ? t("time.span_days", { d, h: hh }) : hh ? `${hh}:${two(m)}:${two(sec)}` : `${m}:${two(sec)}`;
}
