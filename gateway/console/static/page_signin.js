// Sign-in; where no user exists yet, how to make the first one.

import { h } from "./dom.js";
import { chosen, t } from "./words.js";
import { post } from "./api.js";
import { field, read } from "./forms.js";

export function signInPage(error, choose) {
  if (error?.body?.setup) return setup(choose);
  const wrong = h("p", { class: "refused", role: "alert" });
  const send = h("button", { class: "main", type: "submit" }, t("signin.button"));
  const form = h("form", { class: "form signin-form" },
    h("h1", {}, "plantgate"), h("p", { class: "about" }, t("signin.about")),
    field({ name: "user", label: t("signin.user"), required: true, autocomplete: "username" }),
    field({ name: "password", label: t("signin.password"), type: "password", required: true, autocomplete: "current-password" }),
    wrong, h("div", { class: "buttons" }, language(choose), send));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    wrong.replaceChildren();
    try {
      await post("/api/sign-in", read(form));
      location.assign(location.pathname === "/sign-in" ? "/" : location.pathname);
    } catch (refusal) {
      wrong.replaceChildren(refusal.message);
      send.disabled = false;
    }
  });
  return form;
}

function setup(choose) {
  return h("div", { class: "form signin-form" }, h("h1", {}, "plantgate"), h("p", {}, t("signin.setup")),
    h("pre", {}, "plantgate console user add DATA_DIR NAME --role issuer"), language(choose));
}

function language(choose) {
  const other = chosen() === "zh" ? "en" : "zh";
  return h("button", { type: "button", class: "plain", onclick: () => choose(other) }, other === "zh" ? "中文" : "English");
}
