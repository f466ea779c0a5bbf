// Small helpers around the document; nothing here knows the game.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children. Text always goes in as text, never as markup. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets text only when it differs, so that live regions speak and selections survive. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Opens a modal dialog; opening an open one is no error. */
export function openDialog(dialog) {
  if (!dialog.open) dialog.showModal();
}

/** Buttons with `data-close` close the dialog they stand in. */
export function wireClosers() {
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}
