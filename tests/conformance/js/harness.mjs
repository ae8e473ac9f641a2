// What a client's program is made of: features that it uses, each a function that asserts.
import { readFileSync } from "node:fs";

export const baseURL = process.env.CONFORMANCE_URL;
export const model = process.env.CONFORMANCE_MODEL;
export const EMBEDDER = "small";
export const TALK = "The sea is wide and deep, and nobody has seen all of it.";
export const DEGREES = { Paris: 21, Rome: 27, Oslo: 9, Cairo: 35, Lima: 18 };
export const SEA = "Tell me of the sea.";
export const WARM = "How warm is it in Paris and in Rome?";
export const MEASURED = "Measured: 21 degrees; 27 degrees";

const features = [];

export function feature(name, run) {
  features.push([name, run]);
}

// Runs every feature and prints a line of JSON for each.
export async function run(client, packaged) {
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${packaged}/package.json`, import.meta.url)));
  for (const [name, test] of features) {
    let fault = null;
    try {
      await test();
    } catch (error) {
      console.error(error);
      fault = `${error.name}: ${String(error.message).slice(0, 300)}`;
    }
    console.log(JSON.stringify({ client, version, feature: name, fault }));
  }
}
