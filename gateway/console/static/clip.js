// Plays a clip where it stands: cameras write JPEG pictures into an AVI file, which no browser
// plays as a film, and every browser shows picture by picture.
//
// Guarantees: nothing is fetched until somebody asks for it; a file that is torn shows what is whole
// of it; one picture is held as an address at a time, and none once the clip is off the page.

import { h } from "./dom.js";
import { t } from "./words.js";

const MOST_BYTES = 64e6;

// [start, size] of each picture, and ms between two, of RIFF AVI (vision/clip.py writes it).
export function picturesOf(buffer) {
  const view = new DataView(buffer);
  const name = (at) => String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));
  const found = { pictures: [], everyMs: 500 };
  if (buffer.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "AVI ") return found;
  let at = 12;
  while (at + 8 <= buffer.byteLength) {
    const size = view.getUint32(at + 4, true);
    const what = name(at);
    if (what === "LIST") { at += 12; continue; }  // its chunks follow
    if (what === "avih" && at + 12 <= buffer.byteLength) found.everyMs = Math.max(40, view.getUint32(at + 8, true) / 1000);
    if (what === "00dc" && at + 8 + size <= buffer.byteLength) found.pictures.push([at + 8, size]);
    at += 8 + size + (size % 2);
  }
  return found;
}

export function clip(address) {
  const image = h("img", { alt: t("alarms.clip"), hidden: true });
  const slider = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": t("clip.where"), hidden: true });
  const told = h("span", { class: "clip-time" });
  const button = h("button", { "data-act": "clip" }, t("clip.play"));
  let buffer = null, film = null, at = 0, timer = 0, shown = "";

  function show() {
    const [start, size] = film.pictures[at];
    const before = shown;
    shown = URL.createObjectURL(new Blob([new Uint8Array(buffer, start, size)], { type: "image/jpeg" }));
    image.setAttribute("src", shown);
    if (before) URL.revokeObjectURL(before);
    slider.value = at;
    told.textContent = t("clip.at", { at: (at * film.everyMs / 1000).toFixed(1), of: ((film.pictures.length - 1) * film.everyMs / 1000).toFixed(1) });
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    button.textContent = t("clip.play");
  }
  function go() {
    if (at >= film.pictures.length - 1) at = 0;
    button.textContent = t("clip.pause");
    timer = setInterval(() => {
      if (!image.isConnected) { stop(); URL.revokeObjectURL(shown); return; }
      if (at >= film.pictures.length - 1) { stop(); return; }
      at += 1;
      show();
    }, film.everyMs);
  }
  async function load() {
    const answer = await fetch(address, { credentials: "same-origin" });
    if (!answer.ok || Number(answer.headers.get("Content-Length") ?? 0) > MOST_BYTES) throw new Error(t("clip.no"));
    buffer = await answer.arrayBuffer();
    film = picturesOf(buffer);
    if (!film.pictures.length) { film = null; throw new Error(t("clip.no")); }
    slider.max = film.pictures.length - 1;
    image.hidden = slider.hidden = false;
    show();
  }
  button.addEventListener("click", async () => {
    if (timer) { stop(); return; }
    button.disabled = true;
    try {
      if (!film) await load();
      go();
    } catch (error) {
      told.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  slider.addEventListener("input", () => { stop(); at = Number(slider.value); show(); });
  return h("div", { class: "clip" }, image, h("div", { class: "clip-bar" }, button, slider, told));
}
