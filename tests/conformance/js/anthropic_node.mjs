// The official anthropic package for Node.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { DEGREES, MEASURED, SEA, TALK, WARM, baseURL, feature, model, run } from "./harness.mjs";

const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ""), apiKey: "none" });
const asked = (content) => ({ model, max_tokens: 500, messages: [{ role: "user", content }] });
const Person = z.object({ name: z.string(), age: z.number() });
const weather = betaZodTool({
  name: "get_weather",
  description: "The temperature in a city.",
  inputSchema: z.object({ city: z.string() }),
  run: async ({ city }) => `${DEGREES[city]} degrees`,
});

feature("messages", async () => {
  const reply = await client.messages.create({ ...asked(SEA), system: "Be brief." });
  assert.equal(reply.content[0].text, TALK);
  assert.equal(reply.stop_reason, "end_turn");
  assert.equal(reply.model, model);
  assert.ok(reply.usage.output_tokens > 0);
});

feature("streaming helper", async () => {
  const stream = client.messages.stream(asked(SEA));
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.equal(text, TALK);
  assert.equal(final.content[0].text, TALK);
});

feature("streaming helper, with tools", async () => {
  const { run: _, parse: __, ...tool } = weather;
  const stream = client.messages.stream({ ...asked("Paris and Rome at once?"), tools: [tool] });
  const snapshots = [];
  stream.on("inputJson", (_, snapshot) => snapshots.push(JSON.stringify(snapshot)));
  const { content, stop_reason } = await stream.finalMessage();
  const inputs = content.filter((block) => block.type === "tool_use").map((block) => block.input);
  assert.deepEqual(inputs, [{ city: "Paris" }, { city: "Rome" }]);
  assert.ok(snapshots.includes('{"city":"Rome"}'));
  assert.equal(stop_reason, "tool_use");
});

feature("tool runner", async () => {
  const final = await client.beta.messages.toolRunner({ ...asked(WARM), tools: [weather] });
  assert.equal(final.content[0].text, MEASURED);
});

feature("tool runner, streamed", async () => {
  let final;
  for await (const stream of client.beta.messages.toolRunner({ ...asked(WARM), tools: [weather], stream: true })) {
    final = await stream.finalMessage();
  }
  assert.equal(final.content[0].text, MEASURED);
});

feature("parse (zod)", async () => {
  const reply = await client.messages.parse({ ...asked("Ada?"), output_config: { format: zodOutputFormat(Person) } });
  assert.deepEqual(reply.parsed_output, { name: "Ada", age: 36 });
});

feature("count_tokens", async () => {
  const { max_tokens, ...body } = asked(SEA);
  assert.ok((await client.messages.countTokens(body)).input_tokens > 3);
});

feature("errors", async () => {
  await assert.rejects(client.messages.create({ ...asked(SEA), model: "nobody" }), Anthropic.NotFoundError);
});

feature("models", async () => {
  const ids = [];
  for await (const each of client.models.list()) ids.push(each.id);
  assert.ok(ids.includes(model));
});

await run("anthropic (Node)", "@anthropic-ai/sdk");
