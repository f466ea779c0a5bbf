// Draws a past round again from its seeds, with the browser's own cryptography and nothing of the server's.
// The algorithm is the table at the top of sandbox/src/fairness.rs, "hmac-sha256/v1".

import { STRIPS, gridAt, winOf } from "./slot.js";

export const ALGORITHM = "hmac-sha256/v1";
const WORDS = 2 ** 32;
const WORD_BYTES = 4;
const BLOCKS_MAX = 32;

export const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

export const isSeed = (text) => /^[0-9a-f]{64}$/i.test(text);

const unhex = (text) => Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));

/** Browsers offer WebCrypto on https and on this machine only. */
export const canVerify = () => Boolean(globalThis.crypto?.subtle);

/** The commitment to a server seed. */
export async function seedHash(seed) {
  return hex(await crypto.subtle.digest("SHA-256", unhex(seed)));
}

/** The words of four bytes a round draws from, in order. */
async function* words(seed, clientSeed, nonce) {
  const key = await crypto.subtle.importKey("raw", unhex(seed), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  for (let block = 0; block < BLOCKS_MAX; block += 1) {
    const text = new TextEncoder().encode(`${clientSeed}:${nonce}:${block}`);
    const view = new DataView(await crypto.subtle.sign("HMAC", key, text));
    for (let at = 0; at < view.byteLength; at += WORD_BYTES) yield view.getUint32(at);
  }
}

/** The stops of the reels, left to right. */
export async function drawStops(seed, clientSeed, nonce) {
  const stops = [];
  for await (const word of words(seed, clientSeed, nonce)) {
    const range = STRIPS[stops.length].length;
    // Words of the incomplete last run are skipped, else small numbers would come more often.
    if (word < WORDS - (WORDS % range)) stops.push(word % range);
    if (stops.length === STRIPS.length) return stops;
  }
  throw new Error("no outcome within the bound of blocks");
}

/** Checks one round: `{ valid, checks: [{ ok, text }] }`. `round` is a round of the history with its detail. */
export async function verifyRound(seed, round) {
  const { fairness, grid } = round.detail;
  if (fairness.algorithm !== undefined && fairness.algorithm !== ALGORITHM) {
    return { valid: false, checks: [{ ok: false, text: `This page does not know the algorithm ${fairness.algorithm}` }] };
  }
  const hash = await seedHash(seed);
  const stops = await drawStops(seed, fairness.client_seed, fairness.nonce);
  const drawn = gridAt(stops);
  const win = winOf(drawn, round.stake);
  const checks = [
    { ok: hash === fairness.seed_hash, text: "The revealed seed has the hash that was shown before the round" },
    { ok: JSON.stringify(drawn) === JSON.stringify(grid), text: `The seeds draw exactly these symbols (stops ${stops.join(", ")})` },
    { ok: win === round.win, text: "The pay table gives exactly this return" },
  ];
  return { valid: checks.every((check) => check.ok), checks };
}
