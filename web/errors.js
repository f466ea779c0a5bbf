// What a refusal means to the player, and what to do next. Codes are those of protocol/src/problem.rs.

import { duration, money, clock } from "./format.js";

const SUPPORT = "If it stays like this, contact support";

/** A limit's numbers as a sentence part: "of € 50.00, € 49.20 is used". */
function used(problem, coin) {
  const { limit, spent } = problem;
  if (typeof limit !== "number") return "";
  return typeof spent === "number" ? ` (${coin(spent)} of ${coin(limit)} used)` : ` (${coin(limit)})`;
}

const until = (problem) => {
  const at = problem.until ?? problem.effective_at;
  return typeof at === "number" ? ` until ${clock(at)}` : "";
};

const TEXTS = {
  insufficient_funds: () => "Your balance does not cover this stake. Choose a lower stake.",
  stake_limit: (p, coin) => `This stake is over your stake limit${used(p, coin)}. Choose a lower stake, or look at your limits.`,
  wager_limit: (p, coin) => `This bet would pass your wager limit of the ${p.window ?? "period"}${used(p, coin)}. Choose a lower stake, or take a break.`,
  loss_limit: (p, coin) => `This bet would pass your loss limit of the ${p.window ?? "period"}${used(p, coin)}. Choose a lower stake, or take a break.`,
  session_time_limit: () => "Your session time limit is reached. Log out and come back another time.",
  limit_unknown: () => "Your limits could not be read, so no bet is allowed. Try again in a moment.",
  reality_check_pending: () => "Please read and confirm the reality check first.",
  self_excluded: (p) => `You are self-excluded${until(p)}. Play is not possible. Your balance is still yours.`,
  timed_out: (p) => `You are taking a time-out${until(p)}. Come back after it ends.`,
  account_blocked: () => "This account is not open for play. Contact support.",
  game_disabled: () => "This game is closed at the moment. Come back later.",
  game_cycle: (p) => `The next round may start in ${((p.wait_ms ?? 1000) / 1000).toFixed(1)} s.`,
  stake_too_low: (p, coin) => `The game's lowest stake is ${coin(p.min ?? 0)}. Choose a higher stake.`,
  stake_too_high: (p, coin) => `The game's highest stake is ${coin(p.max ?? 0)}. Choose a lower stake.`,
  stake_step: () => "The game does not offer this stake. Choose one from the list.",
  bonus_max_bet: (p, coin) =>
    `While a bonus is active the stake may be at most${typeof p.max === "number" ? ` ${coin(p.max)}` : " its maximum bet"}. Choose a lower stake, or give the bonus up.`,
  bonus_active: () => "Another bonus is still active. Finish it or give it up first.",
  round_open: () => "An interrupted round of this game is still open. It is resolved first; try again in a moment.",
  limit_relax_pending: (p) => `Making a limit looser takes time: it can be confirmed here${p.effective_at ? ` from ${clock(p.effective_at)}` : " later"}.`,
  invalid_value: (p) => `This value is not allowed${p.detail ? `: ${p.detail}` : ""}. Change it and try again.`,
  invalid_amount: () => "The amount cannot be read. Write it like 12.50.",
  token_expired: () => "Your login has expired. Log in again; nothing of your balance is lost.",
  token_invalid: () => "Your login is no longer valid. Log in again.",
  unauthenticated: () => "You are not logged in. Log in again.",
  no_session: () => "Your play session has ended. Log in again to start a new one.",
  session_replaced: () => "The game was opened in another window. Continue there, or take it back here.",
  session_ended: () => "The session was left before this was answered. The history shows what happened.",
  origin_refused: () => "This page may not connect to the casino. Open the casino's own address.",
  unknown_game: () => "This game is not in the catalogue. Reload the page.",
  unknown_round: () => "This round is not known. Reload the history.",
  unknown_player: () => "This player is not known. Choose another demo player.",
  busy: () => "The casino is busy. Nothing was taken; try again in a moment.",
  rate_limited: () => "That was too fast. Wait a moment and try again.",
  unavailable: () => "The casino cannot take bets right now. Nothing was taken; try again in a moment.",
  deadline_passed: () => "The bet waited too long and was not placed. Try again.",
  shutting_down: () => "The casino is restarting. The page reconnects by itself.",
  unknown: () => "It is not known yet whether this went through. Open the history before you repeat it.",
  internal: () => `Something failed at our side. Open the history before you repeat it. ${SUPPORT}.`,
  id_conflict: () => "This request was already used for something else. Reload the page.",
};

/** One sentence for people. `coin` writes minor units of the session's currency. */
export function explain(error, session) {
  const problem = error?.problem;
  if (!problem) return `Something went wrong on this page. Reload it. ${SUPPORT}.`;
  const isTime = problem.code === "session_time_limit";
  const coin = (minor) => (isTime ? duration(minor) : money(minor, session?.currency ?? "EUR", session?.exponent));
  const text = TEXTS[problem.code];
  return text ? text(problem, coin) : `${problem.title ?? problem.code}. Reload the page. ${SUPPORT}.`;
}
