/**
 * Numbers as people read them. Counts have separators, K and M only for tokens, loss 4, FVU and CE 3, L0 1 decimals,
 * densities 2 significant digits; what was not measured is an en dash.
 */
import type { DeviceInfo, Value } from "./wire";

export const DASH = "–";
const LOCALE = "en-US";

export const count = (n: number): string => Math.round(n).toLocaleString(LOCALE);

const UNITS: [number, string][] = [
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "K"],
];

function inUnit(n: number, size: number, suffix: string): string {
  const digits = n / size >= 100 ? 0 : 1;
  return `${(n / size).toFixed(digits).replace(/\.0$/, "")}${suffix}`;
}

/** 10000000 → "10M", 57344 → "57.3K", 640 → "640". */
export function tokens(n: number): string {
  for (const [size, suffix] of UNITS) {
    // 999,950 is 1M, not 1000K
    if (n >= size * 0.9995) return inUnit(n, size, suffix);
  }
  return count(n);
}

/** "6.2M of 10M tokens", "210K of 1.5M tokens". */
export const tokensOf = (done: number, total: number): string => `${tokens(done)} of ${tokens(total)} tokens`;

/** Text of a number, with the sign that is as wide as a digit. */
export const withMinus = (text: string): string => text.replace(/^-/, "−");

/** A measured value with fewer decimals the larger it is, so that it keeps its width: 0.2841, 54.051, 1,234, 3.3e5. */
export function decimal(value: Value | undefined, digits: number): string {
  if (value === null || value === undefined) return DASH;
  const n = typeof value === "string" ? Number(value) : value;
  if (Number.isNaN(n)) return "NaN";
  if (!Number.isFinite(n)) return n > 0 ? "∞" : "−∞";
  return `${n < 0 ? "−" : ""}${magnitude(Math.abs(n), digits)}`;
}

function magnitude(n: number, digits: number): string {
  // by what it rounds to: 999.97 is 1,000, not 1000.0
  if (Math.round(n) >= 1e5) return n.toExponential(1).replace("e+", "e");
  if (Number(n.toFixed(1)) >= 1000) return count(n);
  const rounded = Number(n.toFixed(digits));
  return n.toFixed(Math.min(digits, rounded >= 100 ? 1 : rounded >= 10 ? 3 : digits));
}

export const loss = (value: Value | undefined) => decimal(value, 4);
export const fvu = (value: Value | undefined) => decimal(value, 3);
export const ce = (value: Value | undefined) => decimal(value, 3);
export const l0 = (value: Value | undefined) => decimal(value, 1);

/** 0.021 → "2.1 %". */
export function share(value: Value | undefined): string {
  if (value === null || value === undefined) return DASH;
  const n = Number(value);
  return Number.isFinite(n) ? `${(n * 100).toFixed(1)} %` : decimal(value, 1);
}

const DECIMALS: Record<string, number> = { fvu: 3, ce_loss_score: 3, l0: 1, tokens_per_second: 0, loss: 4, mse: 4 };

/** The same rule as `metric` of `saewidgets/render/numbers.py`. */
export function metric(name: string, value: Value | undefined): string {
  const of = name.replace(/^val_/, "");
  if (of === "dead") return share(value);
  const small = !(of in DECIMALS) && Number(value) > 0 && Number(value) < 1e-3;
  return small ? Number(value).toExponential(2) : decimal(value, DECIMALS[of] ?? 4);
}

/** Two significant digits without an exponent where that stays readable: 0.00071 → "0.00071", 3.2e-7 → "3.2e-7". */
export function density(value: number): string {
  if (value === 0) return "0";
  return Math.abs(value) >= 1e-5 ? String(Number(value.toPrecision(2))) : value.toExponential(1);
}

/** 79 → "1 min 19 s", 10980 → "3 h 3 min". The two largest units that are not zero. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return DASH;
  if (seconds < 1) return "less than 1 s";
  const total = Math.round(seconds);
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n} ${unit}`)
    .join(" ");
}

/** Decimal units, as disks and device lists use them: 604000000 → "604 MB", 8e9 → "8.0 GB". */
export function bytes(n: number): string {
  if (n >= 1e12) return `${(n / 1e12).toFixed(1)} TB`;
  if (n >= 0.9995e9) return `${(n / 1e9).toFixed(n >= 99.95e9 ? 0 : 1)} GB`;
  if (n >= 0.9995e6) return `${(n / 1e6).toFixed(n >= 9.95e6 ? 0 : 1)} MB`;
  if (n >= 1000) return `${Math.round(n / 1000)} kB`;
  return `${n} B`;
}

/** "365 of 537 MB", "278 MB of 1.2 GB": the unit once where both have it. */
export function bytesOf(done: number, total: number): string {
  const [left, right] = [bytes(done), bytes(total)];
  const unit = ` ${right.split(" ")[1]}`;
  return `${left.endsWith(unit) ? left.slice(0, -unit.length) : left} of ${right}`;
}

/** The device that things go to by themselves: the first accelerator, else the CPU. */
export const mainDevice = (devices: readonly DeviceInfo[]) => devices.find(({ id }) => id !== "cpu") ?? devices[0];

/** "41 GB": without the decimal that says nothing. */
export const wholeBytes = (n: number): string => bytes(n).replace(/\.0 /, " ");

/** Unix seconds → local time of day "14:02", with the date when it is not today's. */
export function clock(unix: number, now = Date.now(), withSeconds = false): string {
  const at = new Date(unix * 1000);
  const two = (n: number) => String(n).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}${withSeconds ? `:${two(at.getSeconds())}` : ""}`;
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Unix seconds → "11 Nov", with the year when it is not this one. */
export function day(unix: number, now = Date.now()): string {
  const at = new Date(unix * 1000);
  const year = at.getFullYear() === new Date(now).getFullYear() ? "" : ` ${at.getFullYear()}`;
  return `${at.getDate()} ${MONTHS[at.getMonth()]}${year}`;
}

/** Age in seconds as the footer says it: "0.2 s ago", "12 s ago", "3 min ago". */
export function ago(seconds: number): string {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s ago`;
  return seconds < 60 ? `${Math.round(seconds)} s ago` : `${duration(Math.floor(seconds / 60) * 60)} ago`;
}

/** 1 → "1 checkpoint", 3 → "3 checkpoints". */
export const plural = (n: number, noun: string): string => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** Does a text have every word of a search? */
export function finder(search: string): (text: string) => boolean {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return (text) => words.every((word) => text.toLowerCase().includes(word));
}

/** Commas and blanks stand between thousands only: "0,001" and "16, 32" are no numbers. */
const withoutSeparators = (text: string): string =>
  text
    .trim()
    .replace(/_/g, "")
    .replace(/^−/, "-")
    .replace(/^([+-]?[1-9]\d{0,2})((?:[,\s]\d{3})+)(?!\d)/, (all) => all.replace(/[,\s]/g, ""));

/** "16,384", "16_384", "16 384", "2M", "2.6 M", "64k", "1e6" → an integer; null when it is none. */
export function parseInteger(text: string): number | null {
  const match = /^([+-]?\d+(?:\.\d+)?)(?:\s*([km])|e\+?(\d\d?))?$/i.exec(withoutSeparators(text));
  if (!match) return null;
  const zeros = match[3] ?? { k: 3, m: 6 }[(match[2] ?? "").toLowerCase()] ?? 0;
  const n = Number(Number(`${match[1]}e${zeros}`).toPrecision(15));
  return Number.isSafeInteger(n) ? n : null;
}

/** "3e-4", "0.5", "1,000.5" → a number; null when it is none. */
export function parseNumber(text: string): number | null {
  const plain = withoutSeparators(text);
  if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(plain)) return null;
  return Number(plain);
}

/** "1 % of max", "1%", "0.01", "0.01 of max" → 0.01; null when it is none. */
export function parseShare(text: string): number | null {
  const rest = text.replace(/(of\s+(the\s+)?max(imum)?|×\s*max(imum)?)\.?\s*$/i, "").trim();
  const value = parseNumber(rest.replace(/%$/, ""));
  return value === null || !rest.endsWith("%") ? value : Number((value / 100).toPrecision(15));
}

/** A number as a form shows it: small ones in the exponent form people write ("3e-4"). */
export function formNumber(n: number): string {
  if (n !== 0 && Math.abs(n) < 1e-3) return n.toExponential().replace("e+", "e");
  return String(n);
}
