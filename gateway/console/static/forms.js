// Dialogs and forms: one sentence of the gateway where something is refused, in the dialog itself.

import { h } from "./dom.js";
import { t } from "./words.js";

const MOMENT = "\\s*\\d{4}-\\d{2}-\\d{2}[ T]\\d{2}:\\d{2}(:\\d{2})?\\s*";

export function toast(text, bad = false) {
  const box = document.getElementById("toast");
  box.replaceChildren(h("p", { class: bad ? "bad" : "good" }, text));
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => box.replaceChildren(), bad ? 9000 : 4000);
}

// Does what a button asks for; a refusal is shown as the sentence it is.
export async function attempt(button, action, done = "") {
  button.disabled = true;
  try {
    await action();
    if (done) toast(done);
    return true;
  } catch (error) {
    toast(error.message, true);
    return false;
  } finally {
    button.disabled = false;
  }
}

// A field: {name, label, type, value, options, required, hint, min, max, step, wide}
export function field(one) {
  const id = `f-${one.name}`;
  const common = { id, name: one.name, required: one.required ?? false };
  let input;
  if (one.options) {
    input = h("select", common, one.options.map(([value, label]) =>
      h("option", { value, selected: String(value) === String(one.value ?? "") }, label)));
  } else if (one.type === "textarea") {
    input = h("textarea", { ...common, rows: 3 });
  } else {
    const moment = one.type === "moment"; // typed, so that no browser writes 11/28 or PM
    input = h("input", { ...common, type: moment ? "text" : one.type ?? "text", min: one.min, max: one.max, step: one.step, maxlength: 500, autocomplete: one.autocomplete ?? "off", pattern: moment ? MOMENT : null, placeholder: moment ? "2026-05-01 08:00" : null, title: moment ? t("field.moment") : null, "data-moment": moment });
    if (one.type === "checkbox") input.checked = Boolean(one.value); else input.value = one.value ?? "";
  }
  return h("label", { for: id, class: `field${one.wide ? " wide" : ""}${one.type === "checkbox" ? " check" : ""}` },
    h("span", {}, one.label, one.required ? h("b", { "aria-hidden": "true" }, " *") : null), input,
    one.hint ? h("small", {}, one.hint) : null);
}

export function read(form) {
  const said = {};
  for (const input of form.elements) {
    if (!input.name) continue;
    if (input.type === "checkbox") { if (input.checked) said[input.name] = true; continue; }
    if (input.value === "") continue;
    if (input.type === "number") said[input.name] = Number(input.value);
    else if (input.hasAttribute("data-moment")) said[input.name] = `${input.value.trim().replace(" ", "T")}+08:00`;
    else said[input.name] = input.value;
  }
  return said;
}

// Opens a dialog with a form; `action(said)` does it, and the dialog stays open on a refusal.
export function ask({ title, about = "", fields, button, action, done = "" }) {
  const wrong = h("p", { class: "refused", role: "alert" });
  const send = h("button", { class: "main", type: "submit" }, button);
  const form = h("form", { method: "dialog", class: "form" },
    h("h2", {}, title), about ? h("p", { class: "about" }, about) : null,
    h("div", { class: "fields" }, fields.map(field)), wrong,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")), send));
  const dialog = h("dialog", { "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.replaceChildren();
    send.disabled = true;
    try {
      await action(read(form));
      dialog.close();
      if (done) toast(done);
    } catch (error) {
      wrong.replaceChildren(error.message);
    } finally {
      send.disabled = false;
    }
  });
  const act = document.activeElement?.dataset?.act;
  dialog.addEventListener("close", () => {
    dialog.remove();
    // Who opened it may have been drawn anew meanwhile: the keyboard goes on from there.
    if (act && document.activeElement === document.body) document.querySelector(`[data-act="${act}"]`)?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  form.querySelector("input, select, textarea")?.focus();
  return dialog;
}
