// The tab "Ensembles": the config as it was understood, its prices and warnings, and what a tuning found.

import { bar, h, pill } from "./view.js";
import { count, FORMS, list, money, percent } from "./words.js";

const AGGREGATORS = {
  vote: "the heaviest group of equal answers wins", consensus: "the reply nearest in meaning to the others wins",
  confidence: "the most confident reply wins", judge: "a judge picks one reply", merge: "one reply is written from all",
  adaptive: "votes if answers can be counted, else goes by meaning",
};
const FINALS = { replace: "whose answer replaces the panel's", vote: "who joins the vote", adjudicate: "who is shown the answers and settles it" };

export function ensemblesTab(root, config) {
  const models = new Map([...config.models, ...config.embedders].map((each) => [each.name, each]));
  root.replaceChildren(
    h("p", { class: "note" }, source(config)),
    warnings(config),
    h("section", { class: "block" }, h("h2", {}, "Ensembles"), h("div", { class: "cards wide" }, [...config.ensembles].sort((a, b) => Number(b.name === config.default) - Number(a.name === config.default)).map((each) => ensemble(each, config, models)))),
    h("section", { class: "block" }, h("h2", {}, "Models and prices"), prices(config)),
    tuning(config.tuning) ?? "");
}

function source(config) {
  const parts = [`emerge ${config.version}`];
  if (config.state.source) parts.push(`config: ${config.state.source}`);
  parts.push(config.baseline ? `baseline: ${config.baseline}` : "no baseline");
  const aliases = Object.entries(config.aliases);
  if (aliases.length) parts.push(`also known as ${aliases.map(([alias, name]) => `${alias} → ${name}`).join(", ")}`);
  return parts.join(" · ");
}

function warnings(config) {
  const found = [...(config.state.error ? [`The last change of the config was not taken: ${config.state.error}`] : []), ...config.warnings];
  if (!found.length) return "";
  return h("section", { class: "card warning" }, h("h2", {}, count(found.length, "warning")), h("ul", {}, found.map((each) => h("li", {}, each))));
}

function ensemble(each, config, models) {
  const marks = [each.name === config.default ? pill("good", "default") : null];
  if (each.routes) {
    return h("article", { class: "card" }, h("header", { class: "title" }, h("h3", {}, each.name), marks),
      h("p", { class: "meta" }, "Sends each request to another ensemble, by what it asks for."),
      h("table", { class: "pairs" }, h("tbody", {}, Object.entries(each.routes).map(([form, target]) => h("tr", {}, h("th", { scope: "row" }, FORMS[form]), h("td", {}, target))))));
  }
  return h("article", { class: "card" }, h("header", { class: "title" }, h("h3", {}, each.name), marks),
    h("ul", { class: "seats" }, each.members.map((member) => h("li", {}, h("strong", {}, member.model), " ", h("span", { class: "meta" }, describe(member, models.get(member.model)))))),
    h("ul", { class: "rules" }, rules(each).map((rule) => h("li", {}, rule))));
}

function describe(member, model) {
  const price = model?.price;
  const parts = [
    model?.family && model.family !== member.model ? model.family : model?.provider,
    price ? price.input || price.output ? `${money(price.input)} in, ${money(price.output)} out` : "free" : "price unknown",
  ].filter(Boolean);
  if (member.weight !== 1) parts.push(`weight ${member.weight}`);
  if (member.temperature !== null && member.temperature !== undefined) parts.push(`temperature ${member.temperature}`);
  if (member.reliability) parts.push(`reliability ${member.reliability}`);
  return parts.join(" · ");
}

function rules(each) {
  const found = [];
  const { strategy, aggregator } = each;
  if (strategy.name === "fallback") found.push("One after the other: the first usable answer is the reply, live.");
  else if (strategy.name === "cascade") found.push(`Cascade, ${strategy.order === "cost" ? "cheapest first" : "in order"}: stops ${strategy.stop === "agree" ? "when two agree" : "at the first good answer"}.`);
  else found.push(each.members.length > 1 ? "All are asked at once." : "It is asked alone.");
  if (strategy.name === "ensemble" && each.members.length > 1) {
    const helper = aggregator.judge ?? aggregator.merger;
    found.push(`${aggregator.name}${helper ? ` (${helper})` : ""}: ${AGGREGATORS[aggregator.name] ?? ""}.`);
    if (each.early_decision) found.push("Stops early if the models still out cannot change the answer.");
  }
  for (const step of each.escalate) {
    const below = step.below_agreement < 1 ? `agreement is below ${percent(step.below_agreement)}` : "they do not all agree";
    found.push(step.final === "abstain" ? `If ${below}, the reply says that the models do not agree.`
      : `If ${below}, it asks ${step.to === "panel" ? "every member again" : step.to}, ${FINALS[step.final]}.`);
  }
  found.push(`At most ${each.deadline_s} s and ${count(each.max_calls, "call")}; needs ${count(each.min_answers, "answer")}.`);
  return found;
}

function prices(config) {
  const all = [...config.models.map((each) => [each, "model"]), ...config.embedders.map((each) => [each, "embedder"])];
  const dearest = Math.max(...all.map(([each]) => each.price?.output ?? 0));
  const price = (value) => value === undefined ? "unknown" : money(value);
  return h("div", { class: "card scroll flush", tabindex: "0", role: "region", "aria-label": "Models and prices" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Name", "Provider", "Model", "Family"].map((each) => h("th", { scope: "col" }, each)),
      h("th", { scope: "col", class: "number" }, "Input, $ per million"), h("th", { scope: "col", class: "number" }, "Output, $ per million"), h("th", { scope: "col" }, h("span", { class: "hidden" }, "Output price as a bar")))),
    h("tbody", {}, all.map(([each, kind]) => h("tr", {},
      h("th", { scope: "row" }, each.name, kind === "embedder" ? h("span", { class: "role" }, "embedder") : null, each.name === config.baseline ? h("span", { class: "role" }, "the baseline") : null),
      h("td", {}, each.provider, each.host ? h("span", { class: "role" }, each.host) : null), h("td", {}, each.model), h("td", {}, each.family ?? "–"),
      h("td", { class: "number" }, price(each.price?.input)), h("td", { class: "number" }, price(each.price?.output)),
      h("td", { class: "barcell" }, dearest ? bar((each.price?.output ?? 0) / dearest, "cost") : null))))));
}

function tuning(found) {
  if (!found) return null;
  if (found.fault) return h("section", { class: "block" }, h("h2", {}, "The last tuning"), h("p", { class: "error" }, found.fault));
  const usd = (value) => value === null || value === undefined ? "unknown" : money(value);
  return h("section", { class: "block" }, h("h2", {}, `The last tuning: ${found.task}`),
    h("p", { class: "note" }, `${found.file}: ${(found.tried ?? 0).toLocaleString("en")} configurations tried; these are not beaten by a cheaper one. Accuracies are cross-validated, with 95 % intervals.`),
    h("div", { class: "card scroll flush", tabindex: "0", role: "region", "aria-label": "Results of the tuning" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Members"), h("th", { scope: "col" }, "Rule"), h("th", { scope: "col", class: "number" }, "Accuracy"), h("th", { scope: "col" }, h("span", { class: "hidden" }, "Accuracy as a bar")), h("th", { scope: "col", class: "number" }, "$ per 1,000"))),
      h("tbody", {}, found.points.map((point) => h("tr", {},
        h("th", { scope: "row" }, list(point.members ?? []), point.chosen ? [" ", pill("good", "chosen")] : null),
        h("td", {}, rule(point)),
        h("td", { class: "number" }, interval(point)),
        h("td", { class: "barcell" }, bar(point.accuracy_cv ?? 0, "time")),
        h("td", { class: "number" }, usd(point.cost_per_1000))))))));
}

function rule(point) {
  const later = point.escalate ? [point.escalate.to, ...(point.escalate.then ?? [])] : [];
  const first = point.strategy === "cascade" ? "cascade" : (point.members ?? []).length === 1 ? "alone" : point.aggregator ?? "–";
  return [first, ...later.map((name) => `then ${name}${point.escalate.final ? ` (${point.escalate.final})` : ""}`)].join(", ");
}

function interval(point) {
  const shown = (value) => (100 * value).toFixed(1);
  if (point.accuracy_cv === null || point.accuracy_cv === undefined) return "–";
  return `${shown(point.accuracy_cv)} %${point.ci95 ? ` (${shown(point.ci95[0])} to ${shown(point.ci95[1])})` : ""}`;
}
