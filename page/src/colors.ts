/** Colours come from app.css; what must be told apart without colour has a hatching or a shape of its own as well. */

export type Hatch = "solid" | "slash" | "backslash" | "cross" | "dots" | "rows" | "columns" | "hollow";

export interface Look {
  /** The name of a custom property of app.css. */
  color: string;
  hatch: Hatch;
}

/** In the order in which they are stacked, what is well at the bottom. */
export const OUTCOMES: Record<string, Look> = {
  ok: { color: "--ok", hatch: "solid" },
  truncated: { color: "--truncated", hatch: "rows" },
  reasoning_only: { color: "--reasoning", hatch: "dots" },
  empty: { color: "--empty", hatch: "columns" },
  client_disconnect: { color: "--left", hatch: "hollow" },
  rejected: { color: "--rejected", hatch: "backslash" },
  stream_error: { color: "--stream-error", hatch: "slash" },
  server_error: { color: "--server-error", hatch: "cross" },
};

export const CAUSES: Record<string, Look> = {
  queue: { color: "--queue", hatch: "slash" },
  prefill: { color: "--prefill", hatch: "dots" },
  decode: { color: "--decode", hatch: "solid" },
  stall: { color: "--stall", hatch: "cross" },
  client: { color: "--client", hatch: "hollow" },
};

let cache = new Map<string, string>();
let patterns = new Map<string, HTMLCanvasElement>();

/** The theme has changed: colours are read anew. */
export function forgetColors(): void {
  cache = new Map();
  patterns = new Map();
}

/** The value of a custom property in the present theme. */
export function css(name: string): string {
  let value = cache.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
    cache.set(name, value);
  }
  return value;
}

const TILE = 6;

/** A small picture that repeats: the colour with its hatching. */
export function tile(look: Look): HTMLCanvasElement {
  const key = `${look.color} ${look.hatch}`;
  const known = patterns.get(key);
  if (known) return known;
  const scale = Math.max(1, Math.round(devicePixelRatio));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = TILE * scale;
  const pen = canvas.getContext("2d")!;
  pen.scale(scale, scale);
  pen.fillStyle = css(look.color);
  pen.fillRect(0, 0, TILE, TILE);
  pen.fillStyle = pen.strokeStyle = css("--panel");
  pen.lineWidth = 1.2;
  const line = (x0: number, y0: number, x1: number, y1: number) => {
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
  };
  const { hatch } = look;
  if (hatch === "slash" || hatch === "cross") for (const d of [-TILE, 0, TILE]) line(d - 1, TILE + 1, d + TILE + 1, -1);
  if (hatch === "backslash" || hatch === "cross") for (const d of [-TILE, 0, TILE]) line(d - 1, -1, d + TILE + 1, TILE + 1);
  if (hatch === "rows") pen.fillRect(0, 2, TILE, 1.2);
  if (hatch === "columns") pen.fillRect(2, 0, 1.2, TILE);
  if (hatch === "dots") pen.fillRect(2, 2, 2, 2);
  if (hatch === "hollow") pen.fillRect(1, 1, TILE - 2, TILE - 2);
  patterns.set(key, canvas);
  return canvas;
}

/** What a canvas is filled with to show a look. */
export function fill(pen: CanvasRenderingContext2D, look: Look): string | CanvasPattern {
  return look.hatch === "solid" ? css(look.color) : (pen.createPattern(tile(look), "repeat") ?? css(look.color));
}
