// Elements, made without markup: whatever comes from a model or a config is text, never HTML.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const INLINE = /(\*\*[^*\n]+\*\*|`[^`\n]+`)/;

// A reply's text: fenced code, inline code and bold are shown as such, all else as it stands.
export function rich(text) {
  const parts = text.split(/^```[^\n]*\n?/m);
  return parts.map((part, index) => {
    if (index % 2) return h("pre", {}, h("code", {}, part.replace(/\n$/, "")));
    if (!part.trim()) return null;
    return h("p", { class: "prose" }, part.replace(/^\n+|\n+$/g, "").split(INLINE).map((piece) => {
      if (piece.length > 4 && piece.startsWith("**") && piece.endsWith("**")) return h("strong", {}, piece.slice(2, -2));
      if (piece.length > 2 && piece.startsWith("`") && piece.endsWith("`")) return h("code", {}, piece.slice(1, -1));
      return piece;
    }));
  });
}

export function pill(kind, text, title) {
  return h("span", { class: `pill ${kind}`, title }, text);
}

export function fact(label, value, note) {
  return h("div", { class: "fact" }, h("dt", {}, label), h("dd", {}, value, note ? h("span", { class: "fact-note" }, note) : null));
}

export function bar(share, kind = "", start = 0) {
  const width = Math.max(Math.min(share, 1 - start) * 100, share > 0 ? 0.8 : 0);
  const fill = h("span", { class: `fill ${kind}`, style: { width: `${width}%`, "margin-left": `${Math.min(start, 0.99) * 100}%` } });
  return h("span", { class: "bar" }, fill);
}

export function copyButton(label, text) {
  const button = h("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copying is not allowed here";
    }
    setTimeout(() => { button.textContent = label; }, 1600);
  });
  return button;
}

export function select(id, label, options, chosen, change) {
  const element = h("select", { id, on: { change: () => change(element.value) } },
    options.map(([value, text]) => h("option", { value }, text)));
  element.value = chosen;
  return h("div", { class: "field" }, h("label", { for: id }, label), element);
}
