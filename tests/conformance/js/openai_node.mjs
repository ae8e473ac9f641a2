// The official openai package for Node.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { DEGREES, EMBEDDER, MEASURED, SEA, TALK, WARM, baseURL, feature, model, run } from "./harness.mjs";

const client = new OpenAI({ baseURL, apiKey: "none" });
const messages = [{ role: "user", content: SEA }];
const Person = z.object({ name: z.string(), age: z.number() });
const City = z.object({ city: z.string() });
const ADA = { name: "Ada", age: 36 };
const weather = zodFunction({
  name: "get_weather",
  parameters: City,
  function: ({ city }) => `${DEGREES[city]} degrees`,
});

feature("chat", async () => {
  const completion = await client.chat.completions.create({ model, messages, temperature: 0.2, max_tokens: 100 });
  assert.equal(completion.choices[0].message.content, TALK);
  assert.equal(completion.choices[0].finish_reason, "stop");
  assert.ok(completion.usage.total_tokens > 0);
  assert.ok(completion._request_id);
});

feature("chat, streamed", async () => {
  const stream = await client.chat.completions.create({
    model, messages, stream: true, stream_options: { include_usage: true },
  });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, TALK);
  assert.ok(usage.total_tokens > 0);
});

feature("streaming helper", async () => {
  const stream = client.chat.completions.stream({ model, messages });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  assert.equal(await stream.finalContent(), TALK);
  assert.equal(text, TALK);
});

feature("parse (zod)", async () => {
  const completion = await client.chat.completions.parse({
    model, messages, response_format: zodResponseFormat(Person, "person"),
  });
  assert.deepEqual(completion.choices[0].message.parsed, ADA);
});

feature("tool loop (runTools)", async () => {
  const runner = client.chat.completions.runTools({
    model, messages: [{ role: "user", content: WARM }], tools: [weather],
  });
  assert.equal(await runner.finalContent(), MEASURED);
});

feature("tool loop, streamed", async () => {
  const runner = client.chat.completions.runTools({
    model, messages: [{ role: "user", content: WARM }], tools: [weather], stream: true,
  });
  assert.equal(await runner.finalContent(), MEASURED);
});

feature("embeddings", async () => {
  const reply = await client.embeddings.create({ model: EMBEDDER, input: ["one", "three"], dimensions: 3 });
  assert.deepEqual(reply.data.map((row) => [...row.embedding]), [[3, 0.5, 0.5], [5, 0.5, 0.5]]);
});

feature("responses", async () => {
  const response = await client.responses.create({ model, input: SEA, instructions: "Be brief." });
  assert.equal(response.output_text, TALK);
  assert.equal(response.status, "completed");
});

feature("responses, streamed", async () => {
  const stream = client.responses.stream({ model, input: SEA });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.equal(text, TALK);
  assert.equal(final.output_text, TALK);
});

feature("responses, parse", async () => {
  const response = await client.responses.parse({ model, input: "Ada?", text: { format: zodTextFormat(Person, "person") } });
  assert.deepEqual(response.output_parsed, ADA);
});

feature("responses, tool loop", async () => {
  const tools = [{ type: "function", name: "get_weather", strict: true, parameters: z.toJSONSchema(City) }];
  const input = [{ role: "user", content: WARM }];
  for (let turn = 0; turn < 5; turn++) {
    const response = await client.responses.create({ model, input, tools });
    const calls = response.output.filter((item) => item.type === "function_call");
    if (!calls.length) {
      assert.equal(response.output_text, MEASURED);
      return;
    }
    input.push(...response.output);
    for (const call of calls) {
      const { city } = JSON.parse(call.arguments);
      input.push({ type: "function_call_output", call_id: call.call_id, output: `${DEGREES[city]} degrees` });
    }
  }
  assert.fail("the loop does not end");
});

feature("errors", async () => {
  await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.ok(error.requestID);
    return true;
  });
  await assert.rejects(client.chat.completions.create({ model, messages, temperature: 9 }), OpenAI.BadRequestError);
});

feature("models", async () => {
  const ids = [];
  for await (const listed of client.models.list()) ids.push(listed.id);
  assert.ok(ids.includes(model) && ids.includes(EMBEDDER));
});

await run("openai (Node)", "openai");
