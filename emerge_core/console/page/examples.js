// One question for each form of request. `simulated` marks those that the simulated panel can answer.

export const EXAMPLES = [
  { name: "Arithmetic", form: "short", simulated: true, question: "What is 3 + 4 * (7 - 2)?" },
  {
    name: "Multiple choice", form: "choices", simulated: true,
    question: "What is (9 + 6) * 4?\n\nA. 33\nB. 54\nC. 60\nD. 64",
  },
  {
    name: "JSON by a schema", form: "json", simulated: true, question: "What is 17 * 23?",
    schema: { type: "object", properties: { answer: { type: "integer" } }, required: ["answer"], additionalProperties: false },
  },
  {
    name: "Tool call", form: "tools", simulated: true, question: "What is the weather in Lisbon?", required: true,
    tools: [{
      type: "function",
      function: {
        name: "get_weather", description: "The weather in a city now",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    }],
  },
  { name: "Prose", form: "open_ended", simulated: false, question: "Explain in two sentences why the sky is blue." },
];
