// What is published about Starfall, as sandbox/src/slot.rs states it: enough to draw a round again and to say what it pays.
// The browser test plays real rounds and checks them with this copy, so the two cannot drift apart unseen.

export const SYMBOLS = ["star", "comet", "planet", "moon", "rocket", "ruby", "emerald", "sapphire", "topaz"];
export const STAR = 0;
export const ROWS = 3;
export const LINES = 10;

/** What three, four and five of a symbol pay, in multiples of the stake per line. */
export const PAYS = [
  [0, 0, 0], [50, 250, 2500], [25, 100, 600], [20, 75, 400], [15, 50, 250], [10, 30, 120], [6, 25, 80], [5, 20, 75], [5, 15, 60],
];

/** The row each line takes on each reel. */
export const PAYLINES = [
  [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [2, 2, 2, 2, 2], [0, 1, 2, 1, 0], [2, 1, 0, 1, 2],
  [0, 0, 1, 2, 2], [2, 2, 1, 0, 0], [1, 0, 0, 0, 1], [1, 2, 2, 2, 1], [1, 0, 1, 2, 1],
];

export const STRIPS = [
  [5, 4, 7, 2, 6, 5, 3, 7, 2, 6, 4, 5, 8, 7, 1, 6, 8, 7, 5, 8, 6, 3, 4, 8],
  [3, 2, 6, 8, 3, 6, 7, 5, 6, 0, 2, 5, 8, 6, 4, 7, 8, 1, 7, 5, 0, 4, 7, 8],
  [7, 4, 8, 2, 5, 7, 3, 6, 0, 8, 6, 5, 8, 4, 7, 6, 4, 3, 8, 7, 1, 5, 0, 6],
  [7, 8, 6, 3, 5, 7, 0, 6, 2, 3, 1, 8, 4, 5, 6, 8, 0, 6, 7, 8, 5, 7, 2, 4],
  [7, 6, 8, 4, 3, 8, 7, 6, 5, 8, 6, 2, 5, 4, 1, 2, 5, 4, 7, 8, 3, 7, 6, 1],
];

/** The grid some stops show: `grid[reel][row]`, rows from the top. */
export const gridAt = (stops) => STRIPS.map((strip, reel) => Array.from({ length: ROWS }, (_, row) => strip[(stops[reel] + row) % strip.length]));

/** Winning lines as the round's record has them: `[line, symbol, count, pays]`. */
export function linesOf(grid) {
  const lines = [];
  PAYLINES.forEach((rows, line) => {
    const symbol = grid[0][rows[0]];
    const misses = rows.findIndex((row, reel) => grid[reel][row] !== symbol && grid[reel][row] !== STAR);
    const count = misses === -1 ? rows.length : misses;
    if (count >= 3) lines.push([line, symbol, count, PAYS[symbol][count - 3]]);
  });
  return lines;
}

/** What a grid returns for a stake: minor units, before any jackpot. */
export function winOf(grid, stake) {
  const multiplier = grid[2][1] === STAR ? 2 : 1;
  return Math.floor((stake * multiplier * linesOf(grid).reduce((sum, line) => sum + line[3], 0)) / LINES);
}
