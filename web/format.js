// How numbers are written: money by its currency's exponent and the reader's locale, durations, clock times.
// Money stays an integer of minor units everywhere else; only the text made here has a decimal point.

// Currencies whose minor unit is not a hundredth; the server's own table is in protocol/src/money.rs.
const EXPONENTS = { JPY: 0, KRW: 0, CLP: 0, KWD: 3, BHD: 3, TND: 3, BTC: 8, LTC: 8, USDT: 6, USDC: 6 };

export const exponentOf = (currency) => EXPONENTS[currency] ?? 2;

const formatters = new Map();

function formatter(currency, exponent, signed) {
  const key = `${currency}/${exponent}/${signed}`;
  let made = formatters.get(key);
  if (!made) {
    const digits = { minimumFractionDigits: exponent, maximumFractionDigits: exponent, signDisplay: signed ? "exceptZero" : "auto" };
    try {
      const style = new Intl.NumberFormat(undefined, { style: "currency", currency, ...digits });
      made = (text) => style.format(text);
    } catch {
      // Codes of four letters (USDT) are no ISO currency: the code stands behind the number.
      const style = new Intl.NumberFormat(undefined, digits);
      made = (text) => `${style.format(text)} ${currency}`;
    }
    formatters.set(key, made);
  }
  return made;
}

/** The decimal string of an amount: 1230 with exponent 2 is "12.30". Exact: no floating point on the way. */
export function decimal(minor, exponent) {
  const digits = String(minor).replace("-", "").padStart(exponent + 1, "0");
  const sign = minor < 0 ? "-" : "";
  return exponent === 0 ? sign + digits : `${sign}${digits.slice(0, -exponent)}.${digits.slice(-exponent)}`;
}

/** Money for people. `signed` shows a plus as well, for net positions. */
export function money(minor, currency, exponent = exponentOf(currency), signed = false) {
  return formatter(currency, exponent, signed)(decimal(minor, exponent));
}

/** Minor units of what a person typed, or null when it is no amount of this currency. Both decimal marks are read. */
export function parseMoney(text, exponent) {
  const match = /^(\d{1,12})(?:[.,](\d+))?$/.exec(text.trim());
  if (!match || (match[2] ?? "").length > exponent) return null;
  return Number(match[1] + (match[2] ?? "").padEnd(exponent, "0"));
}

/** h:mm:ss, as reality checks are read. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

export const clock = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const integer = (n) => new Intl.NumberFormat().format(n);
