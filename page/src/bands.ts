/** Alerts as bands on plots: each with a letter, so that the band and its sentence are told together without colour. */

import type uPlot from "uplot";
import type { Alert } from "./api";
import { css } from "./colors";

export interface Band {
  letter: string;
  alert: Alert;
  /** ms since 1970. */
  from: number;
  to: number;
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** The bands of the alerts that were there in a range, the oldest first, so that letters stay while time goes on. */
export function bandsOf(alerts: Alert[], [from, to]: [number, number], now: number): Band[] {
  return alerts
    .filter((alert) => alert.state !== "pending")
    .map((alert) => ({
      alert,
      from: Date.parse(alert.since),
      to: alert.state === "firing" ? Math.max(now, to) : Date.parse(alert.until ?? alert.time),
    }))
    .filter((band) => band.to >= from && band.from < to)
    .sort((a, b) => a.from - b.from || a.alert.id.localeCompare(b.alert.id))
    .map((band, i) => ({ ...band, letter: LETTERS[i] ?? "*" }));
}

function edges(u: uPlot, band: Band): [number, number] {
  const { left, width } = u.bbox;
  const at = (ms: number) => Math.min(left + width, Math.max(left, u.valToPos(ms / 1000, "x", true)));
  return [at(band.from), at(band.to)];
}

const colorOf = (band: Band): string => css(`--${band.alert.severity}`);

/** Below the data: a tint while any of them lasted, and an edge where each began. */
export function drawBands(u: uPlot, bands: Band[]): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = css("--band");
  let covered = 0;
  for (const band of bands) {
    const [x0, x1] = edges(u, band);
    const begin = Math.max(x0, covered);
    if (x1 > begin) ctx.fillRect(begin, bbox.top, x1 - begin, bbox.height);
    covered = Math.max(covered, x1);
  }
  ctx.globalAlpha = 0.55;
  for (const band of bands) {
    ctx.fillStyle = colorOf(band);
    ctx.fillRect(edges(u, band)[0], bbox.top, devicePixelRatio, bbox.height);
  }
  ctx.restore();
}

/** Above the data: a rail over the time it lasted, and its letter; overlapping ones in rows. */
export function drawLetters(u: uPlot, bands: Band[]): void {
  const { ctx, bbox } = u;
  const px = devicePixelRatio;
  const rows: number[] = [];
  ctx.save();
  ctx.font = `700 ${10 * px}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "center";
  for (const band of bands) {
    const [x0, x1] = edges(u, band);
    let row = rows.findIndex((end) => end <= x0);
    if (row < 0) row = rows.length;
    if (row > 5) continue;
    rows[row] = Math.max(x1, x0 + 14 * px);
    const y = bbox.top + row * 13 * px;
    ctx.fillStyle = colorOf(band);
    ctx.fillRect(x0, y, Math.max(2 * px, x1 - x0), 2 * px);
    ctx.fillRect(x0, y, 13 * px, 12 * px);
    ctx.fillStyle = css("--on-mark");
    ctx.fillText(band.letter, x0 + 6.5 * px, y + 6.5 * px);
  }
  ctx.restore();
}
