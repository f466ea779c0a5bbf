// The operations page: one message a second, drawn as it comes. It keeps the leaderboard by snapshot and deltas, and asks
// for the snapshot again (by reconnecting) as soon as a sequence number is missing.

import { $, h, setText } from "./dom.js";
import { clock, integer, money } from "./format.js";
import { backoff } from "./client.js";

const SPARK_POINTS_MAX = 120;
const BOARD_ROWS_MAX = 20;
const REFUSAL_ROWS_MAX = 20;
/** Messages come every second; silence of this length is a connection that only looks alive. */
const SILENCE_MAX_MS = 5_000;

const COUNTS = ["bets_per_minute", "spins_per_s", "open_rounds", "players", "connections", "in_flight", "segment_lag", "projection_lag", "batch_p50"];
const LATENCIES = ["p50_ms", "p95_ms", "p99_ms"];

const spark = [];
let board = null;
let socket = null;
let attempt = 0;
let silence = 0;
let reconnect = 0;

function show(state, text) {
  $("connection").dataset.state = state;
  setText($("connection-text"), text);
}

function connect() {
  clearTimeout(reconnect);
  board = null;
  const mine = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ops/feed`);
  socket = mine;
  mine.onmessage = (event) => mine === socket && receive(event.data);
  mine.onclose = () => mine === socket && lost();
  mine.onerror = () => mine.close();
  watch();
}

function watch() {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MAX_MS);
}

function lost() {
  clearTimeout(silence);
  clearTimeout(reconnect);
  const old = socket;
  socket = null;
  old?.close();
  const wait = backoff(attempt);
  attempt += 1;
  show("lost", "Connection lost, reconnecting; figures are old");
  reconnect = setTimeout(connect, wait);
}

function receive(text) {
  let feed;
  try {
    feed = JSON.parse(text);
  } catch {
    return;
  }
  attempt = 0;
  watch();
  show("online", "Live");
  setText($("at"), clock(feed.at));
  // Counts may be rates: a whole number above ten, one decimal below.
  for (const name of COUNTS) count($(name), feed[name]);
  for (const name of LATENCIES) setText($(name), typeof feed[name] === "number" ? `${feed[name].toFixed(2)} ms` : "–");
  for (const name of ["players", "rounds", "restarts"]) count($(`actors-${name}`), feed.actors?.[name]);
  drawSpark(feed.bets_per_minute);
  drawJackpots(feed.jackpots ?? []);
  drawMoney(feed.money ?? []);
  drawRefusals(feed.refusals ?? {});
  drawBoard(feed);
}

function count(node, value) {
  const isNumber = typeof value === "number";
  setText(node, isNumber ? integer(value < 10 ? Math.round(value * 10) / 10 : Math.round(value)) : "–");
  if (isNumber) node.dataset.value = String(value);
}

/** Keeps a table's rows by their key, so that nothing flickers and a selection survives. */
function fill(body, rows, none) {
  const list = rows.length > 0 ? rows : [{ key: "", cells: [none] }];
  list.forEach(({ key, cells, numbers = 1 }, at) => {
    const old = body.rows[at];
    if (old?.cells.length === cells.length) {
      old.dataset.key = key;
      cells.forEach((text, i) => setText(old.cells[i], text));
      return;
    }
    const made = h("tr", { "data-key": key }, ...cells.map((text, i) => h("td", { class: i >= numbers ? "n" : "", colspan: cells.length === 1 ? 4 : null }, text)));
    if (old) old.replaceWith(made);
    else body.append(made);
  });
  while (body.rows.length > list.length) body.rows[body.rows.length - 1].remove();
}

function drawJackpots(jackpots) {
  const rows = jackpots.map((one) => ({ key: one.jackpot, cells: [one.name, money(one.amount, one.currency), money(one.must_hit_by, one.currency), integer(one.cycle)] }));
  fill($("jackpots"), rows, "No jackpots");
}

function drawMoney(list) {
  const rows = list.map((one) => ({ key: one.currency, cells: [one.currency, ...[one.stakes, one.payouts, one.ggr].map((minor) => money(minor, one.currency))] }));
  fill($("money"), rows, "No bets yet");
}

function drawRefusals(refusals) {
  const sorted = Object.entries(refusals).sort(([, a], [, b]) => b - a).slice(0, REFUSAL_ROWS_MAX);
  fill($("refusals"), sorted.map(([code, n]) => ({ key: code, cells: [code, integer(n)] })), "None");
}

function drawBoard({ leaderboard, delta, money: sums }) {
  if (leaderboard) board = { sequence: leaderboard.sequence, rows: new Map(leaderboard.rows.map((row) => [row.alias, row])) };
  if (delta && board && delta.sequence > board.sequence) {
    if (delta.sequence !== board.sequence + 1) return lost();
    board.sequence = delta.sequence;
    for (const alias of delta.gone) board.rows.delete(alias);
    for (const row of delta.rows) board.rows.set(row.alias, row);
  }
  if (!board) return;
  setText($("board-sequence"), `#${board.sequence}`);
  const currency = sums?.length === 1 ? sums[0].currency : null;
  const sorted = [...board.rows.values()].sort((a, b) => a.rank - b.rank).slice(0, BOARD_ROWS_MAX);
  const rows = sorted.map((row) => ({ key: row.alias, numbers: 2, cells: [integer(row.rank), row.alias, currency ? money(row.score, currency, undefined, true) : integer(row.score), integer(row.rounds)] }));
  fill($("board"), rows, "Nobody has played yet");
}

function drawSpark(value) {
  spark.push(value ?? 0);
  if (spark.length > SPARK_POINTS_MAX) spark.shift();
  const canvas = $("spark");
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const top = Math.max(1, ...spark);
  pen.beginPath();
  spark.forEach((point, i) => {
    const x = width - 1 - ((spark.length - 1 - i) * (width - 2)) / (SPARK_POINTS_MAX - 1);
    const y = height - 2 - (point / top) * (height - 4);
    if (i === 0) pen.moveTo(x, y);
    else pen.lineTo(x, y);
  });
  pen.strokeStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.stroke();
  setText($("spark-text"), `last two minutes, highest ${integer(Math.round(top))}`);
}

show("connecting", "Connecting …");
connect();
