// The game page: login, the table, balances, reality check. It shows what the server says and computes no money,
// except the session's net position, which is the sum of the rounds the server reported.

import { $, h, openDialog, setText, wireClosers } from "./dom.js";
import { Client, Refusal, duration, money } from "./client.js";
import { explain } from "./errors.js";
import { drawReels, linesInWords } from "./reels.js";
import { gridAt } from "./slot.js";
import { wireHistory } from "./history.js";
import { wireLimits } from "./limits.js";

const HOSTED_GAME = "starfall";
const REMOTE_GAME = "starfall-remote";
const TOKEN_KEY = "pitboss.token";
const HISTORY_PAGE = 100;
/** So many pages of history are read to find the net position of a session that began before this page. */
const NET_PAGES_MAX = 20;
/** What the reels show before the first round; no round was drawn for it. */
const OPENING_STOPS = [0, 0, 0, 0, 0];

const client = new Client();
const session = { currency: "EUR", exponent: 2, startedAt: 0, name: "", realityPending: false };
/** Net of each round of the session, so that a round told twice (reply, push, resume) counts once. */
const rounds = new Map();
/** Jackpots won in this session, by round: they are told apart from the round's own return. */
const jackpotWins = new Map();
const jackpots = new Map();
let spinning = false;
let cycleOverAt = 0;
let stakeChosen = null;

const coin = (minor, signed = false) => money(minor, session.currency, session.exponent, signed);

function showMoney(node, minor, signed = false) {
  setText(node, coin(minor, signed));
  node.dataset.minor = String(minor);
}

// Login

const remember = {
  get: () => {
    try {
      return JSON.parse(sessionStorage.getItem(TOKEN_KEY));
    } catch {
      return null;
    }
  },
  set: (value) => {
    try {
      sessionStorage.setItem(TOKEN_KEY, JSON.stringify(value));
    } catch {
      // Storage switched off: a reload then asks for the player again.
    }
  },
};

async function fetchJson(path, init) {
  const reply = await fetch(path, init);
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refusal({ code: body.code ?? "unavailable", title: body.title ?? reply.statusText, ...body });
  return body;
}

async function showLogin(message = "") {
  client.close();
  remember.set(null);
  clearTable();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("game").hidden = true;
  $("session-strip").hidden = true;
  $("login").hidden = false;
  $("main").focus();
  sayLogin(message);
  try {
    const players = await fetchJson("/v1/demo/players");
    $("players").replaceChildren(...players.map((player) => h("li", {}, playerButton(player))));
  } catch {
    sayLogin("The demo players could not be loaded. Check that the casino runs, then reload the page.");
  }
}

/** Nothing of one player stays on the table for the next. */
function clearTable() {
  rounds.clear();
  jackpotWins.clear();
  Object.assign(session, { realityPending: false, id: null, startedAt: 0, bonus: null });
  stakeChosen = null;
  cycleOverAt = 0;
  for (const id of ["cash", "bonus", "in-play", "last-win", "net"]) {
    setText($(id), "–");
    for (const key of Object.keys($(id).dataset)) if (key !== "testid") delete $(id).dataset[key];
  }
  for (const id of ["spin-message", "menu-message", "result-lines"]) setText($(id), "");
  setText($("result"), "Choose a stake and spin.");
  $("result").classList.remove("won");
  $("launch-link").hidden = true;
  drawReels($("reels"), { grid: gridAt(OPENING_STOPS) });
  $("reels").setAttribute("aria-label", "No round played yet");
}

function sayLogin(text) {
  setText($("login-message"), text);
  $("login-message").hidden = text === "";
}

function playerButton({ player, name, currency }) {
  return h("button", { type: "button", "data-testid": `login-${player}`, onclick: () => logIn(player, name) }, name, h("span", {}, currency));
}

async function logIn(player, name) {
  sayLogin("");
  try {
    const { token } = await fetchJson("/v1/demo/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ player }),
    });
    enter({ token, name });
  } catch (error) {
    sayLogin(error instanceof Refusal ? explain(error, session) : "The casino does not answer. Try again in a moment.");
  }
}

function enter(login) {
  remember.set(login);
  session.name = login.name;
  session.id = null;
  $("login").hidden = true;
  $("game").hidden = false;
  client.connect(login.token);
  $("main").focus();
}

async function logOut() {
  try {
    if (client.state === "online") await client.request("session.end");
  } catch {
    // Whatever the server says, the person wants to leave.
  }
  showLogin();
}

// Connection

function showConnection({ state, refusal, notice, retryAt, pending }) {
  const waiting = pending ? ` ${pending === 1 ? "One request is" : `${pending} requests are`} kept and sent again.` : "";
  const texts = {
    closed: "Not connected",
    connecting: "Connecting …",
    online: `Connected as ${session.name}`,
    lost: "Connection lost, reconnecting",
    refused: "Refused",
    ended: "Session ended",
  };
  $("connection").dataset.state = state;
  setText($("connection-text"), texts[state]);
  const banner = $("banner");
  const hasRetry = state === "lost" && retryAt - Date.now() > 400;
  if (state === "online" || state === "closed") banner.hidden = true;
  if (hasRetry) say(`The connection is lost. The page reconnects by itself; your balance is safe.${waiting}`, "Try now", () => client.retryNow());
  if (state === "ended") say(notice.notice === "replaced" ? explain(replacedRefusal, session) : "Your session has ended. Log in to start a new one.", ...endedAction(notice));
  if (state === "refused") showLogin(explain(refusal, session));
  updateSpin();
}

const replacedRefusal = new Refusal({ code: "session_replaced" });

function endedAction(notice) {
  const login = remember.get();
  return notice.notice === "replaced" && login ? ["Play here", () => enter(login)] : ["Log in", () => showLogin()];
}

function say(text, action, act) {
  const banner = $("banner");
  banner.replaceChildren(text, h("button", { type: "button", onclick: act, "data-testid": "banner-action" }, action));
  banner.hidden = false;
}

function welcome(data) {
  const isNew = session.id !== data.session;
  if (isNew) {
    rounds.clear();
    jackpotWins.clear();
  }
  session.id = data.session;
  Object.assign(session, { currency: data.currency, exponent: data.exponent, startedAt: data.session_started_at });
  $("session-strip").hidden = false;
  const game = data.games.find((one) => one.game === HOSTED_GAME) ?? data.games[0];
  session.game = game;
  showGame(game);
  $("launch").hidden = !data.games.some((one) => one.game === REMOTE_GAME && one.enabled);
  showBonus(data.bonus);
  jackpots.clear();
  showJackpots(data.jackpots);
  for (const round of data.missed) countRound(round);
  if (data.missed.length > 0) {
    const last = data.missed[data.missed.length - 1];
    setText($("result"), `While you were away ${data.missed.length === 1 ? "a round was" : `${data.missed.length} rounds were`} settled. The last one returned ${coin(last.win + last.jackpot_win)}.`);
  }
  if (isNew) readSessionNet();
  if (data.reality_check) showReality(data.reality_check);
  else hideReality();
  $("reality-message").textContent = "";
  updateSpin();
}

const percent = (ppm) => new Intl.NumberFormat(undefined, { style: "percent", minimumFractionDigits: 2 }).format(ppm / 1_000_000);

function showGame(game) {
  setText($("game-title"), game?.name ?? "No game");
  setText($("game-facts"), game ? `Theoretical return ${percent(game.rtp_ppm)}` : "");
  const select = $("stake");
  const chosen = stakeChosen ?? game?.steps[0];
  select.replaceChildren(...(game?.steps ?? []).map((step) => h("option", { value: step, selected: step === chosen }, coin(step))));
}

function showBalance(balance) {
  showMoney($("cash"), balance.cash);
  showMoney($("bonus"), balance.bonus);
  showMoney($("in-play"), balance.in_play);
  $("cash").dataset.version = String(balance.version);
}

function showBonus(bonus) {
  session.bonus = bonus && (bonus.state === "active" || bonus.state === "locked") ? bonus : null;
  $("bonus-card").hidden = !session.bonus;
  if (!session.bonus) return;
  const { progress, requirement, max_bet: maxBet, deadline } = bonus;
  $("wager-progress").max = Math.max(1, requirement);
  $("wager-progress").value = Math.min(progress, requirement);
  setText($("wager-text"), `${coin(Math.min(progress, requirement))} of ${coin(requirement)} wagered`);
  const terms = maxBet === null || maxBet === undefined ? "" : `Maximum bet ${coin(maxBet)}. `;
  setText($("bonus-terms"), `${terms}Ends ${new Date(deadline).toLocaleDateString(undefined, { dateStyle: "medium" })}.`);
}

/** Bonus events say what happened to one grant; a new grant starts from nothing wagered. */
function bonusChanged({ event, data }) {
  if (event === "bonus.issued") showBonus({ ...data, state: "active", progress: 0, max_bet: null });
  else if (session.bonus?.grant === data.grant) showBonus(null);
}

function showJackpots(views) {
  for (const view of views) jackpots.set(view.jackpot, view);
  const shown = jackpots.get(session.game?.jackpot) ?? jackpots.values().next().value;
  $("jackpot").hidden = !shown;
  if (!shown) return;
  const amount = $("jackpot-amount");
  setText($("jackpot-name"), shown.name);
  const before = amount.dataset.minor;
  amount.dataset.minor = String(shown.amount);
  setText(amount, money(shown.amount, shown.currency));
  setText($("jackpot-max"), money(shown.must_hit_by, shown.currency));
  if (before !== undefined && before !== amount.dataset.minor) {
    amount.classList.remove("ticked");
    void amount.offsetWidth;
    amount.classList.add("ticked");
  }
}

/** Told to the winner alone; it may come before the answer of the spin that won it. */
function jackpotWon({ jackpot, amount, round }) {
  const view = jackpots.get(jackpot);
  jackpotWins.set(round, amount);
  if (rounds.has(round)) rounds.set(round, rounds.get(round) + amount);
  showNet();
  setText($("jackpot-won-amount"), money(amount, view?.currency ?? session.currency));
  setText($("jackpot-won-text"), `You won the ${view?.name ?? "jackpot"}. It is in your balance.`);
  openDialog($("jackpot-dialog"));
}

// Session strip

function countRound(round) {
  if (round.at !== undefined && round.at < session.startedAt) return;
  const returned = round.win + Math.max(round.jackpot_win ?? 0, jackpotWins.get(round.round) ?? 0);
  rounds.set(round.round, round.status === "voided" ? 0 : returned - round.stake);
  showNet();
}

/** A round played elsewhere (at the studio) has changed; what it came to is asked for. */
async function roundChanged({ round }) {
  try {
    countRound(await client.request("round", { round }));
  } catch {
    // The history will show it; the net position catches up with the next welcome.
  }
}

function showNet() {
  let net = 0;
  for (const one of rounds.values()) net += one;
  showMoney($("net"), net, true);
}

/** A session may be older than this page: its rounds are read from the history, newest first, until it began. */
async function readSessionNet() {
  showNet();
  let before;
  for (let page = 0; page < NET_PAGES_MAX; page += 1) {
    let reply;
    try {
      reply = await client.request("history", before === undefined ? { limit: HISTORY_PAGE } : { before, limit: HISTORY_PAGE });
    } catch {
      return;
    }
    for (const round of reply.rounds) if (!rounds.has(round.round)) countRound(round);
    const oldest = reply.rounds[reply.rounds.length - 1];
    before = reply.next;
    if (before === undefined || before === null || !oldest || oldest.at < session.startedAt) return;
  }
}

function tick() {
  if (!session.startedAt || $("session-strip").hidden) return;
  setText($("elapsed"), duration((client.now() - session.startedAt) / 1000));
  if (cycleOverAt) updateSpin();
}

// Spin

function updateSpin() {
  const button = $("spin");
  const waitMs = cycleOverAt - Date.now();
  if (waitMs <= 0 && cycleOverAt) {
    cycleOverAt = 0;
    setText($("spin-message"), "");
  }
  const isOpen = client.state === "online" && !spinning && waitMs <= 0 && Boolean(session.game?.enabled);
  // The button keeps the focus while it cannot be pressed; `disabled` would throw a keyboard user out of it.
  button.setAttribute("aria-disabled", String(!isOpen));
  setText(button, spinning ? "Spinning …" : "Spin");
  return isOpen;
}

async function spin(event) {
  event.preventDefault();
  if (!updateSpin() || session.realityPending) return;
  spinning = true;
  updateSpin();
  setText($("spin-message"), "");
  $("result").classList.remove("won");
  $("reels").classList.remove("settled");
  $("reels").classList.add("spinning");
  try {
    settled(await client.request("spin", { game: session.game.game, stake: Number($("stake").value) }));
  } catch (error) {
    refused(error);
  } finally {
    spinning = false;
    $("reels").classList.remove("spinning");
    updateSpin();
  }
}

function settled(result) {
  drawReels($("reels"), result.detail);
  $("reels").classList.add("settled");
  const won = result.win;
  countRound(result);
  showMoney($("last-win"), result.win);
  Object.assign($("last-win").dataset, {
    round: result.round,
    stake: String(result.stake),
    stakeBonus: String(result.stake_bonus),
    winBonus: String(result.win_bonus),
  });
  showBonus(result.bonus ?? null);
  // A return at or under the stake is a loss or nothing gained, and is said as what it is.
  const gained = won > result.stake;
  $("result").classList.toggle("won", gained);
  setText($("result"), won === 0 ? "No win." : gained ? `You won ${coin(won)}.` : `${coin(won)} of your ${coin(result.stake)} stake came back.`);
  setText($("result-lines"), linesInWords(result.detail));
}

function refused(error) {
  const problem = error.problem ?? {};
  if (problem.code === "game_cycle") cycleOverAt = Date.now() + (problem.wait_ms ?? 1000);
  if (problem.code === "reality_check_pending") showReality(problem);
  setText($("spin-message"), explain(error, session));
}

// Reality check

function showReality(view) {
  session.realityPending = true;
  if (view?.wagered !== undefined) {
    setText($("reality-elapsed"), duration(view.seconds));
    showMoney($("reality-wagered"), view.wagered);
    showMoney($("reality-won"), view.returned);
    showMoney($("reality-net"), view.net ?? view.returned - view.wagered, true);
  } else {
    setText($("reality-elapsed"), duration((client.now() - session.startedAt) / 1000));
    setText($("reality-net"), $("net").textContent);
    for (const id of ["reality-wagered", "reality-won"]) setText($(id), "see history");
  }
  openDialog($("reality-dialog"));
}

function hideReality() {
  session.realityPending = false;
  $("reality-dialog").close();
}

async function acknowledge() {
  setText($("reality-message"), "");
  // From here on a new check is a new check; the server's answer and its next push keep their order.
  try {
    await client.request("reality_check.ack");
    hideReality();
    setText($("spin-message"), "");
    $("spin").focus();
  } catch (error) {
    setText($("reality-message"), explain(error, session));
  }
}

function wireReality() {
  const dialog = $("reality-dialog");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && event.preventDefault());
  // Some browsers close a dialog at the second Escape whatever the page says; it opens again until it is answered.
  dialog.addEventListener("close", () => session.realityPending && dialog.showModal());
  $("reality-ack").addEventListener("click", acknowledge);
  $("reality-logout").addEventListener("click", logOut);
}

// The rest of the menu

async function launchRemote() {
  setText($("menu-message"), "");
  try {
    const { url } = await client.request("game.launch", { game: REMOTE_GAME });
    const target = new URL(url, location.href);
    if (!["http:", "https:"].includes(target.protocol)) throw new Refusal({ code: "unavailable" });
    $("launch-link").href = target.href;
    $("launch-link").hidden = false;
    window.open(target.href, "_blank", "noopener,noreferrer");
  } catch (error) {
    delete $("menu-message").dataset.tone;
    setText($("menu-message"), explain(error, session));
  }
}

/** Asks before something that cannot be taken back. Resolves to whether the person said yes. */
function confirmed({ title, text, yes }) {
  const dialog = $("confirm-dialog");
  setText($("confirm-title"), title);
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  openDialog(dialog);
  $("confirm-no").focus();
  return new Promise((resolve) => {
    const done = (answer) => {
      for (const id of ["confirm-yes", "confirm-no"]) $(id).onclick = null;
      dialog.onclose = null;
      if (dialog.open) dialog.close();
      resolve(answer);
    };
    $("confirm-yes").onclick = () => done(true);
    $("confirm-no").onclick = () => done(false);
    dialog.onclose = () => done(false);
  });
}

async function forfeitBonus() {
  const bonus = session.bonus;
  if (!bonus) return;
  const isSure = await confirmed({
    title: "Give the bonus up?",
    text: "The bonus balance is lost; your cash stays as it is. This cannot be taken back.",
    yes: "Give it up",
  });
  if (!isSure) return;
  try {
    await client.request("bonus.forfeit", { grant: bonus.grant });
    showBonus(null);
  } catch (error) {
    setText($("spin-message"), explain(error, session));
  }
}

function sessionNotice({ notice }) {
  const texts = { expiring: "Your login is about to expire. Log in again soon.", slow: "Your connection is slow; the page may lag.", shutting_down: "The casino is restarting. The page reconnects by itself." };
  delete $("menu-message").dataset.tone;
  setText($("menu-message"), texts[notice] ?? "");
}

client.on("state", showConnection);
client.on("problem", (problem) => setText($("spin-message"), explain(new Refusal(problem), session)));
client.on("welcome", welcome);
client.on("balance", showBalance);
client.on("jackpot", (data) => showJackpots(Array.isArray(data) ? data : [data]));
client.on("jackpot.won", jackpotWon);
client.on("round", roundChanged);
client.on("bonus", bonusChanged);
client.on("reality_check", (view) => (view ? showReality(view) : hideReality()));
client.on("session", sessionNotice);

$("spin-form").addEventListener("submit", spin);
$("stake").addEventListener("change", () => {
  stakeChosen = Number($("stake").value);
});
$("logout").addEventListener("click", logOut);
$("launch").addEventListener("click", launchRemote);
$("bonus-forfeit").addEventListener("click", forfeitBonus);
wireClosers();
wireReality();
wireHistory({ client, session, coin, explain: (error) => explain(error, session) });
wireLimits({ client, session, coin, confirmed, showLogin, explain: (error) => explain(error, session) });
clearTable();
setInterval(tick, 250);

const known = remember.get();
if (known?.token) enter(known);
else showLogin();
