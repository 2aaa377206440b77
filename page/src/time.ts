/** Ranges of time: how long they are, which steps suit them, how often they are looked at again. */

import type { State } from "./url";

export const SPANS = ["15m", "1h", "6h", "24h", "7d", "30d"] as const;
const UNIT_MS: Record<string, number> = { s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7, w: 6.048e8 };

/** ms of a span such as `15m`; null when it is none. */
export function spanMs(text: string): number | null {
  const found = /^(\d+(?:\.\d+)?)\s*([smhdw])$/.exec(text.trim());
  return found ? Number(found[1]) * UNIT_MS[found[2]!]! : null;
}

/** The moment that `from` or `to` means, ms since 1970; NaN when it cannot be understood. */
export function moment(text: string, now: number): number {
  if (text === "" || text === "now") return now;
  const span = spanMs(text);
  return span === null ? Date.parse(text) : now - span;
}

/** Beginning and end of the range, ms since 1970. */
export function range(state: State, now = Date.now()): [number, number] {
  const end = moment(state.to, now);
  return [moment(state.from, now), end];
}

export function isLive(state: State): boolean {
  return state.to === "";
}

/** How long to wait at least before asking again about a range that goes on, ms. */
export function patience(state: State): number | null {
  if (!isLive(state)) return null;
  const [from, to] = range(state);
  return Math.min(15_000, Math.max(1000, (to - from) / 1200));
}

/** The step for plots of a range, where the usual one (whole minutes) is too coarse; empty: the usual one. */
export function fineStep(state: State): string {
  const [from, to] = range(state);
  const minutes = (to - from) / 6e4;
  if (minutes <= 2) return "1s";
  if (minutes <= 20) return "10s";
  return minutes <= 60 ? "30s" : "";
}

/** RFC 3339 of a moment. */
export function iso(ms: number): string {
  return new Date(ms).toISOString();
}
