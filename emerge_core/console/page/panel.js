// One request as a picture: the answer, the votes, every model's card, the dispute, and what it took.

import { bar, fact, h, pill, rich } from "./view.js";
import { chosenGroup, count, cut, duration, FORMS, keyText, list, money, percent, plain, ROLES, sidesOf, trouble, verdict } from "./words.js";

const SETTLED = { escalation: "settled it", adjudication: "settled it", merge: "wrote it", repair: "repaired it" };
const LONG = 420; // characters of a card's text before it is folded

export function panel(run) {
  return [answer(run), votes(run), members(run), dispute(run), took(run)];
}

const calls = (run) => [...run.calls.values()].sort((a, b) => Number(a.id) - Number(b.id));
const memberCalls = (run) => calls(run).filter((call) => call.role === "member");
const landed = (run) => memberCalls(run).filter((call) => call.ended);

// The votes so far: the server's, else the keys of the replies that have landed.
function groups(run) {
  if (run.emerge) {
    const reported = run.emerge.votes.map((group) => ({ key: group.key ?? "", weight: group.weight, members: group.members }));
    if (reported.length) return reported;
  }
  const found = new Map();
  for (const call of landed(run)) {
    if (!call.usable || call.key === null) continue;
    const group = found.get(call.key) ?? { key: call.key, weight: 0, members: [] };
    group.weight += run.weights.get(call.model) ?? 1;
    group.members.push(call.model);
    found.set(call.key, group);
  }
  return [...found.values()].sort((a, b) => b.weight - a.weight);
}

function groupOf(run, call) {
  const all = groups(run);
  const exact = all.findIndex((group) => group.key === call.key && group.members.includes(call.model));
  return exact >= 0 ? exact : call.key === null ? -1 : all.findIndex((group) => group.members.includes(call.model));
}

function answer(run) {
  if (run.error) {
    return h("article", { class: "card answer failed" },
      h("h2", { class: "eyebrow" }, "No answer"),
      h("p", { class: "verdict" }, run.error.message),
      run.error.code ? h("p", { class: "note" }, [run.error.status ? `status ${run.error.status}` : null, `code ${run.error.code}`].filter(Boolean).join(", ")) : null);
  }
  const done = run.emerge !== null;
  const text = run.text;
  const short = text.trim().length <= 60 && !text.includes("\n");
  const body = [];
  if (text) body.push(h("div", { class: short ? "said short" : "said" }, rich(text)));
  for (const call of run.toolCalls) {
    body.push(h("pre", { class: "call" }, h("code", {}, `${call.function.name}(${pretty(call.function.arguments)})`)));
  }
  if (!done && !body.length) body.push(h("p", { class: "said waiting" }, waiting(run)));
  return h("article", { class: "card answer", "aria-busy": done ? "false" : "true" },
    h("h2", { class: "eyebrow" }, done ? run.emerge.abstained ? "No answer: the models disagree" : "Answer" : "Asking", run.open?.route ? h("span", {}, ` · ${FORMS[run.open.route.form]}, by ${run.open.served_by}`) : null),
    body,
    done ? h("p", { class: "verdict" }, verdict(run.emerge, calls(run)).join(" ")) : null,
    done ? facts(run) : null,
    done && run.emerge.fallback ? h("p", { class: "note" }, `Not as configured: ${run.emerge.fallback}`) : null);
}

function waiting(run) {
  if (!run.open) return "The request is on its way.";
  const later = calls(run).find((call) => call.role !== "member" && !call.ended);
  if (later) return `${later.model} is asked (${ROLES[later.role]}).`;
  return `${landed(run).length} of ${count(run.open.members.length, "model")} answered.`;
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 1).replace(/\n\s*/g, " "); } catch { return text; }
}

function facts(run) {
  const emerge = run.emerge;
  const made = calls(run).filter((call) => call.status !== "skipped");
  const members = made.filter((call) => call.role === "member").length;
  const [winner] = emerge.votes;
  const agreed = winner && emerge.agreement !== null ? `${winner.members.length} of ${count(members, "model")}` : "not a matter of votes";
  return h("dl", { class: "facts" },
    fact("Agreement", percent(emerge.agreement), agreed),
    fact("Cost", cost(emerge), costNote(run)),
    fact("Time", duration(emerge.latency_ms), calls(run).some((call) => call.status === "cancelled") ? "decided early" : null),
    fact("Calls", String(made.length), `${emerge.usage.sum.total_tokens.toLocaleString("en")} tokens`));
}

function cost(emerge) {
  if (!emerge.cost_known) return emerge.cost_usd ? `over ${money(emerge.cost_usd)}` : "unknown";
  return `${emerge.cost_estimated ? "about " : ""}${money(emerge.cost_usd)}`;
}

function costNote(run) {
  const { emerge, config } = run;
  const simulated = new Map(config.models.map((model) => [model.name, model.simulated]));
  const there = emerge.baseline_cost_usd;
  if (there) {
    const saved = 1 - emerge.cost_usd / there;
    return `${money(there)} at ${config.baseline}: ${saved >= 0 ? `${percent(saved)} saved` : `${(1 - saved).toFixed(1)} times as much`}`;
  }
  if (emerge.cost_usd === 0 && emerge.cost_known) {
    return calls(run).every((call) => simulated.get(call.model)) ? "simulated models are free" : "free";
  }
  return emerge.cost_known ? null : "a price is missing";
}

function votes(run) {
  const found = groups(run);
  if (!found.length) return null;
  const silent = landed(run).filter((call) => call.status !== "skipped" && groupOf(run, call) < 0);
  const cast = found.reduce((sum, group) => sum + group.weight, 0);
  const rest = silent.reduce((sum, call) => sum + (run.weights.get(call.model) ?? 1), 0);
  const total = Math.max(cast + rest, [...run.weights.values()].reduce((sum, weight) => sum + weight, 0), 1e-9);
  const shown = (weight) => `${+weight.toFixed(2)} of ${+total.toFixed(2)}`;
  return h("article", { class: "card" },
    h("h2", {}, "How they voted"),
    h("ul", { class: "votes" }, found.map((group, index) => h("li", { class: `vote group-${Math.min(index, 3)}` },
      h("span", { class: "vote-key", title: keyText(group.key) }, cut(keyText(group.key), 40)),
      h("span", { class: "vote-bar" }, group.members.map((name) => h("span", {
        class: "seat", style: { width: `${(group.weight / group.members.length / total) * 100}%` },
      }, name))),
      h("span", { class: "vote-count" }, shown(group.weight), run.emerge && index === 0 && found.length > 1 && !run.emerge.abstained ? h("span", { class: "role" }, "the most") : null))),
    silent.length ? h("li", { class: "vote silent" },
      h("span", { class: "vote-key" }, "no vote"),
      h("span", { class: "vote-bar" }, silent.map((call) => h("span", {
        class: "seat", style: { width: `${((run.weights.get(call.model) ?? 1) / total) * 100}%` },
      }, call.model))),
      h("span", { class: "vote-count" }, shown(rest))) : null));
}

function members(run) {
  if (!run.open) return null;
  const left = memberCalls(run);
  const cards = run.open.members.map((member) => {
    const at = left.findIndex((call) => call.model === member.model);
    const call = at < 0 ? null : left.splice(at, 1)[0];
    return memberCard(run, member, call);
  });
  return h("section", { class: "block" },
    h("h2", {}, cards.length > 1 ? "What each model said" : "What the model said"),
    h("div", { class: "cards" }, cards));
}

function standing(run, call) {
  if (call === null) return run.emerge || run.error ? pill("quiet", "not asked") : pill("quiet", "not asked yet");
  if (!call.ended) return run.error ? pill("quiet", "not finished") : pill("busy", "asking");
  if (call.status === "cancelled") return pill("quiet", "cancelled");
  if (call.status === "skipped") return pill("quiet", "not asked");
  if (call.status !== "ok") return pill("bad", call.status === "timeout" ? "too late" : "failed");
  if (!call.usable) return pill("bad", "not usable");
  if (!run.emerge) return pill("done", "answered");
  const index = groupOf(run, call);
  if (run.emerge.selected.includes(call.id) && !run.emerge.votes.length) return pill("good", "chosen");
  if (index < 0) return pill("quiet", run.emerge.selected.includes(call.id) ? "chosen" : "answered");
  const settled = calls(run).find((each) => each.role !== "member" && run.emerge.selected.includes(each.id) && each.key);
  if (settled) return settled.key === call.key ? pill("good", "upheld") : pill("dissent", "overruled");
  if (run.emerge.escalated || run.emerge.abstained) return pill(`group-${Math.min(index, 3)}`, "in the dispute");
  const chosen = Math.max(chosenGroup(run.emerge, calls(run)), 0);
  if (index === chosen) return pill("good", chosen ? "chosen" : "agrees");
  return pill("dissent", chosen || run.emerge.rule?.startsWith("judge") ? "not chosen" : "outvoted");
}

function memberCard(run, member, call) {
  const index = call?.ended ? groupOf(run, call) : -1;
  const ended = call?.ended;
  return h("article", { class: `card member ${index >= 0 ? `group-${Math.min(index, 3)}` : ""} ${ended ? "" : "pending"}` },
    h("header", {}, h("h3", {}, member.model), standing(run, call)),
    ended ? said(call) : h("p", { class: "key-said muted" }, call ? "…" : " "),
    ended && run.emerge?.selected.includes(call.id) && run.emerge.votes.length > 0 && run.open.members.length > 1 ? h("p", { class: "meta" }, "Its words are the answer above.") : null,
    ended ? h("p", { class: "meta" }, meta(call)) : null);
}

function said(call) {
  if (call.status === "cancelled") return h("p", { class: "muted" }, "Cancelled: the others had decided.");
  const parts = [];
  if (call.usable && call.key !== null && !call.tool_calls) parts.push(h("p", { class: "key-said", title: keyText(call.key) }, cut(keyText(call.key), 32)));
  for (const each of call.tool_calls ?? []) parts.push(h("pre", {}, h("code", {}, `${each.function.name}(${pretty(each.function.arguments)})`)));
  if (!call.usable) parts.push(h("p", { class: "error" }, call.error ?? trouble(call)));
  const json = call.usable && /^[[{]/.test(call.key ?? "") && /^\s*[[{]/.test(call.text ?? ""); // the key says it already
  if (call.text && !json && plain(call.text) !== plain(call.key ?? "")) parts.push(quote(call.text));
  return parts;
}

function quote(text) {
  if (text.length <= LONG) return h("div", { class: "quote" }, rich(text));
  return h("div", { class: "quote" }, rich(`${text.slice(0, LONG)}…`), h("details", {}, h("summary", {}, "The whole reply"), rich(text)));
}

function meta(call) {
  const tokens = call.usage ? ` · ${call.usage.total_tokens.toLocaleString("en")} tokens` : "";
  const price = call.cost_known === false ? "cost unknown" : `${call.cost_estimated ? "about " : ""}${call.cost_usd === 0 && call.status === "ok" ? "free" : money(call.cost_usd)}`;
  const attempts = call.attempts > 1 ? ` · ${call.attempts} attempts` : "";
  return `${duration(call.latency_ms)} · ${price}${tokens}${attempts}`;
}

// Escalation and adjudication: what was in dispute, side by side, and what settled it.
function dispute(run) {
  const later = calls(run).filter((call) => !["member", "embed"].includes(call.role));
  if (!later.length) return null;
  const sides = sidesOf(landed(run));
  const disputed = sides.length > 1 && later.some((call) => ["escalation", "adjudication"].includes(call.role));
  return h("section", { class: "block" },
    h("h2", {}, disputed ? "The dispute, and who settled it" : "After the panel"),
    disputed ? h("div", { class: "sides" }, sides.map((side, index) => h("article", { class: `card side group-${Math.min(index, 3)}` },
      h("p", { class: "key-said" }, cut(keyText(side.key), 32)), h("p", { class: "meta" }, list(side.members)), plain(side.text) === plain(side.key) ? null : quote(side.text)))) : null,
    h("div", { class: "cards" }, later.map((call) => h("article", { class: `card member later ${call.ended ? "" : "pending"}` },
      h("header", {}, h("h3", {}, call.model), call.ended
        ? call.usable ? pill(run.emerge?.selected.includes(call.id) ? "good" : "quiet", run.emerge?.selected.includes(call.id) ? SETTLED[call.role] ?? "chosen" : "done") : pill("bad", trouble(call))
        : pill("busy", "asking")),
      h("p", { class: "meta" }, explain(call)),
      call.ended ? said(call) : h("p", { class: "key-said muted" }, "…"),
      call.ended ? h("p", { class: "meta" }, meta(call)) : null))));
}

function explain(call) {
  return {
    adjudication: "adjudicator: was shown the distinct answers, without names",
    escalation: "escalation: was asked the same question, without the answers",
    judge: "judge: picks one of the answers",
    merge: "merger: writes one reply from all answers",
    repair: "repair: asked again for a valid reply",
  }[call.role] ?? ROLES[call.role];
}

// Time and cost of every call as bars, beside the baseline's.
export function bars(rows, { latency, baseline, baselineName }) {
  const dearest = Math.max(...rows.map((row) => row.cost ?? 0), baseline ?? 0);
  const span = Math.max(latency, ...rows.map((row) => row.began + row.latency), 1e-6);
  const cell = (row) => row.cost === null || row.known === false ? "unknown" : `${row.estimated ? "about " : ""}${row.cost === 0 && row.status === "ok" ? "free" : money(row.cost)}`;
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Time and cost of each call" }, h("table", { class: "bars" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Call"), h("th", { scope: "col" }, `Time, of ${duration(latency)}`), h("th", { scope: "col" }, "Cost"))),
    h("tbody", {}, rows.map((row) => h("tr", {},
      h("th", { scope: "row" }, row.model, h("span", { class: "role" }, row.status === "ok" ? row.role : `${row.role}, ${row.error ?? row.status}`)),
      h("td", {}, bar(row.latency / span, row.status === "ok" ? "time" : "quiet", row.began / span), h("span", { class: "figure" }, duration(row.latency))),
      h("td", {}, dearest ? bar((row.cost ?? 0) / dearest, "cost") : null, h("span", { class: "figure" }, cell(row))))),
    baseline ? h("tr", { class: "baseline" },
      h("th", { scope: "row" }, baselineName ?? "baseline", h("span", { class: "role" }, "the baseline, not asked")),
      h("td", {}, ""),
      h("td", {}, bar(baseline / dearest, "quiet"), h("span", { class: "figure" }, money(baseline)))) : null)));
}

function took(run) {
  const emerge = run.emerge;
  if (!emerge) return null;
  const rows = calls(run).filter((call) => call.ended && call.status !== "skipped").map((call) => ({
    model: call.model, role: ROLES[call.role], status: call.status, error: null, began: call.began_ms, latency: call.latency_ms,
    cost: call.cost_usd, known: call.cost_known, estimated: call.cost_estimated,
  }));
  if (!rows.length) return null;
  return h("section", { class: "block" }, h("h2", {}, "What it took"),
    h("article", { class: "card" }, bars(rows, { latency: emerge.latency_ms, baseline: emerge.baseline_cost_usd, baselineName: run.config.baseline })));
}
