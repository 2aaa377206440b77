/** Requests as points, length against time: those with a flag have the shape and colour of what took their time. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { ScatterPoint } from "./api";
import { CAUSES, css } from "./colors";
import { clock, count, duration, exact, short } from "./format";
import { axis, useSurface } from "./surface";
import { go } from "./url";
import { causeWord, flagWord, outcomeWord, t } from "./words";

const HEIGHT = 260;
const NEAR_PX = 14;

type Shape = "triangle" | "square" | "circle" | "diamond" | "cross" | "ring";
const SHAPES: Record<string, Shape> = { queue: "triangle", prefill: "square", decode: "circle", stall: "diamond", client: "cross", unknown: "ring" };

function colorOf(cause: string | null): string {
  return cause === null ? "--faint" : (CAUSES[cause]?.color ?? "--text");
}

/** Draws one mark of radius `r` at a place; `fill` and `stroke` have been set. */
function mark(pen: CanvasRenderingContext2D, shape: Shape, x: number, y: number, r: number): void {
  pen.beginPath();
  if (shape === "triangle") {
    pen.moveTo(x, y - r * 1.2);
    pen.lineTo(x + r * 1.1, y + r * 0.8);
    pen.lineTo(x - r * 1.1, y + r * 0.8);
    pen.closePath();
  } else if (shape === "square") pen.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
  else if (shape === "diamond") {
    pen.moveTo(x, y - r * 1.3);
    pen.lineTo(x + r * 1.3, y);
    pen.lineTo(x, y + r * 1.3);
    pen.lineTo(x - r * 1.3, y);
    pen.closePath();
  } else if (shape === "cross") {
    pen.moveTo(x - r, y - r);
    pen.lineTo(x + r, y + r);
    pen.moveTo(x + r, y - r);
    pen.lineTo(x - r, y + r);
  } else pen.arc(x, y, r, 0, 7);
  if (shape === "cross" || shape === "ring") pen.stroke();
  else pen.fill();
}

/** 1, 10, 100 … and threes between, as far as a range goes. */
function decades(low: number, high: number): number[] {
  const found: number[] = [];
  for (let ten = 10 ** Math.floor(Math.log10(low)); ten <= high; ten *= 10)
    for (const times of [1, 3]) if (ten * times >= low && ten * times <= high) found.push(ten * times);
  return found;
}

function reach(values: number[]): [number, number] {
  const low = Math.min(...values);
  const high = Math.max(...values);
  return [low / 1.3, Math.max(high, low * 2) * 1.3];
}

export function Dots({ items, title, xLabel }: { items: ScatterPoint[]; title: string; xLabel: string }) {
  // uPlot wants x in order; what cannot stand on a logarithmic axis is left out.
  const points = useMemo(() => items.filter((each) => each.x > 0 && each.y > 0).toSorted((a, b) => a.x - b.x), [items]);
  const latest = useRef(points);
  latest.current = points;
  const [near, setNear] = useState<ScatterPoint | null>(null);
  const nearest = useRef<ScatterPoint | null>(null);
  nearest.current = near;
  const data = useMemo<uPlot.AlignedData>(() => [points.map((each) => each.x), points.map((each) => each.y)], [points]);

  const options = (width: number): uPlot.Options => ({
    width,
    height: HEIGHT,
    padding: [8, 10, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false }, x: false, y: false },
    scales: {
      x: { time: false, distr: 3, range: () => reach(latest.current.map((each) => each.x)) },
      y: { distr: 3, range: () => reach(latest.current.map((each) => each.y)) },
    },
    axes: [
      { ...axis(), size: 24, splits: (_, __, low, high) => decades(low, high), values: (_, splits) => splits.map((each) => short(count(each))), filter: (_, splits) => splits, label: xLabel, labelSize: 14, labelFont: "11px system-ui, sans-serif", labelGap: 0 },
      { ...axis(), size: 58, splits: (_, __, low, high) => decades(low, high), values: (_, splits) => splits.map((each) => short(duration(each))), filter: (_, splits) => splits },
    ],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: {
      draw: [(u) => draw(u, latest.current, nearest.current)],
      setCursor: [(u) => setNear(find(u, latest.current))],
    },
  });
  const { place, plot } = useSurface(options, data, `dots ${xLabel}`);
  useEffect(() => plot.current?.redraw(false), [near]);

  const slowest = useMemo(() => points.toSorted((a, b) => Number(b.cause !== null) - Number(a.cause !== null) || b.y - a.y), [points]);
  const open = () => near && go({ view: "requests", request: near.id, sort: "duration" });
  const onKey = (event: KeyboardEvent) => {
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move !== undefined) setNear(slowest[Math.max(0, Math.min(slowest.length - 1, (near ? slowest.indexOf(near) : -1) + move))] ?? null);
    else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
  };
  const told = near
    ? `${clock(near.time)}: ${exact(near.x)} → ${duration(near.y)}, ${near.flags.map(flagWord).join(", ") || outcomeWord(near.outcome)}${near.cause ? ` (${near.cause === "unknown" ? t("unknown") : causeWord(near.cause)})` : ""}`
    : t("dots_hint");
  const present = [...new Set(points.map((each) => each.cause))].sort();
  return (
    <>
      <ul class="legend">
        {present.map((cause) => (
          <li key={cause}>
            <Mark cause={cause} />
            {cause === null ? t("unflagged") : cause === "unknown" ? t("unknown") : causeWord(cause)}
          </li>
        ))}
      </ul>
      <p class="told">{told}</p>
      <div
        ref={place}
        class="canvas"
        role="slider"
        tabIndex={0}
        aria-label={`${title}. ${t("plot_keys")}`}
        aria-valuemin={0}
        aria-valuemax={Math.max(1, slowest.length)}
        aria-valuenow={near ? slowest.indexOf(near) : 0}
        aria-valuetext={told}
        onKeyDown={onKey}
        onClick={open}
      />
    </>
  );
}

function Mark({ cause }: { cause: string | null }) {
  const draw = (canvas: HTMLCanvasElement | null) => {
    const pen = canvas?.getContext("2d");
    if (!pen) return;
    pen.reset();
    pen.scale(2, 2);
    pen.fillStyle = pen.strokeStyle = css(colorOf(cause));
    pen.lineWidth = 1.6;
    mark(pen, cause === null ? "circle" : (SHAPES[cause] ?? "ring"), 6, 6, cause === null ? 2 : 4);
  };
  return <canvas class="mark" width={24} height={24} ref={draw} aria-hidden="true" />;
}

function draw(u: uPlot, points: ScatterPoint[], near: ScatterPoint | null): void {
  const pen = u.ctx;
  const px = devicePixelRatio;
  pen.save();
  pen.lineWidth = 1.5 * px;
  // What is as usual lies below what is not.
  for (const each of [...points.filter((one) => one.cause === null), ...points.filter((one) => one.cause !== null)]) {
    pen.fillStyle = pen.strokeStyle = css(colorOf(each.cause));
    mark(pen, each.cause === null ? "circle" : (SHAPES[each.cause] ?? "ring"), u.valToPos(each.x, "x", true), u.valToPos(each.y, "y", true), (each.cause === null ? 1.6 : 3.6) * px);
  }
  if (near) {
    pen.strokeStyle = css("--text");
    mark(pen, "ring", u.valToPos(near.x, "x", true), u.valToPos(near.y, "y", true), 8 * px);
  }
  pen.restore();
}

/** The point nearest to the mouse, if one is near. */
function find(u: uPlot, points: ScatterPoint[]): ScatterPoint | null {
  const { left = -1, top = -1 } = u.cursor;
  let best: ScatterPoint | null = null;
  let least = NEAR_PX ** 2;
  if (left < 0) return null;
  for (const each of points) {
    const away = (u.valToPos(each.x, "x") - left) ** 2 + (u.valToPos(each.y, "y") - top) ** 2;
    if (away < least) [least, best] = [away, each];
  }
  return best;
}
