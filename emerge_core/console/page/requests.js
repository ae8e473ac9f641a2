// The tab "Requests": the last requests of this server process, what they cost in sum, and which models are left alone.

import { bars } from "./panel.js";
import { get } from "./server.js";
import { bar, fact, h, pill, select } from "./view.js";
import { count, cut, duration, FORMS, list, money, percent, ROLES } from "./words.js";

const MOST = 500;
const SHOWN = 100;
const EVERY_MS = 2000;

export function requestsTab(root, config) {
  const entries = new Map();
  const open = new Set();
  const filters = { ensemble: "", form: "", outcome: "" };
  let last = 0;
  let more = SHOWN;
  let state = { count: 0, breakers: {}, refusals: [] };
  let process = null;
  let timer = null;

  const totals = h("div", {});
  const table = h("div", {});
  const side = h("div", {});
  const any = (label) => ["", label];
  const changed = () => { more = SHOWN; drawTable(); };
  const names = [...config.ensembles.filter((each) => !each.routes), ...config.models].map((each) => [each.name, each.name]);
  const controls = h("div", { class: "row filters", role: "group", "aria-label": "Filters" },
    select("filter-ensemble", "Served by", [any("all"), ...names], "", (value) => { filters.ensemble = value; changed(); }),
    select("filter-form", "Form", [any("all"), ...Object.entries(FORMS)], "", (value) => { filters.form = value; changed(); }),
    select("filter-outcome", "Outcome", [any("all"), ["degraded", "degraded"], ["escalated", "escalated"], ["error", "errors"]], "",
      (value) => { filters.outcome = value; changed(); }));
  const kept = config.keeps_content ? "Questions and replies are kept too, since the config logs content." : "No question and no reply is kept.";
  const which = config.workers > 1 ? ` This page shows one of ${config.workers} processes, whichever answers it.` : "";
  root.replaceChildren(
    h("p", { class: "note" }, `The last ${MOST} requests since this process started, in memory. ${kept}${which}`),
    totals, controls, table, side);

  async function refresh() {
    try {
      state = await get(`requests?after=${last}`);
    } catch (error) {
      totals.replaceChildren(h("p", { class: "error" }, error.message));
      return;
    }
    if (process !== null && state.process !== process) { // the server was started anew, or another process answered
      entries.clear();
      open.clear();
      process = null;
      last = 0;
      totals.replaceChildren(); // drawn anew with what the other one says
      return refresh();
    }
    process = state.process;
    for (const entry of state.entries) {
      entries.set(entry.number, entry);
      last = Math.max(last, entry.number);
    }
    for (const number of entries.keys()) {
      if (entries.size <= MOST) break;
      entries.delete(number);
    }
    if (state.entries.length || !totals.hasChildNodes()) {
      drawTotals();
      drawTable();
    }
    drawSide();
  }

  function drawTotals() {
    const all = [...entries.values()];
    const times = all.map((entry) => entry.latency_ms).sort((a, b) => a - b);
    const at = (share) => times.length ? duration(times[Math.min(Math.ceil(share * times.length) - 1, times.length - 1)]) : "–";
    const mean = (values) => values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    const spent = all.reduce((sum, entry) => sum + entry.cost, 0);
    const based = all.filter((entry) => entry.baseline !== null && entry.cost_known);
    const there = based.reduce((sum, entry) => sum + entry.baseline, 0);
    const here = based.reduce((sum, entry) => sum + entry.cost, 0);
    const unknown = all.filter((entry) => !entry.cost_known).length;
    const agreed = all.filter((entry) => entry.agreement !== null);
    const facts = [
      fact("Requests", String(all.length), state.count > all.length ? `of ${state.count}` : null),
      fact("Cost", money(spent), unknown ? `${unknown} of them unknown` : null),
      config.baseline
        ? fact("Saved", there ? here > there ? "nothing" : percent(1 - here / there) : "–", there
          ? here > there ? `${(here / there).toFixed(1)} times the cost at ${config.baseline}` : `${money(there - here)} against ${config.baseline}`
          : `against ${config.baseline}`)
        : fact("Saved", "–", "the config names no baseline"),
      fact("Time, p50", at(0.5), `p95 ${at(0.95)}`),
      fact("Agreement", percent(mean(agreed.map((entry) => entry.agreement))), agreed.length ? `mean of ${agreed.length}` : null),
      fact("Escalated", percent(mean(all.map((entry) => Number(entry.escalated)))), count(all.filter((entry) => entry.status >= 400).length, "error")),
    ];
    totals.replaceChildren(h("dl", { class: "facts card six" }, facts));
  }

  function passes(entry) {
    return (!filters.ensemble || entry.ensemble === filters.ensemble)
      && (!filters.form || entry.form === filters.form)
      && (!filters.outcome || (filters.outcome === "error" ? entry.status >= 400 : entry[filters.outcome]));
  }

  function drawTable() {
    const found = [...entries.values()].filter(passes).reverse();
    if (!found.length) {
      table.replaceChildren(h("p", { class: "card empty" }, entries.size ? "No request passes the filters." : "No request yet. Ask something, or point a client at this server."));
      return;
    }
    const focused = document.activeElement?.id;
    const rows = found.slice(0, more).flatMap((entry) => row(entry));
    const head = ["Time", "Served by", "Form", "Outcome", "Agreement", "Calls", "Took", "Cost"];
    table.replaceChildren(
      h("div", { class: "card scroll flush", tabindex: "0", role: "region", "aria-label": "Requests" }, h("table", { class: "requests" },
        h("thead", {}, h("tr", {}, head.map((each, index) => h("th", { scope: "col", class: index > 3 ? "number" : null }, each)))),
        h("tbody", {}, rows))),
      found.length > more ? h("button", { type: "button", class: "quiet", on: { click: () => { more += SHOWN; drawTable(); } } }, `Show ${Math.min(SHOWN, found.length - more)} more`) : "");
    if (focused) document.getElementById(focused)?.focus();
  }

  function row(entry) {
    const expanded = open.has(entry.number);
    const id = `request-${entry.number}`;
    const button = h("button", {
      type: "button", class: "expand", id, "aria-expanded": String(expanded), "aria-controls": `${id}-calls`,
      on: { click: () => { if (!open.delete(entry.number)) open.add(entry.number); drawTable(); } },
    }, new Date(entry.ended_at * 1000).toLocaleTimeString([], { hour12: false }));
    const made = entry.calls.filter((call) => call.status !== "skipped").length;
    const line = h("tr", { class: expanded ? "expanded" : null },
      h("th", { scope: "row" }, button), h("td", {}, entry.ensemble), h("td", {}, FORMS[entry.form] ?? "–"), h("td", {}, outcome(entry)),
      h("td", { class: "number" }, percent(entry.agreement)), h("td", { class: "number" }, String(made)),
      h("td", { class: "number" }, duration(entry.latency_ms)), h("td", { class: "number" }, price(entry)));
    return expanded ? [line, h("tr", { id: `${id}-calls`, class: "detail" }, h("td", { colspan: "8" }, detail(entry)))] : [line];
  }

  function price(entry) {
    return entry.cost_known ? `${entry.cost_estimated ? "about " : ""}${money(entry.cost)}` : "unknown";
  }

  function outcome(entry) {
    if (entry.status === 499) return pill("quiet", "client left");
    if (entry.status >= 400) return pill("bad", `error ${entry.status}`, entry.code);
    const marks = [];
    if (entry.abstained) marks.push(pill("dissent", "abstained"));
    if (entry.escalated) marks.push(pill("dissent", "escalated"));
    if (entry.degraded) marks.push(pill("bad", "degraded"));
    if (entry.calls.some((call) => call.status === "cancelled")) marks.push(pill("quiet", "early"));
    return entry.degraded || entry.escalated || entry.abstained ? marks : [pill("good", "answered"), marks];
  }

  function detail(entry) {
    const models = new Map(entry.calls.map((call) => [call.id, call.model]));
    const votes = entry.votes.map((group) => list(group.calls.map((id) => models.get(id) ?? id))).join(" against ");
    const about = [
      entry.rule ? `Rule ${entry.rule}` : `Code ${entry.code}`,
      votes && entry.votes.length > 1 ? `votes: ${votes}` : null,
      entry.selected.length ? `answer of ${list(entry.selected.map((id) => models.get(id) ?? id))}` : null,
      `asked for ${entry.name}`, `id ${entry.request_id}`,
    ].filter(Boolean).join(" · ");
    const rows = entry.calls.filter((call) => call.status !== "skipped").map((call) => ({
      model: call.model, role: ROLES[call.role], status: call.status === "ok" && call.error ? "unusable" : call.status, error: call.error,
      began: call.began_ms, latency: call.latency_ms, cost: call.cost, known: call.cost_known, estimated: call.cost_estimated,
    }));
    return [
      entry.question ? h("p", { class: "prose" }, cut(entry.question, 400)) : null,
      entry.calls.filter((call) => call.text).map((call) => h("p", { class: "prose kept" }, h("strong", {}, `${call.model}: `), cut(call.text, 300))),
      h("p", { class: "meta" }, about),
      rows.length ? bars(rows, { latency: entry.latency_ms, baseline: entry.baseline, baselineName: config.baseline }) : null,
    ];
  }

  function drawSide() {
    const answers = new Map();
    for (const entry of entries.values()) {
      for (const call of entry.calls) if (entry.selected.includes(call.id)) answers.set(call.model, (answers.get(call.model) ?? 0) + 1);
    }
    const total = [...answers.values()].reduce((sum, value) => sum + value, 0);
    const ranked = [...answers.entries()].sort((a, b) => b[1] - a[1]);
    const breakers = Object.entries(state.breakers);
    side.replaceChildren(h("div", { class: "cards wide" },
      h("article", { class: "card" }, h("h2", {}, "Whose answers were given"),
        ranked.length ? h("ul", { class: "shares" }, ranked.map(([name, number]) => h("li", {}, h("span", { class: "share-name" }, name), bar(number / total, "time"), h("span", { class: "figure" }, percent(number / total))))) : h("p", { class: "muted" }, "None yet.")),
      h("article", { class: "card" }, h("h2", {}, "Models that failed lately"),
        breakers.length ? h("ul", { class: "plain" }, breakers.map(([name, each]) => h("li", {}, h("strong", {}, name), " ",
          pill(each.state === "closed" ? "quiet" : "bad", each.state === "closed" ? "still asked" : each.state === "open" ? "left alone" : "on trial"),
          h("p", { class: "meta" }, `${count(each.failures, "failure")} in a row, the last: ${each.last_error ?? "unknown"}${each.retry_in_s ? `; asked again in ${Math.ceil(each.retry_in_s)} s` : ""}`)))) : h("p", { class: "muted" }, "None.")),
      h("article", { class: "card" }, h("h2", {}, "Parameters that models refused"),
        state.refusals.length ? h("ul", { class: "plain" }, state.refusals.map((each) => h("li", {}, h("strong", {}, each.model), ` at ${each.provider}: `, h("code", {}, each.param), " left out",
          h("p", { class: "meta" }, `${each.status ? `HTTP ${each.status}` : "Refused"}: ${each.reason}; sent again in ${Math.ceil(each.forgotten_in_s / 60)} min`)))) : h("p", { class: "muted" }, "None."))));
  }

  return {
    show() {
      void refresh();
      timer ??= setInterval(() => { if (!document.hidden) void refresh(); }, EVERY_MS);
    },
    hide() {
      clearInterval(timer);
      timer = null;
    },
  };
}
