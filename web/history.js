// History, recall of one round, and the check of its fairness.

import { $, h, openDialog, setText } from "./dom.js";
import { clock, money } from "./format.js";
import { canVerify, isSeed, seedHash, verifyRound } from "./fairness.js";
import { drawReels, linesInWords } from "./reels.js";

const PAGE = 20;
const REVEALED_KEY = "pitboss.revealed";
const REVEALED_MAX = 50;

/** Seeds revealed so far, by their hash. They are public; they are kept so that old rounds stay checkable after a reload. */
const revealed = new Map();

function loadRevealed() {
  try {
    for (const [hash, seed] of JSON.parse(localStorage.getItem(REVEALED_KEY)) ?? []) revealed.set(hash, seed);
  } catch {
    // Storage switched off or unreadable: seeds are then known until the page is closed.
  }
}

async function addRevealed(seed) {
  if (!seed || !isSeed(seed) || !canVerify()) return;
  revealed.set(await seedHash(seed), seed);
  for (const hash of [...revealed.keys()].slice(0, -REVEALED_MAX)) revealed.delete(hash);
  try {
    localStorage.setItem(REVEALED_KEY, JSON.stringify([...revealed]));
  } catch {
    // As above.
  }
}

const randomSeed = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function say(node, text, tone = "bad") {
  node.dataset.tone = tone;
  setText(node, text);
}

export function wireHistory({ client, session, coin, explain }) {
  let next = null;
  let shown = null;
  loadRevealed();

  async function openHistory() {
    $("history-rows").replaceChildren();
    $("history-empty").hidden = true;
    next = null;
    openDialog($("history-dialog"));
    await more();
  }

  async function more() {
    say($("history-message"), "");
    try {
      const reply = await client.request("history", next === null ? { limit: PAGE } : { before: next, limit: PAGE });
      $("history-rows").append(...reply.rounds.map(row));
      next = reply.next ?? null;
      $("history-more").hidden = next === null;
      $("history-empty").hidden = $("history-rows").childElementCount > 0;
    } catch (error) {
      say($("history-message"), explain(error));
    }
  }

  const sum = (minor, round) => (round.currency === session.currency ? coin(minor) : money(minor, round.currency));

  function row(round) {
    return h(
      "tr",
      { "data-testid": "history-row", "data-round": round.round, "data-stake": round.stake, "data-win": round.win },
      h("td", { class: "num" }, clock(round.at)),
      h("td", {}, round.game),
      h("td", {}, round.status),
      h("td", { class: "n" }, sum(round.stake, round)),
      h("td", { class: "n" }, sum(round.win + round.jackpot_win, round)),
      h("td", { class: "n" }, h("button", { type: "button", "data-testid": "history-open", "aria-label": `Details of the round of ${clock(round.at)}`, onclick: () => openRound(round) }, "Details")),
    );
  }

  async function openRound(known) {
    show(known);
    openDialog($("round-dialog"));
    if (known.detail) return;
    try {
      show(await client.request("round", { round: known.round }));
    } catch (error) {
      say($("proof-verdict"), explain(error));
    }
  }

  function show(round) {
    shown = round;
    const detail = round.detail;
    const facts = [
      ["Round", round.round, "code"],
      ["When", clock(round.at), "num"],
      ["Status", round.status, ""],
      ["Stake", sum(round.stake, round), "num"],
      ["Return", sum(round.win, round), "num"],
      ...(round.jackpot_win > 0 ? [["Jackpot", sum(round.jackpot_win, round), "num strong"]] : []),
      ...(detail?.lines?.length > 0 ? [["Lines", linesInWords(detail), ""]] : []),
      ...(detail?.multiplier > 1 ? [["Multiplier", `× ${detail.multiplier}`, "num"]] : []),
      ...(detail?.fairness ? [["Seed hash", detail.fairness.seed_hash, "code"], ["Your seed", detail.fairness.client_seed, "code"], ["Nonce", String(detail.fairness.nonce), "num"]] : []),
    ];
    $("round-facts").replaceChildren(...facts.map(([name, value, style]) => h("div", {}, h("dt", {}, name), h("dd", { class: style }, value))));
    $("round-reels").hidden = !drawReels($("round-reels"), detail);
    $("round-proof").hidden = !detail?.fairness;
    $("proof-seed").value = revealed.get(detail?.fairness?.seed_hash) ?? "";
    setText($("round-raw"), JSON.stringify(round, null, 2));
    verdict(null, $("proof-seed").value ? "The seed of this round is revealed; it can be checked." : "The seed of this round is not revealed yet. Reveal it to check the round.");
  }

  function verdict(valid, text, checks = []) {
    const node = $("proof-verdict");
    if (valid === null) delete node.dataset.valid;
    else node.dataset.valid = String(valid);
    setText(node, text);
    $("proof-checks").replaceChildren(...checks.map(({ ok, text: what }) => h("li", { class: ok ? "ok" : "no" }, `${ok ? "✓" : "✗ Not so:"} ${what}`)));
    if (valid !== null) $("proof-checks").scrollIntoView({ block: "nearest" });
  }

  async function verify(event) {
    event.preventDefault();
    const seed = $("proof-seed").value.trim().toLowerCase();
    if (!canVerify()) return verdict(null, "This browser checks rounds over https only. Open the page with https and try again.");
    if (!isSeed(seed)) return verdict(null, "The server seed has 64 hex digits. Reveal it first, then check.");
    try {
      const { valid, checks } = await verifyRound(seed, shown);
      verdict(valid, valid ? "Valid: this round is exactly what the seeds draw." : "Not valid with this seed.", checks);
    } catch {
      verdict(false, "Not valid: the round's record cannot be read.");
    }
  }

  async function rotate(clientSeed) {
    await client.request("fairness.rotate", { client_seed: clientSeed });
    const view = await client.request("fairness.get");
    await addRevealed(view.previous_seed);
    showFairness(view);
    return view;
  }

  async function rotateForRound() {
    try {
      await rotate(randomSeed());
      const seed = revealed.get(shown.detail.fairness.seed_hash);
      $("proof-seed").value = seed ?? "";
      verdict(null, seed ? "Revealed. Now check the round." : "This round used an older seed. Paste the seed that was revealed for it.");
    } catch (error) {
      verdict(null, explain(error));
    }
  }

  function showFairness(view) {
    setText($("seed-hash"), view.seed_hash);
    setText($("client-seed"), view.client_seed);
    setText($("nonce"), String(view.nonce));
    $("previous-seed-box").hidden = !view.previous_seed;
    setText($("previous-seed"), view.previous_seed ?? "");
    $("new-seed").value = randomSeed();
  }

  async function openFairness() {
    say($("fairness-message"), "");
    openDialog($("fairness-dialog"));
    try {
      const view = await client.request("fairness.get");
      await addRevealed(view.previous_seed);
      showFairness(view);
    } catch (error) {
      say($("fairness-message"), explain(error));
    }
  }

  async function submitRotate(event) {
    event.preventDefault();
    try {
      await rotate($("new-seed").value);
      say($("fairness-message"), "Rotated. The seed used before is revealed above; check its rounds in the history.", "good");
    } catch (error) {
      say($("fairness-message"), explain(error));
    }
  }

  client.on("welcome", (data) => {
    addRevealed(data.fairness.previous_seed);
    showFairness(data.fairness);
  });
  for (const id of ["open-history", "reality-history"]) $(id).addEventListener("click", openHistory);
  $("history-more").addEventListener("click", more);
  $("open-fairness").addEventListener("click", openFairness);
  $("rotate-form").addEventListener("submit", submitRotate);
  $("proof-form").addEventListener("submit", verify);
  $("proof-rotate").addEventListener("click", rotateForRound);
}
