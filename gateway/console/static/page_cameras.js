// Cameras: the picture of now, counts against limits, and what is wrong.

import { h, settle } from "./dom.js";
import { moment, number, sentence, t, word } from "./words.js";
import { items, listen, stale } from "./plant.js";
import { empty, mark } from "./signs.js";

const EVERY_MS = 10000;

export function mount(page) {
  const cards = new Map();
  const grid = h("div", { class: "cards" });
  page.append(grid);

  function draw() {
    const all = items("cameras");
    if (!all.length) return settle(grid, [empty(t("cameras.none"))]);
    settle(grid, all.map(([name, camera]) => {
      const card = cards.get(name) ?? makeCard(name);
      cards.set(name, card);
      card.show(camera);
      return card.node;
    }));
  }
  const timer = setInterval(() => { if (!document.hidden && !stale()) for (const card of cards.values()) void card.look(); }, EVERY_MS);
  const stop = listen(draw);
  draw();
  return () => { clearInterval(timer); stop(); for (const card of cards.values()) card.drop(); };
}

function makeCard(name) {
  const image = h("img", { alt: t("cameras.picture_of", { name }), hidden: true });
  const word_ = h("p", { class: "note" }, t("loading"));
  const facts = h("div", { class: "facts" });
  const node = h("article", { class: "card" }, h("h2", {}, name), h("div", { class: "frame" }, image, word_), facts);
  let asked = false;
  let address = "";
  async function look() {
    if (asked) return;
    asked = true;
    try {
      const answer = await fetch(`/api/cameras/picture?${new URLSearchParams({ camera: name })}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(sentence((await answer.json()).error));
      const takenNs = Number(answer.headers.get("X-Time-Ns"));
      const next = URL.createObjectURL(await answer.blob());
      if (address) URL.revokeObjectURL(address);
      address = next;
      image.setAttribute("src", address);
      image.hidden = false;
      word_.textContent = t("cameras.taken", { time: moment(takenNs) });
    } catch (error) {
      image.hidden = true;
      word_.textContent = error.message;
    } finally {
      asked = false;
    }
  }
  void look();
  return {
    node,
    look,
    drop: () => { if (address) URL.revokeObjectURL(address); },
    show(camera) {
      const bad = camera.connected === false || camera.view;
      node.classList.toggle("bad", Boolean(bad));
      settle(facts, [
        h("p", {}, camera.connected === false ? mark("bad", t("camera.lost")) : camera.connected ? mark(camera.view ? "bad" : "good", camera.view ? word("view", camera.view) : t("camera.well")) : mark("dull", t("link.unknown")),
          camera.recording ? mark("warn", t("camera.recording")) : null),
        camera.text ? h("p", { class: "about" }, camera.text, " ", moment(camera.since_ns)) : "",
        h("ul", {}, camera.zones.map((zone) => h("li", { class: zone.most !== null && zone.people > zone.most ? "bad" : "" }, h("b", {}, zone.name), " ",
          zone.people === null ? t("cameras.not_judged") : t("cameras.people", { n: number(zone.people) }),
          zone.most === null ? "" : ` / ${zone.most}`, zone.require.length ? h("small", {}, zone.require.map((item) => word("item", item)).join("、")) : null))),
      ].filter(Boolean));
    },
  };
}
