// The console's own routes, relative to the page. The key stays in this tab's session.

const KEY = "emerge-key";

export class Failure extends Error {
  constructor(status, body) {
    const error = body?.error ?? {};
    super(error.message ?? `The server answered with status ${status}.`);
    this.status = status;
    this.code = error.code ?? error.type ?? null;
    this.emerge = error.emerge ?? null;
  }
}

let askForKey = async () => null;

export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export const base = () => new URL("v1", document.baseURI).href;

async function send(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
    const response = await fetch(`console/api/${path}`, { ...options, headers, cache: "no-store" });
    if (response.status !== 401) return response;
    sessionStorage.removeItem(KEY);
    const given = await askForKey(key !== null);
    if (given === null) throw new Failure(401, { error: { message: "The server asks for a key.", code: "invalid_api_key" } });
    sessionStorage.setItem(KEY, given);
  }
}

async function failure(response) {
  let body = null;
  try { body = await response.json(); } catch { /* not JSON: the status says it */ }
  return new Failure(response.status, body);
}

export async function get(path) {
  const response = await send(path);
  if (!response.ok) throw await failure(response);
  return response.json();
}

// Calls `handle(kind, data)` for each event: kind is "emerge", or "chunk" for a part of the answer.
export async function ask(body, handle, signal) {
  const headers = { "content-type": "application/json", "x-emerge-progress": "calls" };
  const response = await send("ask", { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const events = buffer.split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const lines = event.split("\n");
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (!data || data === "[DONE]") continue;
      const parsed = JSON.parse(data);
      const kind = lines.includes("event: emerge") ? "emerge" : "chunk";
      if (kind === "chunk" && parsed.error) throw new Failure(null, parsed);
      handle(kind, parsed);
    }
  }
}
