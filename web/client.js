// The connection to the floor: one promise per request, the same id until it is answered, and healing after a drop.
// A request is never given up because a socket closed: what happened to it is unknown, so it is asked again by its id.

export { money, parseMoney, duration, decimal, exponentOf } from "./format.js";

const PROTOCOL_VERSION = 1;
const PENDING_MAX = 32;
const REQUEST_RETRIES_MAX = 4;
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 10_000;
const HELLO_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 15_000;
const PING_TIMEOUT_MS = 10_000;
/** How long an ended session waits for answers still under way. */
const FAREWELL_MAX_MS = 2_000;

/** Refusals of a hello after which trying again by itself would be wrong. */
const FINAL_FOR_HELLO = new Set(["never"]);
/** Session notices after which this page must not take the session back by itself. */
const FINAL_NOTICES = new Set(["replaced", "ended"]);

/** A refusal: the problem the server sent, as an Error. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title ?? problem.code);
    this.name = "Refusal";
    this.code = problem.code;
    this.problem = problem;
  }
}

/** A UUID of version 7: 48 bits of time, the rest random. */
export function uuidV7(now = Date.now()) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let i = 0; i < 6; i += 1) bytes[i] = Math.floor(now / 2 ** (8 * (5 - i))) % 256;
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Exponential, with half of it random so that many pages do not come back at the same moment. */
export function backoff(attempt) {
  const full = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** attempt);
  return full / 2 + (Math.random() * full) / 2;
}

/**
 * States: `connecting`, `online`, `lost` (with `retryAt`), `refused` (with `refusal`), `ended` (with `notice`), `closed`.
 */
export class Client {
  #url;
  #token = null;
  #socket = null;
  #pending = new Map();
  #listeners = new Map();
  #attempt = 0;
  #timers = { reconnect: 0, hello: 0, ping: 0, pong: 0, farewell: 0 };
  #helloId = null;
  #pushSeq = 0;

  constructor(url = defaultUrl()) {
    this.#url = url;
    this.state = "closed";
    /** Highest balance version seen; a reconnection resumes from it. */
    this.version = null;
    /** Server clock minus ours, milliseconds. */
    this.clockOffset = 0;
    addEventListener("online", () => this.retryNow());
  }

  /** The server's time now, milliseconds since the epoch. */
  now() {
    return Date.now() + this.clockOffset;
  }

  /** Listens to a push by its name, or to `state`, `welcome` and `balance` of this client. Returns how to stop. */
  on(name, fn) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(fn));
    return () => set.delete(fn);
  }

  connect(token) {
    this.#token = token;
    this.#attempt = 0;
    this.#open();
  }

  /** Leaves for good: nothing is retried, unanswered promises are rejected. */
  close() {
    this.#drop();
    this.#token = null;
    this.version = null;
    this.#abandon("session_ended", "The session was left before this was answered");
    this.#setState("closed");
  }

  retryNow() {
    if (this.state === "lost") this.#open();
  }

  /** Resolves with the `ok` body, rejects with a Refusal. Survives drops: the same id is sent until there is an answer. */
  request(type, data = {}) {
    if (this.#pending.size >= PENDING_MAX) {
      return Promise.reject(new Refusal({ code: "busy", title: "Too much is waiting for an answer", retry: "later" }));
    }
    if (this.state === "ended" || this.state === "closed") {
      return Promise.reject(new Refusal({ code: "no_session", title: "There is no session", retry: "never" }));
    }
    return new Promise((resolve, reject) => {
      const id = uuidV7(this.now());
      const entry = { id, frame: frame(id, type, data), resolve, reject, retries: 0, timer: 0 };
      this.#pending.set(id, entry);
      if (this.state === "online") this.#send(entry.frame);
    });
  }

  #open() {
    this.#drop();
    this.#setState("connecting");
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch {
      this.#lost();
      return;
    }
    this.#socket = socket;
    this.#pushSeq = 0;
    this.#timers.hello = setTimeout(() => socket === this.#socket && this.#lost(), HELLO_TIMEOUT_MS);
    socket.onopen = () => this.#hello();
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = () => socket === this.#socket && this.#lost();
    socket.onerror = () => socket.close();
  }

  #hello() {
    this.#helloId = uuidV7(this.now());
    const resume = this.version === null ? {} : { resume_from: this.version };
    this.#send(frame(this.#helloId, "hello", { token: this.#token, ...resume }));
  }

  #send(text) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    this.#heard();
    if (message.push) this.#push(message);
    else if (message.re === this.#helloId) this.#greeted(message);
    else if (message.re) this.#answered(message);
    else if (message.error) this.#emit("problem", message.error);
  }

  #greeted({ ok, error }) {
    clearTimeout(this.#timers.hello);
    if (error) {
      if (!FINAL_FOR_HELLO.has(error.retry)) return this.#lost(error.wait_ms);
      this.#drop();
      const refusal = new Refusal(error);
      this.#abandon(error.code, error.title);
      return this.#setState("refused", { refusal });
    }
    this.#attempt = 0;
    this.clockOffset = ok.server_time - Date.now();
    this.version = ok.balance.version;
    this.#setState("online");
    this.#emit("welcome", ok);
    this.#emit("balance", ok.balance);
    // Insertion order is the order they were asked in.
    for (const entry of this.#pending.values()) this.#send(entry.frame);
    this.#heard();
  }

  #answered({ re, ok, error }) {
    const entry = this.#pending.get(re);
    if (!entry) return;
    if (error && error.retry !== "never" && entry.retries < REQUEST_RETRIES_MAX) {
      const wait = error.wait_ms ?? backoff(entry.retries);
      entry.retries += 1;
      clearTimeout(entry.timer);
      entry.timer = setTimeout(() => this.state === "online" && this.#send(entry.frame), wait);
      return;
    }
    clearTimeout(entry.timer);
    this.#pending.delete(re);
    if (error) return entry.reject(new Refusal(error));
    if (ok?.balance) this.#balance(ok.balance);
    entry.resolve(ok);
  }

  #push({ push, seq, data }) {
    const gap = this.#pushSeq !== 0 && seq !== this.#pushSeq + 1;
    this.#pushSeq = seq;
    // The server drops pushes of a slow reader rather than wait for it; the balance is then asked for.
    if (gap) this.request("balance").then((reply) => this.#balance(reply.balance ?? reply), () => {});
    if (push === "balance") return this.#balance(data.balance ?? data);
    if (push === "session" && FINAL_NOTICES.has(data.notice)) this.#end(data);
    this.#emit(push, data);
  }

  /** The notice may overtake the answer that caused it, so answers under way are waited for; nothing more is asked. */
  #end(notice) {
    this.#setState("ended", { notice });
    const over = () => {
      this.#drop();
      this.#abandon(notice.notice === "replaced" ? "session_replaced" : "session_ended", notice.detail);
    };
    if (this.#pending.size === 0) over();
    else this.#timers.farewell = setTimeout(over, FAREWELL_MAX_MS);
  }

  /** Answers and pushes overtake each other; the version says which balance is the newest. */
  #balance(balance) {
    if (this.version !== null && balance.version < this.version) return;
    this.version = balance.version;
    this.#emit("balance", balance);
  }

  /** Any frame proves the connection; silence is asked, and no answer to that is a drop the browser has not noticed. */
  #heard() {
    clearTimeout(this.#timers.ping);
    clearTimeout(this.#timers.pong);
    if (this.state !== "online") return;
    this.#timers.ping = setTimeout(() => {
      this.#send(frame(uuidV7(this.now()), "ping", {}));
      this.#timers.pong = setTimeout(() => this.#lost(), PING_TIMEOUT_MS);
    }, PING_EVERY_MS);
  }

  #lost(waitMs) {
    this.#drop();
    if (this.state === "ended") return this.#abandon("session_ended", "The session has ended");
    const wait = waitMs ?? backoff(this.#attempt);
    this.#attempt += 1;
    this.#timers.reconnect = setTimeout(() => this.#open(), wait);
    this.#setState("lost", { retryAt: Date.now() + wait });
  }

  #drop() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #abandon(code, title) {
    const entries = [...this.#pending.values()];
    this.#pending.clear();
    for (const entry of entries) {
      clearTimeout(entry.timer);
      entry.reject(new Refusal({ code, title, retry: "same_id" }));
    }
  }

  #setState(state, more = {}) {
    this.state = state;
    this.#emit("state", { state, pending: this.#pending.size, ...more });
  }

  #emit(name, data) {
    for (const fn of this.#listeners.get(name) ?? []) fn(data);
  }
}

const frame = (id, type, data) => JSON.stringify({ v: PROTOCOL_VERSION, id, type, data });

function defaultUrl() {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}
