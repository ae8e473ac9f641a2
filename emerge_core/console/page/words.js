// Figures and outcomes in plain words.

export function money(usd) {
  if (usd === null || usd === undefined) return "unknown";
  if (usd === 0) return "$0";
  if (Math.abs(usd) >= 0.1) return `$${usd.toFixed(2)}`;
  const digits = Math.min(Math.max(1 - Math.floor(Math.log10(Math.abs(usd))), 2), 9);
  return `$${usd.toFixed(digits).replace(/(\.\d\d.*?)0+$/, "$1")}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return "under 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s` : `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

export function percent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(share * 100)} %`;
}

export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

export function list(names) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

export function cut(text, most) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

// An answer key as a person reads it: tool calls as calls, the fields of a JSON answer as "name: value".
export function keyText(key) {
  if (!key || !/^[[{]/.test(key)) return key ?? "";
  try {
    const value = JSON.parse(key);
    if (Array.isArray(value) && value.length && value.every((each) => Array.isArray(each) && typeof each[0] === "string" && each.length === 2)) {
      const calls = value.every(([, each]) => each && typeof each === "object" && !Array.isArray(each));
      if (calls) return value.map(([name, each]) => `${name}(${fields(each)})`).join(", ");
      return value.map(([path, each]) => `${path.replace(/^\//, "")}: ${JSON.stringify(each)}`).join(", ");
    }
    if (value && typeof value === "object" && !Array.isArray(value)) return fields(value);
  } catch { /* a text that only looks like JSON */ }
  return key;
}

const fields = (value) => Object.entries(value).map(([name, each]) => `${name.replace(/^\//, "")}: ${JSON.stringify(each)}`).join(", ");

// Whether two texts say the same but for markup.
export const plain = (text) => text.replace(/[*`_#]/g, "").replace(/[.\s]+$/, "").trim().toLowerCase();

export const FORMS = {
  tools: "tool calls", json: "JSON", choices: "multiple choice", short: "a short answer", open_ended: "prose",
};

export const ROLES = {
  member: "member", judge: "judge", merge: "merger", embed: "embedder",
  escalation: "escalation", adjudication: "adjudicator", repair: "repair",
};

const STATUSES = {
  cancelled: "cancelled: the others had decided", skipped: "not asked", timeout: "no answer in time", error: "failed",
};

export function trouble(call) {
  return STATUSES[call.status] ?? "no usable answer";
}

// What calls said, as groups of equal answers, in the order in which they were first said.
export function sidesOf(calls) {
  const sides = new Map();
  for (const call of calls) {
    if (!call.usable || call.key === null) continue;
    const side = sides.get(call.key) ?? { key: call.key, text: call.text ?? "", members: [] };
    side.members.push(call.model);
    sides.set(call.key, side);
  }
  return [...sides.values()];
}

// The place, among the votes, of the group whose answer was chosen; -1 if the answer is no member's, or not counted.
export function chosenGroup(emerge, calls) {
  const chosen = calls.find((call) => call.role === "member" && emerge.selected.includes(call.id));
  return chosen ? emerge.votes.findIndex((group) => group.members.includes(chosen.model) && (group.key === chosen.key || group.members.length > 1 || !chosen.key)) : -1;
}

// What happened, for someone who has never heard of ensembles.
export function verdict(emerge, calls) {
  const members = calls.filter((call) => call.role === "member");
  const by = new Map(calls.map((call) => [call.id, call]));
  const selected = emerge.selected.map((id) => by.get(id)).filter(Boolean);
  const failed = members.filter((call) => !call.usable && call.status !== "cancelled" && call.status !== "skipped");
  const sentences = [];
  const at = Math.max(chosenGroup(emerge, calls), 0);
  const winner = emerge.votes[at];
  const others = emerge.votes.filter((_, index) => index !== at);
  const judge = calls.find((call) => call.role === "judge" && call.status === "ok" && emerge.rule?.startsWith("judge"));
  const later = selected.filter((call) => call.role !== "member");
  const said = (group) => `“${cut(keyText(group.key), 60)}”`;
  if (emerge.abstained) {
    sentences.push(`${emerge.votes.map((group) => `${list(group.members)} said ${said(group)}`).join("; ")}. Too few agree, so the reply gives no answer.`);
  }
  if (winner && !later.length && !emerge.abstained) {
    const total = members.filter((call) => call.status !== "skipped").length;
    const agreeing = winner.members.length;
    if (at > 0) sentences.push(`The answer is that of ${list(winner.members)}, ${said(winner)}.`);
    else if (agreeing === total && total > 1) sentences.push(`${total === 2 ? "Both" : `All ${total}`} models agree on ${said(winner)}.`);
    else if (total === 1) sentences.push(`${list(winner.members)} answers ${said(winner)}.`);
    else sentences.push(`${agreeing} of ${total} models agree on ${said(winner)}: ${list(winner.members)}.`);
    for (const group of others) {
      const were = group.members.length > 1 ? "were" : "was";
      sentences.push(`${list(group.members)} said ${said(group)} and ${were} ${at > 0 || judge ? "not chosen" : "outvoted"}.`);
    }
    if (judge) sentences.push(`${judge.model} judged the answers, without names.`);
  } else if (later.length) {
    const sides = sidesOf(members);
    if (sides.length > 1) {
      sentences.push(`The models disagreed: ${sides.map((side) => `${list(side.members)} said ${said(side)}`).join("; ")}.`);
    }
    const names = [...new Set(later.map((call) => call.model))];
    const role = later[0].role;
    const settled = later[0].key ? ` ${said(later[0])}` : "";
    const judges = calls.filter((call) => call.role === "adjudication" && call.status !== "skipped");
    if (role === "adjudication" && judges.length > 1) {
      sentences.push(`Each was then shown the distinct answers: ${sidesOf(judges).map((side) => `${list(side.members)} ruled ${said(side)}`).join("; ")}.`);
    } else if (role === "adjudication") sentences.push(`${list(names)} was shown the answers and settled it${settled && ":"}${settled}.`);
    else if (role === "escalation") sentences.push(`${list(names)} was asked, and its answer${settled} is the reply.`);
    else if (role === "merge") sentences.push(`${list(names)} wrote the reply from the members’ answers.`);
    else if (role === "repair") sentences.push(`${list(names)} was asked to repair a reply that was not valid.`);
  } else if (selected.length && !emerge.abstained) {
    const names = [...new Set(selected.map((call) => call.model))];
    sentences.push(members.length > 1
      ? `The reply is the answer of ${list(names)}. Answers like these cannot be counted as votes.`
      : `${list(names)} answered alone: a request of this form is not put to a vote.`);
  }
  const cancelled = members.filter((call) => call.status === "cancelled");
  if (cancelled.length) {
    sentences.push(`${list(cancelled.map((call) => call.model))} was cancelled: it could not change the outcome any more.`);
  }
  for (const call of failed) sentences.push(`${call.model} gave no usable answer.`);
  return sentences;
}
