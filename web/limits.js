// The player's own limits, time-out and self-exclusion.

import { $, h, openDialog, setText } from "./dom.js";
import { clock, duration, parseMoney } from "./format.js";

const NAMES = {
  "stake:": "Stake a round",
  "wager:day": "Wager a day",
  "wager:week": "Wager a week",
  "wager:month": "Wager a month",
  "loss:day": "Loss a day",
  "loss:week": "Loss a week",
  "loss:month": "Loss a month",
  "session_time:": "Session time",
  "reality_check:": "Reality check every",
};
const ORDER = Object.keys(NAMES);
const TIMES = new Set(["session_time", "reality_check"]);
const SECONDS_A_MINUTE = 60;

const keyOf = ({ limit, window }) => `${limit}:${window ?? ""}`;

export function wireLimits({ client, session, coin, confirmed, showLogin, explain }) {
  const shown = (limit, value) => (value === null || value === undefined ? "–" : TIMES.has(limit) ? duration(value) : coin(value));

  function say(text, tone = "bad") {
    $("limit-message").dataset.tone = tone;
    setText($("limit-message"), text);
  }

  function row(view) {
    const cell = (value, name) => h("td", { class: "n", "data-testid": `limit-${name}`, "data-value": value ?? "" }, shown(view.limit, value));
    return h(
      "tr",
      { "data-testid": "limit-row", "data-limit": keyOf(view) },
      h("th", { scope: "row" }, NAMES[keyOf(view)] ?? keyOf(view)),
      cell(view.own, "own"),
      cell(view.operator, "operator"),
      cell(view.effective, "effective"),
      cell(view.spent, "spent"),
      h("td", {}, ...waiting(view)),
    );
  }

  function waiting(view) {
    if (!view.pending) return ["–"];
    const { value, effective_at: at } = view.pending;
    const text = value === null ? "removal" : shown(view.limit, value);
    if (client.now() < at) return [`${text}, from ${clock(at)}`];
    return [`${text} `, h("button", { type: "button", "data-testid": "limit-confirm", onclick: () => send(view.limit, view.window, value) }, "Confirm")];
  }

  async function refresh() {
    const reply = await client.request("limit.get");
    const views = Array.isArray(reply) ? reply : reply.limits;
    const byOrder = [...views].sort((a, b) => ORDER.indexOf(keyOf(a)) - ORDER.indexOf(keyOf(b)));
    $("limit-rows").replaceChildren(...byOrder.map(row));
  }

  async function open() {
    say("");
    openDialog($("limits-dialog"));
    try {
      await refresh();
    } catch (error) {
      say(explain(error));
    }
  }

  async function send(limit, window, value) {
    const optional = { ...(window ? { window } : {}), ...(value === null ? {} : { value }) };
    try {
      const told = await client.request("limit.set", { limit, ...optional });
      const later = `This limit is looser than before, so it waits: it can be confirmed here from ${clock(told.effective_at)}.`;
      say(told.pending ? later : "Saved. What is in force now stands in the table.", "good");
      $("limit-value").value = "";
    } catch (error) {
      say(explain(error), error.code === "limit_relax_pending" ? "good" : "bad");
    }
    await refresh().catch(() => {});
  }

  const chosen = () => $("limit-kind").value.split(":");

  function save(event) {
    event.preventDefault();
    const [limit, window] = chosen();
    const text = $("limit-value").value;
    const minutes = /^\d{1,5}$/.test(text.trim()) ? Number(text) : 0;
    const value = TIMES.has(limit) ? minutes * SECONDS_A_MINUTE : parseMoney(text, session.exponent);
    if (value === null || (TIMES.has(limit) && value === 0)) {
      say(TIMES.has(limit) ? "Write whole minutes, like 30." : "The amount cannot be read. Write it like 12.50.");
      $("limit-value").focus();
      return;
    }
    send(limit, window, value);
  }

  function label() {
    setText($("limit-value-label"), TIMES.has(chosen()[0]) ? "Minutes" : `Amount in ${session.currency}`);
  }

  async function timeOut(event) {
    event.preventDefault();
    const select = $("time-out-hours");
    const text = select.selectedOptions[0].textContent;
    const question = { title: `Take a time-out of ${text}?`, text: `You cannot play for ${text}, and it cannot be shortened. Your balance stays yours.`, yes: `Stop playing for ${text}` };
    await leave(question, "rg.time_out", { hours: Number(select.value) }, `You are taking a time-out of ${text}.`);
  }

  async function exclude(event) {
    event.preventDefault();
    const select = $("exclude-months");
    const text = select.selectedOptions[0].textContent;
    const question = { title: `Exclude yourself for ${text}?`, text: `You cannot play for ${text}, on any game, and it cannot be taken back. Your balance stays yours and can be paid out.`, yes: `Exclude me for ${text}` };
    await leave(question, "rg.self_exclude", select.value === "" ? {} : { months: Number(select.value) }, `You are self-excluded for ${text}.`);
  }

  async function leave(question, type, data, done) {
    if (!(await confirmed(question))) return;
    try {
      await client.request(type, data);
      showLogin(`${done} Take care of yourself.`);
    } catch (error) {
      if (client.state === "online") say(explain(error));
      else showLogin(explain(error));
    }
  }

  $("open-limits").addEventListener("click", open);
  $("limit-form").addEventListener("submit", save);
  $("limit-kind").addEventListener("change", label);
  $("limit-remove").addEventListener("click", () => send(...chosen(), null));
  $("time-out-form").addEventListener("submit", timeOut);
  $("exclude-form").addEventListener("submit", exclude);
  client.on("welcome", label);
  client.on("limit", () => $("limits-dialog").open && refresh().catch(() => {}));
}
