// Asks the console. An error is an Error whose message is the gateway's or the console's sentence,
// in the page's language where that is known.

import { sentence, t } from "./words.js";

export class Refused extends Error {
  constructor(status, body) {
    super(body.error ? sentence(body.error) : t("error.status", { status }));
    this.status = status;
    this.body = body;
  }
}

export async function get(path, query = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const tail = asked.length ? `?${new URLSearchParams(asked)}` : "";
  return answered(await reach(path + tail, {}));
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json", "X-Requested-With": "plantgate" };
  return answered(await reach(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

export const command = (ask, fields) => post(`/api/commands/${ask}`, fields);

async function reach(path, options) {
  try {
    return await fetch(path, { ...options, credentials: "same-origin" });
  } catch {
    throw new Refused(0, { error: t("error.unreachable") });
  }
}

async function answered(answer) {
  let body = {};
  try { body = await answer.json(); } catch { body = {}; }
  if (!answer.ok) throw new Refused(answer.status, body ?? {});
  return body;
}
