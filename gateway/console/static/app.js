// The shell: who is signed in, which page, the bar, and the notices that no page may hide.

import { h } from "./dom.js";
import { choose, chosen, clock, span, t } from "./words.js";
import { listen, nowMs, plant, stale, start } from "./plant.js";
import { get, post, Refused } from "./api.js";
import { sign } from "./signs.js";
import { toast } from "./forms.js";
import { me } from "./who.js";

const PAGES = ["wall", "alarms", "values", "work", "declarations", "cameras", "system"];
const bar = document.getElementById("bar");
const page = document.getElementById("page");
const notice = document.getElementById("stale");
const flood = document.getElementById("flood");
let leave = () => {};
let drawBar = () => {};

async function run() {
  await choose();
  const token = location.pathname === "/wall" ? new URLSearchParams(location.hash.slice(1)).get("token") : null;
  if (token) {
    history.replaceState(null, "", location.pathname);
    await post("/api/wall", { token }).catch((error) => toast(error.message, true));
  }
  try {
    Object.assign(me, await get("/api/me"));
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) return signIn(error);
    page.replaceChildren(h("p", { class: "starting" }, error.message));
    setTimeout(run, 3000);
    return;
  }
  start(() => signIn(new Refused(401, { error: t("signin.ended") })));
  document.addEventListener("click", follow);
  addEventListener("popstate", show);
  listen(notices);
  setInterval(notices, 1000);
  setInterval(() => document.body.classList.toggle("off"), 500); // all signs blink as one
  await show();
}

async function signIn(error) {
  bar.hidden = true;
  leave();
  const { signInPage } = await import("./page_signin.js");
  leave = () => {};
  document.body.className = "signin";
  page.replaceChildren(signInPage(error, async (language) => { await choose(language); await signIn(error); }));
  page.querySelector("input")?.focus();
}

function follow(event) {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || link.target || link.hasAttribute("download") || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const wanted = new URL(link.href).pathname.slice(1);
  if (!PAGES.includes(wanted)) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  void show();
}

async function show() {
  const wanted = location.pathname.slice(1) || (me.role === "wall" ? "wall" : "alarms");
  const name = PAGES.includes(wanted) ? wanted : "alarms";
  leave();
  leave = () => {};
  document.body.className = `on-${name} ${stale() ? "is-stale" : ""}`;
  document.title = `${t(`page.${name}`)} · plantgate`;
  makeBar(name);
  const { mount } = await import(`./page_${name}.js`);
  page.replaceChildren();
  leave = mount(page) ?? (() => {});
  notices();
}

function makeBar(name) {
  bar.hidden = name === "wall";
  const counts = h("a", { href: "/alarms", class: "counts", title: t("bar.counts") });
  const now = h("time", { class: "now" });
  const other = chosen() === "zh" ? "en" : "zh";
  bar.replaceChildren(
    h("a", { class: "brand", href: "/alarms" }, "plantgate", h("small", { id: "site" }, "")),
    h("nav", { "aria-label": t("bar.pages") }, PAGES.map((one) =>
      h("a", { href: `/${one}`, "aria-current": one === name ? "page" : null }, t(`page.${one}`)))),
    counts, now,
    h("button", { class: "plain", lang: other === "zh" ? "zh-CN" : "en", onclick: async () => { await choose(other); await show(); } }, other === "zh" ? "中文" : "English"),
    h("span", { class: "who", title: t(`role.${me.role}`) }, me.name || me.user),
    h("button", { class: "plain", onclick: async () => { await post("/api/sign-out").catch(() => {}); location.assign("/sign-in"); } }, t("bar.signout")),
  );
  drawBar = () => {
    now.textContent = clock(nowMs());
    document.getElementById("site").textContent = plant.site.gateway ?? "";
    const waiting = plant.count.unacknowledged_by_priority ?? {};
    counts.replaceChildren(...[1, 2, 3, 4].map((p) => h("span", { class: waiting[p] ? "some" : "none" }, sign(p, waiting[p] > 0), String(waiting[p] ?? 0))));
  };
}

function notices() {
  drawBar();
  const isStale = stale();
  document.body.classList.toggle("is-stale", isStale);
  notice.hidden = !isStale;
  for (const dialog of document.querySelectorAll("dialog")) dialog.dataset.stale = t("stale.title");
  if (isStale) {
    const since = plant.trouble ? plant.troubleSince : nowMs();
    const asked = { time: clock(since), span: span(nowMs() - since) };
    notice.replaceChildren(h("strong", {}, t("stale.title")), h("span", {}, t(`stale.${plant.trouble || "page"}`, asked), " ", plant.broken));
  }
  const floods = plant.count.flood ?? [];
  flood.hidden = floods.length === 0;
  if (floods.length) {
    const where = floods.map((position) => position || t("flood.site")).join(", ");
    flood.replaceChildren(h("strong", {}, t("flood.title")), h("span", {}, t("flood.text", { where, active: plant.count.active ?? 0, total: plant.count.total ?? 0 })));
  }
}

void run();
