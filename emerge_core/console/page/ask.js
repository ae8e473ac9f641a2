// The tab "Ask": a question, how to ask it, and the picture of what happened.

import { EXAMPLES } from "./examples.js";
import { panel } from "./panel.js";
import { ask as send, base, Failure, hasKey } from "./server.js";
import { copyButton, h, select } from "./view.js";

export function askTab(root, config) {
  const simulated = config.models.every((model) => model.simulated);
  let running = null;

  const question = h("textarea", { id: "question", rows: 2, placeholder: "Ask anything that has an answer", spellcheck: "true", "aria-describedby": "enter-hint" });
  question.value = EXAMPLES[0].question;
  const model = select("model", "Model", [], config.default, () => {});
  const chosen = model.querySelector("select");
  chosen.append(
    h("optgroup", { label: "Ensembles" }, config.ensembles.map((each) => h("option", { value: each.name }, each.name === config.default ? `${each.name} (default)` : each.name))),
    h("optgroup", { label: "One model alone" }, config.models.map((each) => h("option", { value: each.name }, each.name))));
  chosen.value = config.default;
  const number = (id, label, attributes) => {
    const input = h("input", { id, type: "number", inputmode: "decimal", placeholder: "default", ...attributes });
    return [input, h("div", { class: "field" }, h("label", { for: id }, label), input)];
  };
  const [temperature, temperatureField] = number("temperature", "Temperature", { min: 0, max: 2, step: 0.1 });
  const [mostTokens, mostTokensField] = number("max-tokens", "Max tokens", { min: 1, step: 1 });
  const [seed, seedField] = number("seed", "Seed", { step: 1 });
  const schema = h("textarea", { id: "schema", rows: 4, spellcheck: "false", class: "code", placeholder: '{"type": "object", "properties": {…}}' });
  const tools = h("textarea", { id: "tools", rows: 4, spellcheck: "false", class: "code", placeholder: '[{"type": "function", "function": {"name": …}}]' });
  const required = h("input", { id: "required", type: "checkbox" });
  const options = h("details", { class: "options" }, h("summary", {}, "Options"),
    h("div", { class: "row" }, temperatureField, mostTokensField, seedField),
    h("div", { class: "row two" },
      h("div", { class: "field" }, h("label", { for: "schema" }, "JSON schema of the answer"), schema),
      h("div", { class: "field" }, h("label", { for: "tools" }, "Tools, as OpenAI's JSON"), tools,
        h("div", { class: "check" }, required, h("label", { for: "required" }, "a tool call is required")))));
  const button = h("button", { type: "submit", class: "primary" }, "Ask");
  const problem = h("p", { class: "error", role: "alert" });
  const outcome = h("div", { class: "outcome" });
  const status = h("p", { class: "hidden", role: "status" });
  const after = h("div", {});

  const form = h("form", { class: "card composer", on: { submit: (event) => { event.preventDefault(); void submit(); } } },
    h("label", { for: "question", class: "eyebrow" }, "Your question"),
    question,
    h("div", { class: "row actions" }, model, h("p", { class: "hint", id: "enter-hint" }, "Enter asks, Shift + Enter starts a new line"), button),
    options, problem);
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) void submit();
    }
  });
  const grow = () => { question.rows = Math.min(Math.max(question.value.split("\n").length, 2), 10); };
  question.addEventListener("input", grow);

  const examples = h("div", { class: "examples", role: "group", "aria-label": "Examples" }, h("span", { class: "hint" }, "Try"),
    EXAMPLES.map((example) => h("button", { type: "button", class: "chip", title: example.question, on: { click: () => use(example) } },
      simulated && example.simulated ? h("span", { class: "mark" }, "✓", h("span", { class: "hidden" }, " the simulated panel can answer this: ")) : null, example.name)));

  root.replaceChildren(
    simulated ? h("p", { class: "note" }, "The models here are simulated: the voting is real, the models are not. They can answer the examples marked ✓.") : "",
    form, examples, status, outcome, after);

  function use(example) {
    question.value = example.question;
    grow();
    schema.value = example.schema ? JSON.stringify(example.schema, null, 2) : "";
    tools.value = example.tools ? JSON.stringify(example.tools, null, 2) : "";
    required.checked = Boolean(example.required);
    options.open = Boolean(example.schema || example.tools);
    question.focus();
  }

  function parsed(input, what) {
    input.removeAttribute("aria-invalid");
    if (!input.value.trim()) return null;
    try {
      return JSON.parse(input.value);
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      options.open = true;
      throw new Error(`The ${what} is not JSON: ${error.message}`);
    }
  }

  function request() {
    const body = { model: chosen.value, messages: [{ role: "user", content: question.value }] };
    if (temperature.value) body.temperature = Number(temperature.value);
    if (mostTokens.value) body.max_tokens = Number(mostTokens.value);
    if (seed.value) body.seed = Number(seed.value);
    const wanted = parsed(schema, "schema");
    if (wanted) body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: wanted, strict: true } };
    const offered = parsed(tools, "list of tools");
    if (offered) {
      body.tools = offered;
      if (required.checked) body.tool_choice = "required";
    }
    return body;
  }

  async function submit() {
    if (running) {
      running.abort();
      return;
    }
    problem.textContent = "";
    if (!question.value.trim()) {
      problem.textContent = "Write a question first.";
      question.focus();
      return;
    }
    let body;
    try {
      body = request();
    } catch (error) {
      problem.textContent = error.message;
      return;
    }
    const run = { body, config, open: null, weights: new Map(), calls: new Map(), text: "", toolCalls: [], emerge: null, reply: null, error: null };
    running = new AbortController();
    button.textContent = "Stop";
    after.replaceChildren();
    status.textContent = "Asking";
    const draw = drawer(outcome, run);
    draw();
    try {
      await send({ ...body, stream: true }, (kind, data) => { take(run, kind, data); draw(); }, running.signal);
      if (!run.emerge) throw new Failure(502, { error: { message: "The stream ended before the answer was complete." } });
      status.textContent = "The answer is there";
    } catch (error) {
      run.error = error instanceof Failure ? error : { message: error.name === "AbortError" ? "Stopped. What was asked so far may be billed." : `The server cannot be reached: ${error.message}` };
      status.textContent = "No answer";
    } finally {
      running = null;
      button.textContent = "Ask";
    }
    draw.now();
    after.replaceChildren(tail(run));
  }
}

// Draws at most once a frame.
function drawer(outcome, run) {
  let due = false;
  const now = () => outcome.replaceChildren(...panel(run).filter(Boolean));
  const draw = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; now(); });
  };
  draw.now = now;
  return draw;
}

function take(run, kind, data) {
  if (kind === "chunk") {
    const delta = data.choices?.[0]?.index === 0 ? data.choices[0].delta : null;
    if (delta && !run.reply) run.text += delta.content ?? delta.refusal ?? "";
    if (data.emerge) run.emerge = data.emerge;
    return;
  }
  if (data.event === "open") {
    run.open = data;
    for (const member of data.members) run.weights.set(member.model, member.weight);
  } else if (data.event === "began") {
    run.calls.set(data.id, { ...data, ended: false });
  } else if (data.event === "ended") {
    run.calls.set(data.id, { ...data, ended: true });
  } else if (data.event === "reply") {
    run.reply = data.reply;
    const message = data.reply.choices[0].message;
    run.text = message.content ?? message.refusal ?? "";
    run.toolCalls = message.tool_calls ?? [];
  }
}

function tail(run) {
  const raw = run.reply ?? (run.error instanceof Failure ? { error: { message: run.error.message, code: run.error.code ?? null, emerge: run.error.emerge ?? null } } : null);
  return h("section", { class: "block tail" },
    h("div", { class: "row" }, copyButton("Copy as curl", () => curl(run.body)), copyButton("Copy as Python", () => python(run.body))),
    raw ? h("details", { class: "raw" }, h("summary", {}, "Raw reply"), h("pre", { tabindex: "0" }, h("code", {}, JSON.stringify(raw, null, 2)))) : null);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(body) {
  const key = hasKey() ? ' -H "authorization: Bearer $EMERGE_API_KEY"' : "";
  return `curl ${base()}/chat/completions -H 'content-type: application/json'${key} -d ${quoted(JSON.stringify(body))}`;
}

function literal(value) {
  if (value === null) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function python(body) {
  const key = hasKey() ? 'os.environ["EMERGE_API_KEY"]' : '"none"';
  return [
    ...(hasKey() ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${base()}", api_key=${key})`,
    "reply = client.chat.completions.create(",
    ...Object.entries(body).map(([name, value]) => `    ${name}=${literal(value)},`),
    ")",
    "print(reply.choices[0].message.content)",
    'print(reply.model_extra["emerge"])',
    "",
  ].join("\n");
}
