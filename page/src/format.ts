/** Numbers and times as people read them. Unknown is a dash, never 0. */

import { now } from "./url";

export const DASH = "–";

function locale(): string {
  return now().language === "zh" ? "zh-CN" : "en-GB";
}

/** Three digits that count: 0.12, 1.23, 12.3, 123, 1,234. */
function digits(value: number): string {
  const size = Math.abs(value);
  const fraction = size >= 99.95 || value === 0 ? 0 : size >= 9.995 ? 1 : 2;
  return value.toLocaleString("en-GB", { minimumFractionDigits: fraction, maximumFractionDigits: fraction });
}

/** Without zeros that say nothing, for axes: `5 s`, not `5.00 s`. */
export function short(text: string): string {
  return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

/** ms → `12 ms`, `1.24 s`, `2 m 05 s`, `3 h 10 m`, `4 d 3 h`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return DASH;
  if (ms < 999.5) return `${ms < 10 && ms > 0 ? Math.round(ms * 10) / 10 : Math.round(ms)} ms`;
  if (ms < 99_950) return `${digits(ms / 1000)} s`;
  const two = (n: number) => String(n).padStart(2, "0");
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 2 * 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const nsDuration = (ns: number | null | undefined): string =>
  duration(ns === null || ns === undefined ? null : ns / 1e6);

/** 950, 12.3 k, 4.56 M. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  if (value < 10_000) return value.toLocaleString("en-GB", { maximumFractionDigits: 0 });
  if (value < 999_500) return `${digits(value / 1e3)} k`;
  return value < 999.5e6 ? `${digits(value / 1e6)} M` : `${digits(value / 1e9)} G`;
}

export function exact(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : value.toLocaleString("en-GB");
}

export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  return value >= 10_000 ? count(value) : digits(value);
}

export function percent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || Number.isNaN(ratio)) return DASH;
  const value = ratio * 100;
  return `${value === 0 ? 0 : value < 9.95 ? value.toFixed(1) : Math.round(value)} %`;
}

export function bytes(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : `${digits(value / 2 ** 30)} GiB`;
}

export function money(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : value.toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: value < 1 ? 4 : 2 });
}

/** Time of day with seconds; with the date when it is not today. */
export function clock(time: string | number, options: { date?: boolean; ms?: boolean } = {}): string {
  const when = new Date(time);
  if (Number.isNaN(when.getTime())) return DASH;
  const day = options.date || when.toDateString() !== new Date().toDateString();
  const text = when.toLocaleTimeString("en-GB", { hour12: false });
  const ms = options.ms ? `.${String(when.getMilliseconds()).padStart(3, "0")}` : "";
  return `${day ? `${when.toLocaleDateString(locale(), { day: "numeric", month: "short" })} ` : ""}${text}${ms}`;
}

/** Text from a log as it may be shown: what cannot be seen, or turns the direction of writing, becomes visible. */
export function shown(text: unknown, longest = 120): string {
  const told = typeof text === "string" ? text : text === null || text === undefined ? DASH : JSON.stringify(text);
  const cut = told.length > longest ? `${told.slice(0, longest)}…` : told;
  return cut.replace(
    // Controls, marks of direction, and what has no width.
    /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
