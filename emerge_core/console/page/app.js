// Tabs, the key, and the start of the page.

import { askTab } from "./ask.js";
import { ensemblesTab } from "./ensembles.js";
import { requestsTab } from "./requests.js";
import { get, onKeyNeeded } from "./server.js";
import { h } from "./view.js";

const NAMES = ["ask", "requests", "ensembles"];
const tab = (name) => document.getElementById(`tab-${name}`);
const notice = document.getElementById("notice");
let requests = null;

function show(name) {
  for (const each of NAMES) {
    const selected = each === name;
    tab(each).setAttribute("aria-selected", String(selected));
    tab(each).tabIndex = selected ? 0 : -1;
    document.getElementById(each).hidden = !selected;
  }
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  if (name === "requests") requests?.show();
  else requests?.hide();
}

const wanted = () => NAMES.includes(location.hash.slice(1)) ? location.hash.slice(1) : NAMES[0];

for (const [index, name] of NAMES.entries()) {
  tab(name).addEventListener("click", () => show(name));
  tab(name).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = event.key === "Home" ? NAMES[0] : event.key === "End" ? NAMES[NAMES.length - 1] : step ? NAMES[(index + step + NAMES.length) % NAMES.length] : null;
    if (!next) return;
    event.preventDefault();
    show(next);
    tab(next).focus();
  });
}
window.addEventListener("hashchange", () => show(wanted()));

let asking = null;
onKeyNeeded((refused) => {
  asking ??= askForKey(refused).finally(() => { asking = null; });
  return asking;
});

function askForKey(refused) {
  const dialog = document.getElementById("key-dialog");
  const input = document.getElementById("key");
  document.getElementById("key-error").textContent = refused ? "The server does not accept this key." : "";
  input.value = "";
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    const done = () => {
      dialog.removeEventListener("close", done);
      resolve(dialog.returnValue === "given" && input.value ? input.value.trim() : null);
    };
    dialog.addEventListener("close", done);
  });
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  document.getElementById("key-dialog").close("given");
});

async function start() {
  notice.replaceChildren();
  try {
    const config = await get("config");
    document.getElementById("where").textContent = location.host;
    askTab(document.getElementById("ask"), config);
    requests = requestsTab(document.getElementById("requests"), config);
    ensemblesTab(document.getElementById("ensembles"), config);
    show(wanted());
    document.body.dataset.ready = "true";
    if (wanted() === "ask") document.getElementById("question").focus();
  } catch (error) {
    notice.replaceChildren(h("div", { class: "card warning" }, h("p", {}, error.message),
      h("button", { type: "button", class: "primary", on: { click: () => void start() } }, "Try again")));
  }
}

void start();
