// Drives the real pages in headless Chromium, as a person would, and checks what they show against what the server said.
//
//   node browser.mjs --url http://127.0.0.1:8080 --ops http://127.0.0.1:8082 --shots DIR [--only WORD]
//
// Needs the demo players `ana` and `rita` (whose reality check comes every second). CHROMIUM names another browser.
// Prints TAP and "N passed, N failed"; exits 1 on a failure.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { drawStops, seedHash } from "../fairness.js";
import { gridAt, linesOf, winOf } from "../slot.js";

const { values: args } = parseArgs({
  options: { url: { type: "string" }, ops: { type: "string" }, shots: { type: "string" }, only: { type: "string" } },
});
if (!args.url || !args.ops) {
  console.error("usage: node browser.mjs --url http://127.0.0.1:PORT --ops http://127.0.0.1:PORT [--shots DIR] [--only WORD]");
  process.exit(2);
}
if (args.shots) mkdirSync(args.shots, { recursive: true });

const WAIT_MAX_MS = 20_000;
const TABS_MAX = 60;
const SPIN_TRIES_MAX = 20;
const REALITY_TRIES_MAX = 20;
const DESKTOP = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };

const tests = [];
const test = (name, run) => tests.push({ name, run });

// What went over the wire is kept beside the page, so that a test can compare, cut a connection and speak for itself.
function recordWire() {
  const Real = window.WebSocket;
  const wire = { sockets: [], sent: [], received: [], cutAfter: null };
  window.wire = wire;
  window.WebSocket = class extends Real {
    constructor(...all) {
      super(...all);
      wire.sockets.push(this);
      this.addEventListener("message", (event) => wire.received.push(JSON.parse(event.data)));
    }
    send(text) {
      const message = JSON.parse(text);
      wire.sent.push(message);
      super.send(text);
      if (wire.cutAfter === message.type) {
        // The answer is never read: whether the request happened is unknown to the page.
        wire.cutAfter = null;
        this.onmessage = null;
        setTimeout(() => this.close(), 0);
      }
    }
  };
  wire.live = () => wire.sockets[wire.sockets.length - 1];
  wire.ask = (type, data = {}) => {
    const hex = Array.from(crypto.getRandomValues(new Uint8Array(10)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const time = Date.now().toString(16).padStart(12, "0");
    const id = `${time.slice(0, 8)}-${time.slice(8)}-7${hex.slice(0, 3)}-8${hex.slice(3, 6)}-${hex.slice(6, 18)}`;
    const socket = wire.live();
    return new Promise((resolve, reject) => {
      const listen = (event) => {
        const message = JSON.parse(event.data);
        if (message.re !== id) return;
        socket.removeEventListener("message", listen);
        resolve(message);
      };
      socket.addEventListener("message", listen);
      socket.addEventListener("close", () => reject(new Error("the socket closed")));
      socket.send(JSON.stringify({ v: 1, id, type, data }));
    });
  };
}

let browser;
const complaints = [];
const foreign = [];

async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-GB", ...options });
  context.setDefaultTimeout(WAIT_MAX_MS);
  await context.addInitScript(recordWire);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !/WebSocket connection/.test(message.text())) complaints.push(message.text());
  });
  const home = [new URL(args.url).host, new URL(args.ops).host];
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && !home.includes(url.host)) foreign.push(request.url());
  });
  return page;
}

const id = (page, name) => page.getByTestId(name);
const minor = async (page, name) => Number(await id(page, name).getAttribute("data-minor"));
const isOnline = (page) => page.waitForFunction(() => document.getElementById("connection").dataset.state === "online");

async function logIn(page, player) {
  await page.goto(args.url);
  await id(page, `login-${player}`).click();
  await isOnline(page);
  await page.waitForFunction(() => document.getElementById("cash").dataset.minor !== undefined);
}

const lastRound = (page) => id(page, "last-win").getAttribute("data-round");

/** Presses until a new round is shown; a refused press (the game's cycle) waits for the button and presses again. */
async function spinOnce(page, press = () => id(page, "spin").click()) {
  const before = await lastRound(page);
  for (let attempt = 0; attempt < SPIN_TRIES_MAX; attempt += 1) {
    await page.waitForFunction(() => document.getElementById("spin").getAttribute("aria-disabled") === "false");
    await press();
    await page.waitForFunction(
      (old) => (document.getElementById("last-win").dataset.round ?? null) !== old || document.getElementById("spin-message").textContent !== "",
      before,
    );
    if ((await lastRound(page)) !== before) return;
    const text = await id(page, "spin-message").textContent();
    assert.match(text, /^The next round may start/, `the spin was refused: ${text}`);
  }
  assert.fail("no spin was accepted");
}

async function shoot(page, name) {
  if (args.shots) await page.screenshot({ path: join(args.shots, `${name}.png`), fullPage: true });
}

let ana;

test("the page draws the round that the studio publishes as its example", async () => {
  const seed = Array.from({ length: 32 }, (_, n) => n.toString(16).padStart(2, "0")).join("");
  assert.equal(await seedHash(seed), "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd");
  const stops = await drawStops(seed, "lucky", 67);
  assert.deepEqual(stops, [15, 12, 21, 13, 23]);
  assert.deepEqual(linesOf(gridAt(stops)), [[3, 6, 4, 25], [9, 8, 4, 15]]);
  assert.equal(winOf(gridAt(stops), 100), 800);
});

test("a demo player logs in and sees cash, bonus and in play", async () => {
  ana = await newPage();
  await ana.goto(args.url);
  await id(ana, "login-ana").waitFor();
  await shoot(ana, "login-light");
  await logIn(ana, "ana");
  const welcome = await ana.evaluate(() => window.wire.received.find((frame) => frame.ok?.balance)?.ok);
  for (const [name, field] of [["cash", "cash"], ["bonus", "bonus"], ["in-play", "in_play"]]) {
    assert.equal(await minor(ana, name), welcome.balance[field], `${name} is what the server said`);
  }
  assert.ok((await minor(ana, "cash")) > 0, "the demo player has funds");
  const cash = await id(ana, "cash").textContent();
  assert.equal(Number(cash.replace(/[^0-9]/g, "")), welcome.balance.cash, "the text has the digits of the minor units");
});

test("the jackpot is shown and below its promise", async () => {
  await id(ana, "jackpot-amount").waitFor();
  const promised = await ana.evaluate(() => Math.max(...window.wire.received.find((frame) => frame.ok?.jackpots).ok.jackpots.map((one) => one.must_hit_by)));
  const shown = await minor(ana, "jackpot-amount");
  assert.ok(shown > 0 && shown <= promised, `${shown} of ${promised}`);
  assert.match(await id(ana, "jackpot-amount").textContent(), /\d/);
});

test("five spins: cash moves by exactly stake and return, and only a gain is celebrated", async () => {
  for (let n = 0; n < 5; n += 1) {
    const before = await minor(ana, "cash");
    await spinOnce(ana);
    const { stake, stakeBonus, winBonus, minor: win } = await id(ana, "last-win").evaluate((node) => ({ ...node.dataset }));
    assert.equal(Number(stake), Number(await id(ana, "stake").inputValue()), "the stake is the chosen one");
    const expected = before - (Number(stake) - Number(stakeBonus)) + (Number(win) - Number(winBonus));
    assert.equal(await minor(ana, "cash"), expected, `spin ${n + 1}`);
    const isCelebrated = await id(ana, "result").evaluate((node) => node.classList.contains("won"));
    assert.equal(isCelebrated, Number(win) > Number(stake), "celebrated only above the stake");
    assert.equal(await ana.locator("#reels .cell").count(), 15);
  }
});

test("net position and elapsed time of the session are visible", async () => {
  assert.match(await id(ana, "elapsed").textContent(), /^\d+:\d\d:\d\d$/);
  const net = await minor(ana, "net");
  const sum = await ana.evaluate(async () => {
    const started = window.wire.received.find((frame) => frame.ok?.session_started_at).ok.session_started_at;
    const reply = await window.wire.ask("history", { limit: 100 });
    return reply.ok.rounds.filter((round) => round.at >= started).reduce((total, round) => total + round.win + round.jackpot_win - round.stake, 0);
  });
  assert.equal(net, sum, "net is the sum of the session's rounds");
});

test("a lost connection is said, healed, and changes no balance", async () => {
  const before = await minor(ana, "cash");
  // Read before the cut: the hello is a command of its own and moves the version.
  const seen = await id(ana, "cash").getAttribute("data-version");
  const opened = await ana.evaluate(() => window.wire.sockets.length);
  await ana.evaluate(() => {
    window.states = [];
    const node = document.getElementById("connection");
    new MutationObserver(() => window.states.push(node.dataset.state)).observe(node, { attributes: true });
    window.wire.live().close();
  });
  await ana.waitForFunction((n) => window.wire.sockets.length > n && window.states.includes("lost") && document.getElementById("connection").dataset.state === "online", opened);
  const hello = await ana.evaluate(() => window.wire.sent.findLast((frame) => frame.type === "hello"));
  assert.equal(String(hello.data.resume_from), seen, "it resumes from the balance it saw");
  assert.equal(await minor(ana, "cash"), before);
});

test("a spin whose answer is lost is asked again by the same id and counts once", async () => {
  await spinOnce(ana);
  const before = await minor(ana, "cash");
  await spinOnce(ana, async () => {
    await ana.evaluate(() => {
      window.wire.cutAfter = "spin";
    });
    await id(ana, "spin").click();
  });
  const spins = await ana.evaluate(() => window.wire.sent.filter((frame) => frame.type === "spin"));
  const asked = spins.filter((frame) => frame.id === spins.at(-1).id);
  assert.ok(asked.length >= 2, "it was sent again by the same id");
  const answers = await ana.evaluate((re) => window.wire.received.filter((frame) => frame.re === re && frame.ok).map((frame) => frame.ok.round), spins.at(-1).id);
  assert.equal(new Set(answers).size, 1, "all its answers are of one round");
  const { stake, minor: win, stakeBonus, winBonus } = await id(ana, "last-win").evaluate((node) => ({ ...node.dataset }));
  assert.equal(await minor(ana, "cash"), before - (stake - stakeBonus) + (win - winBonus), "and it counted once");
});

test("a past round is proven fair after the seed is rotated, and a wrong seed is not accepted", async () => {
  await id(ana, "open-history").click();
  await id(ana, "history-row").first().waitFor();
  assert.ok((await id(ana, "history-row").count()) >= 6, "the spins are in the history");
  assert.equal(await id(ana, "history-row").first().getAttribute("data-round"), await lastRound(ana), "newest first");
  await shoot(ana, "history-light");
  await id(ana, "history-open").first().click();
  assert.equal(await ana.locator("#round-reels .cell").count(), 15);
  await id(ana, "proof-rotate").click();
  await ana.waitForFunction(() => /^[0-9a-f]{64}$/.test(document.getElementById("proof-seed").value));
  await id(ana, "proof-verify").click();
  await ana.waitForFunction(() => document.getElementById("proof-verdict").dataset.valid !== undefined);
  assert.equal(await id(ana, "proof-verdict").getAttribute("data-valid"), "true", await id(ana, "proof-checks").innerText());
  await shoot(ana, "round-light");
  const seed = await id(ana, "proof-seed").inputValue();
  await id(ana, "proof-seed").fill((seed[0] === "0" ? "1" : "0") + seed.slice(1));
  await id(ana, "proof-verify").click();
  await ana.waitForFunction(() => document.getElementById("proof-verdict").dataset.valid === "false");
  await id(ana, "round-close").click();
  // Every round drawn from the revealed seed is checkable, not only the one it was revealed for.
  await id(ana, "history-open").nth(3).click();
  await id(ana, "proof-verify").click();
  await ana.waitForFunction(() => document.getElementById("proof-verdict").dataset.valid === "true");
  await id(ana, "round-close").click();
  await id(ana, "history-close").click();
});

test("the fairness dialog rotates to the player's own seed and shows the seed before", async () => {
  await id(ana, "open-fairness").click();
  const hash = await id(ana, "seed-hash").textContent();
  assert.match(hash, /^[0-9a-f]{64}$/);
  await id(ana, "new-seed").fill("my-own-seed");
  await id(ana, "rotate-seed").click();
  await ana.waitForFunction(() => document.getElementById("client-seed").textContent === "my-own-seed");
  const previous = await id(ana, "previous-seed").textContent();
  const digest = await ana.evaluate(async (seed) => {
    const bytes = Uint8Array.from(seed.match(/../g), (pair) => Number.parseInt(pair, 16));
    return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }, previous);
  assert.equal(digest, hash, "the revealed seed has the hash shown before");
  assert.notEqual(await id(ana, "seed-hash").textContent(), hash);
  await shoot(ana, "fairness-light");
  await id(ana, "fairness-close").click();
});

test("a player's limit is set and shown", async () => {
  await id(ana, "open-limits").click();
  await id(ana, "limit-row").first().waitFor();
  await id(ana, "limit-kind").selectOption("wager:month");
  await id(ana, "limit-value").fill("a lot");
  await id(ana, "limit-save").click();
  assert.match(await id(ana, "limit-message").textContent(), /Write it like/);
  await id(ana, "limit-value").fill("10000");
  await id(ana, "limit-save").click();
  const own = ana.locator('[data-limit="wager:month"] [data-testid="limit-own"]');
  const exponent = await ana.evaluate(() => window.wire.received.find((frame) => frame.ok?.exponent !== undefined).ok.exponent);
  await own.waitFor();
  await ana.waitForFunction((value) => document.querySelector('[data-limit="wager:month"] [data-testid="limit-own"]')?.dataset.value === value, String(10_000 * 10 ** exponent));
  await shoot(ana, "limits-light");
});

test("a break is asked back before it is taken", async () => {
  for (const start of ["time-out-start", "exclude-start"]) {
    const sent = await ana.evaluate(() => window.wire.sent.length);
    await id(ana, start).click();
    await id(ana, "confirm-dialog").waitFor();
    assert.equal(await ana.evaluate(() => document.activeElement.id), "confirm-no", "the safe answer has the focus");
    await id(ana, "confirm-no").click();
    await id(ana, "confirm-dialog").waitFor({ state: "hidden" });
    const since = await ana.evaluate((n) => window.wire.sent.slice(n).map((frame) => frame.type), sent);
    assert.ok(!since.some((type) => type.startsWith("rg.")), "nothing was sent");
  }
  await id(ana, "limits-close").click();
});

test("the keyboard alone reaches the spin button and plays", async () => {
  await ana.reload();
  await isOnline(ana);
  await ana.evaluate(() => document.activeElement.blur());
  let reached = false;
  for (let n = 0; n < TABS_MAX && !reached; n += 1) {
    await ana.keyboard.press("Tab");
    reached = await ana.evaluate(() => document.activeElement.id === "spin");
  }
  assert.ok(reached, "Tab reaches the spin button");
  const outline = await id(ana, "spin").evaluate((node) => getComputedStyle(node).outlineStyle);
  assert.notEqual(outline, "none", "the focus is visible");
  await spinOnce(ana, () => ana.keyboard.press("Enter"));
  assert.equal(await ana.evaluate(() => document.activeElement.id), "spin", "the focus stays for the next round");
});

test("a reality check blocks play until it is acknowledged", async () => {
  const rita = await newPage();
  await logIn(rita, "rita");
  const isOpen = () => rita.evaluate(() => document.getElementById("reality-dialog").open);
  const stake = Number(await id(rita, "stake").inputValue());
  await rita.waitForFunction(() => document.getElementById("reality-dialog").open);
  assert.match(await id(rita, "reality-elapsed").textContent(), /^\d+:\d\d:\d\d$/);
  for (const name of ["reality-wagered", "reality-won", "reality-net"]) assert.match(await id(rita, name).textContent(), /\d/, name);
  for (let n = 0; n < 3; n += 1) await rita.keyboard.press("Escape");
  assert.ok(await isOpen(), "Escape does not answer it");
  await shoot(rita, "reality-light");
  const refused = await rita.evaluate((amount) => window.wire.ask("spin", { game: "starfall", stake: amount }), stake);
  assert.equal(refused.error?.code, "reality_check_pending", "the server refuses too");
  await id(rita, "reality-history").click();
  await id(rita, "history-dialog").waitFor();
  await id(rita, "history-close").click();
  assert.ok(await isOpen(), "the history does not answer it");
  // The next check comes a second later, so that the answer and the spin after it are one step, tried until it fits.
  let played = null;
  for (let n = 0; n < REALITY_TRIES_MAX && !played?.ok; n += 1) {
    await rita.waitForFunction(() => document.getElementById("reality-dialog").open);
    played = await rita.evaluate(async (amount) => {
      const dialog = document.getElementById("reality-dialog");
      document.getElementById("reality-ack").click();
      await new Promise((resolve) => {
        const look = () => (dialog.open ? requestAnimationFrame(look) : resolve());
        look();
      });
      return window.wire.ask("spin", { game: "starfall", stake: amount });
    }, stake);
  }
  assert.ok(played.ok, `after it play goes on: ${JSON.stringify(played.error)}`);
  await rita.waitForFunction(() => document.getElementById("reality-dialog").open);
  await id(rita, "reality-logout").click();
  await id(rita, "login-rita").waitFor();
  assert.ok(!(await isOpen()), "logging out is a way out");
  await rita.context().close();
});

test("the operations page is live and does not jump", async () => {
  const page = await newPage();
  await page.goto(new URL("/ops", args.ops).href);
  await isOnline(page);
  await page.waitForFunction(() => document.getElementById("bets_per_minute").dataset.value !== undefined);
  const boxes = () => page.locator(".tile").evaluateAll((tiles) => tiles.map((tile) => JSON.stringify(tile.getBoundingClientRect())));
  const figures = () => page.locator("main").innerText();
  const [boxesBefore, figuresBefore] = [await boxes(), await figures()];
  const spins = spinOnce(ana);
  const seen = await page.evaluate(() => window.wire.received.length);
  await page.waitForFunction((n) => window.wire.received.length >= n + 3, seen);
  await spins;
  await page.waitForFunction((old) => document.querySelector("main").innerText !== old, figuresBefore);
  assert.deepEqual(await boxes(), boxesBefore, "no tile moved while numbers ticked");
  const last = await page.evaluate(() => window.wire.received.at(-1));
  for (const name of ["p50", "p95", "p99", "open-rounds", "segment-lag", "projection-lag", "connections", "actors-players"]) {
    assert.match(await id(page, name).textContent(), /\d/, name);
  }
  assert.equal(await id(page, "jackpots").locator("tr").count(), Math.max(1, last.jackpots.length));
  await page.waitForFunction(() => document.querySelector('[data-testid="leaderboard"] tr td.n') !== null);
  await shoot(page, "ops-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction((n) => window.wire.received.length > n, await page.evaluate(() => window.wire.received.length));
  await shoot(page, "ops-dark");
  await page.setViewportSize(PHONE);
  await shoot(page, "ops-phone");
  await noSideways(page);
  await page.evaluate(() => window.wire.live().close());
  await page.waitForFunction(() => document.getElementById("connection").dataset.state === "lost");
  await isOnline(page);
  await page.context().close();
});

async function noSideways(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `the page is ${over} px wider than the screen`);
}

test("the game fits desktop and phone, light and dark", async () => {
  await shoot(ana, "play-light");
  await ana.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  await shoot(ana, "play-dark");
  await noSideways(ana);
  await ana.setViewportSize(PHONE);
  await shoot(ana, "play-phone-dark");
  await noSideways(ana);
  const small = await ana.locator("button:visible, select:visible").evaluateAll((nodes) => nodes.map((node) => node.getBoundingClientRect()).filter((box) => box.height < 44).length);
  assert.equal(small, 0, "every control is big enough for a thumb");
  const bottom = await id(ana, "spin").evaluate((node) => node.getBoundingClientRect().bottom);
  assert.ok(bottom <= PHONE.height, "the spin button is on the first screen");
  await ana.emulateMedia({ colorScheme: "light" });
  await shoot(ana, "play-phone-light");
});

test("logging out ends the session and shows the players again", async () => {
  await id(ana, "logout").click();
  await id(ana, "login-ana").waitFor();
  const types = await ana.evaluate(() => window.wire.sent.map((frame) => frame.type));
  assert.equal(types.at(-1), "session.end");
});

test("no script failed, no policy was broken and nothing came from elsewhere", async () => {
  assert.deepEqual(complaints, []);
  assert.deepEqual(foreign, []);
});

const profile = mkdtempSync(join(tmpdir(), "pitboss-browser-"));
browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", `--disk-cache-dir=${profile}`],
});
let [passed, failed] = [0, 0];
const chosen = tests.filter(({ name }) => !args.only || name.includes(args.only));
console.log(`TAP version 13\n1..${chosen.length}`);
for (const [at, { name, run }] of chosen.entries()) {
  try {
    await run();
    passed += 1;
    console.log(`ok ${at + 1} - ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${at + 1} - ${name}\n  ---\n  ${String(error.stack ?? error).replaceAll("\n", "\n  ")}\n  ...`);
  }
}
await browser.close();
rmSync(profile, { recursive: true, force: true });
console.log(`# ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
