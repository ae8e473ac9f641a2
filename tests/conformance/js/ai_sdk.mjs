// Vercel's AI SDK: the OpenAI provider, which speaks responses by default, and the one for compatible servers.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { DEGREES, EMBEDDER, MEASURED, SEA, TALK, WARM, baseURL, feature, model, run } from "./harness.mjs";

const openai = createOpenAI({ baseURL, apiKey: "none" });
const compatible = createOpenAICompatible({
  name: "emerge", baseURL, apiKey: "none", supportsStructuredOutputs: true, includeUsage: true,
});
const Person = z.object({ name: z.string(), age: z.number() });
const tools = {
  get_weather: tool({
    description: "The temperature in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `${DEGREES[city]} degrees`,
  }),
};
const providers = {
  "openai, responses": openai(model),
  "openai, chat": openai.chat(model),
  "openai-compatible": compatible(model),
};

for (const [name, languageModel] of Object.entries(providers)) {
  feature(`${name}: generateText`, async () => {
    const { text, usage, finishReason } = await generateText({ model: languageModel, prompt: SEA });
    assert.equal(text, TALK);
    assert.equal(finishReason, "stop");
    assert.ok(usage.totalTokens > 0);
  });

  feature(`${name}: streamText`, async () => {
    const faults = [];
    const result = streamText({ model: languageModel, prompt: SEA, onError: ({ error }) => faults.push(error) });
    let text = "";
    for await (const part of result.textStream) text += part;
    assert.deepEqual(faults, []);
    assert.equal(text, TALK);
    assert.ok((await result.usage).totalTokens > 0);
  });

  feature(`${name}: structured output`, async () => {
    const { output } = await generateText({
      model: languageModel, prompt: "Ada?", output: Output.object({ schema: Person }),
    });
    assert.deepEqual(output, { name: "Ada", age: 36 });
  });

  feature(`${name}: tool loop`, async () => {
    const { text, steps } = await generateText({ model: languageModel, prompt: WARM, tools, stopWhen: stepCountIs(5) });
    assert.equal(text, MEASURED);
    assert.equal(steps.length, 3);
  });

  feature(`${name}: tool loop, streamed`, async () => {
    const faults = [];
    const result = streamText({
      model: languageModel, prompt: WARM, tools, stopWhen: stepCountIs(5), onError: ({ error }) => faults.push(error),
    });
    let text = "";
    for await (const part of result.textStream) text += part;
    assert.deepEqual(faults, []);
    assert.equal(text, MEASURED);
  });
}

feature("embedMany", async () => {
  for (const provider of [openai.embedding(EMBEDDER), compatible.embeddingModel(EMBEDDER)]) {
    const { embeddings } = await embedMany({ model: provider, values: ["one", "three"] });
    assert.deepEqual(embeddings, [[3, 0.5, 0.5, 0.5], [5, 0.5, 0.5, 0.5]]);
  }
});

await run("AI SDK (ai)", "ai");
