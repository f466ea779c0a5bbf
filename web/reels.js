// Draws a grid of symbols. Symbols are drawn here as shapes, so that no font or picture has to be fetched.

import { h } from "./dom.js";
import { PAYLINES, SYMBOLS } from "./slot.js";

const SVG = "http://www.w3.org/2000/svg";

/** Shape and tone of each symbol, in the order of slot.js. Each has an outline of its own, so colour is never the only sign. */
const SHAPES = [
  ["M12 1.5l3.1 6.9 7.4.8-5.5 5.1 1.5 7.4L12 17.9 5.5 21.7 7 14.3 1.5 9.2l7.4-.8z", 0],
  ["M22 2L9.5 8.2A6.8 6.8 0 1 0 15.8 14.5z", 3],
  ["M12 5.5a6.5 6.5 0 0 1 6 4c3 .2 4.9.9 5.1 2 .2 1.3-1.8 2.7-4.8 3.7A6.5 6.5 0 0 1 6 14.5c-3-.2-4.9-.9-5.1-2-.2-1.3 1.8-2.7 4.8-3.7A6.5 6.5 0 0 1 12 5.5z", 2],
  ["M14.5 2a10 10 0 1 0 7.5 14.5A9 9 0 0 1 14.5 2z", 1],
  ["M12 1c4 3 5 7 5 11l3.5 4v4.5l-6-2.5h-5l-6 2.5V16L7 12c0-4 1-8 5-11zm0 7a2.2 2.2 0 1 0 0 4.4A2.2 2.2 0 0 0 12 8zM10 20h4l-2 3.5z", 4],
  ["M6 4h12l5 6-11 11L1 10z", 3],
  ["M8 2h8l5 5v10l-5 5H8l-5-5V7zM9.5 6L7 8.5v7L9.5 18h5l2.5-2.5v-7L14.5 6z", 2],
  ["M12 1l8 7v8l-8 7-8-7V8zM12 5.5L7.5 9.5v5l4.5 4z", 4],
  ["M12 3l10.5 18h-21zM12 9l-5 9h10z", 7],
];

/** A grid as the server wrote it: an array of reels, each an array of symbol numbers from top to bottom. */
function reelsOf(detail) {
  const grid = detail?.grid;
  return Array.isArray(grid) && grid.every(Array.isArray) ? grid : null;
}

export const symbolName = (number) => SYMBOLS[number] ?? String(number);

function symbol(number) {
  const [path, tone] = SHAPES[number] ?? [];
  if (!path) return h("span", {}, symbolName(number));
  const svg = document.createElementNS(SVG, "svg");
  const shape = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `tone-${tone}`);
  shape.setAttribute("d", path);
  shape.setAttribute("fill", "currentColor");
  shape.setAttribute("fill-rule", "evenodd");
  svg.append(shape);
  return svg;
}

/** Cells of the lines that pay, as "reel,row". */
function hitsOf(detail) {
  const hits = new Set();
  for (const [line, , count] of detail.lines ?? []) {
    for (let reel = 0; reel < count; reel += 1) hits.add(`${reel},${PAYLINES[line]?.[reel]}`);
  }
  return hits;
}

/** The winning lines in words: "3 × moon on line 4". */
export const linesInWords = (detail) => (detail?.lines ?? []).map(([line, number, count]) => `${count} × ${symbolName(number)} on line ${line + 1}`).join(", ");

/** Draws the grid and says it in words for those who do not see it. */
export function drawReels(box, detail) {
  const reels = reelsOf(detail);
  if (!reels) return false;
  const hits = hitsOf(detail);
  const columns = reels.map((reel, x) =>
    h("div", { class: "reel" }, ...reel.map((number, y) => h("div", { class: hits.has(`${x},${y}`) ? "cell hit" : "cell", "data-symbol": String(number) }, symbol(number)))),
  );
  box.replaceChildren(...columns);
  const words = linesInWords(detail);
  box.setAttribute("aria-label", `${reels.map((reel, x) => `Reel ${x + 1}: ${reel.map(symbolName).join(", ")}`).join(". ")}.${words ? ` Paid: ${words}.` : ""}`);
  return true;
}
