/** A plot over time: lines or stacked bars, alerts as bands, and from every point a way to the requests behind it. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { type Band, drawBands, drawLetters } from "./bands";
import { css, fill, type Hatch, type Look } from "./colors";
import { clock } from "./format";
import { Swatch } from "./parts";
import { axis, useSurface } from "./surface";
import { go } from "./url";
import { iso } from "./time";
import { t } from "./words";

export interface Line {
  label: string;
  values: (number | null)[];
  color: string;
  hatch?: Hatch;
  dash?: number[];
  width?: number;
}

interface Props {
  title: string;
  kind: "lines" | "stack";
  /** Beginnings of the steps, seconds since 1970. */
  times: number[];
  stepMs: number;
  lines: Line[];
  format: (value: number | null) => string;
  /** The same for the numbers at the axis. */
  axisFormat: (value: number) => string;
  /** ms since 1970. */
  range: [number, number];
  bands: Band[];
  threshold?: number | null;
  onPick?: (index: number) => void;
}

const HEIGHT = 168;

/** The data as uPlot takes it; a stack from its top to its bottom, each with what is below it. */
function data(props: Props): uPlot.AlignedData {
  if (props.kind === "lines") return [props.times, ...props.lines.map((line) => line.values)];
  let below = props.times.map(() => 0);
  const sums = props.lines.map((line) => (below = below.map((sum, i) => sum + (line.values[i] ?? 0))));
  return [props.times, ...sums.reverse()];
}

function timeLabels(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let day = "";
  return splits.map((second) => {
    const when = new Date(second * 1000);
    const date = `${when.getDate()}.${when.getMonth() + 1}.`;
    const time = clock(when.getTime()).split(" ").pop()!;
    if (step >= 86_400) return date;
    const text = step < 60 ? time : time.slice(0, 5);
    const isNew = day !== "" && day !== date;
    day = date;
    return isNew ? `${date}\n${text}` : text;
  });
}

/** Dragging is looking closer: what was selected becomes the range. */
export function zoom(u: uPlot): void {
  if (u.select.width < 8) return;
  const at = (left: number) => u.posToVal(left, "x") * 1000;
  go({ from: iso(at(u.select.left)), to: iso(at(u.select.left + u.select.width)) });
  u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
}

export const DRAG: uPlot.Cursor.Drag = { x: true, y: false, setScale: false, dist: 8 };

/** An axis of time. */
export function timeAxis(): uPlot.Axis {
  return { ...axis(), size: 26, values: timeLabels, space: 64 };
}

function options(props: () => Props, width: number, pointed: (index: number | null) => void): uPlot.Options {
  const { kind, lines, axisFormat: format } = props();
  const series: uPlot.Series[] = lines.map((line) => ({
    label: line.label,
    stroke: () => css(line.color),
    width: line.width ?? 1.5,
    ...(line.dash ? { dash: line.dash } : {}),
    points: { show: false },
    spanGaps: false,
  }));
  const bars = uPlot.paths.bars!({ size: [0.86, 40], align: 1 });
  const stack: uPlot.Series[] = lines
    .map((line) => ({
      label: line.label,
      width: 0,
      fill: (u: uPlot) => fill(u.ctx, { color: line.color, hatch: line.hatch ?? "solid" }) as string,
      paths: bars,
      points: { show: false },
    }))
    .reverse();
  return {
    width,
    height: HEIGHT,
    padding: [10, 16, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: "time", setSeries: false },
      drag: DRAG,
      y: false,
      points: { size: 6, show: kind === "lines" },
    },
    scales: {
      x: { time: true, range: () => [props().range[0] / 1000, props().range[1] / 1000] },
      y: {
        range: (_, __, most) => {
          const bound = props().threshold;
          const top = Math.max(most ?? 0, bound && (most ?? 0) > bound / 3 ? bound * 1.15 : 0);
          return [0, top > 0 ? top * 1.05 : 1];
        },
      },
    },
    axes: [
      timeAxis(),
      { ...axis(), size: 58, values: (_, splits) => splits.map((each) => format(each)), space: 34 },
    ],
    series: [{}, ...(kind === "lines" ? series : stack)],
    hooks: {
      drawAxes: [(u) => drawBands(u, props().bands)],
      draw: [
        (u) => drawThreshold(u, props().threshold),
        (u) => drawLetters(u, props().bands),
      ],
      setCursor: [(u) => pointed(u.cursor.idx ?? null)],
      setSelect: [zoom],
    },
  };
}

function drawThreshold(u: uPlot, bound: number | null | undefined): void {
  if (bound === null || bound === undefined || bound > (u.scales.y!.max ?? 0)) return;
  const y = Math.round(u.valToPos(bound, "y", true));
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = css("--threshold");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

/** How a line is drawn, as a sign in the legend. */
function Stroke({ line }: { line: Line }) {
  return (
    <svg class="stroke" viewBox="0 0 22 8" aria-hidden="true">
      <line x1="0" y1="4" x2="22" y2="4" stroke={`var(${line.color})`} stroke-width={(line.width ?? 1.5) * 1.3} stroke-dasharray={line.dash?.join(" ")} />
    </svg>
  );
}

function lastKnown(props: Props): number | null {
  for (let i = props.times.length - 1; i >= 0; i--) if (props.lines.some((line) => line.values[i])) return i;
  return null;
}

export function Plot(props: Props) {
  const latest = useRef(props);
  latest.current = props;
  const [pointed, setPointed] = useState<number | null>(null);
  const pressed = useRef(0);
  const shape = `${props.kind} ${props.lines.map((line) => `${line.label}${line.color}`).join()}`;
  const [from, to] = props.range;
  const drawn = useMemo(() => data(props), [props.times, props.lines, from, to]);
  const { place, plot } = useSurface((width) => options(() => latest.current, width, setPointed), drawn, shape);
  useEffect(() => plot.current?.redraw(false), [props.bands, props.threshold]);

  const count = props.times.length;
  const index = pointed !== null && pointed < count ? pointed : lastKnown(props);
  const point = (to: number) => {
    const u = plot.current;
    const second = props.times[Math.max(0, Math.min(count - 1, to))];
    if (u && second !== undefined) u.setCursor({ left: u.valToPos(second, "x"), top: 10 });
  };
  const onKey = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 };
    const move = moves[event.key];
    if (move !== undefined) point((index ?? count) + move);
    else if (event.key === "Enter" && index !== null) props.onPick?.(index);
    else return;
    event.preventDefault();
  };
  const told = (line: Line) => props.format(index === null ? null : (line.values[index] ?? null));
  const time = index === null ? "" : clock(props.times[index]! * 1000);
  const spoken = index === null ? t("no_value") : `${time}: ${props.lines.map((line) => `${line.label} ${told(line)}`).join(", ")}`;
  return (
    <figure class="plot panel">
      <figcaption>
        <h2>{props.title}</h2>
        <span class="plot-time">{time}</span>
      </figcaption>
      <ul class="legend">
        {props.lines.map((line) => (
          <li key={line.label}>
            {props.kind === "lines" ? <Stroke line={line} /> : <Swatch look={lookOf(line)} />}
            {line.label} <b>{told(line)}</b>
          </li>
        ))}
        {props.threshold !== null && props.threshold !== undefined && (
          <li class="is-threshold">
            <svg class="stroke" viewBox="0 0 22 8" aria-hidden="true">
              <line x1="0" y1="4" x2="22" y2="4" stroke="var(--threshold)" stroke-width="1.5" stroke-dasharray="2 3" />
            </svg>
            {t("threshold")} <b>{props.format(props.threshold)}</b>
          </li>
        )}
      </ul>
      <div
        ref={place}
        class="canvas"
        role="slider"
        tabIndex={0}
        aria-label={`${props.title}. ${t("plot_keys")}`}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, count - 1)}
        aria-valuenow={index ?? 0}
        aria-valuetext={spoken}
        title={t("plot_hint")}
        onKeyDown={onKey}
        onMouseDown={(event) => (pressed.current = event.clientX)}
        onClick={(event) => {
          const moved = Math.abs(event.clientX - pressed.current) > 6;
          const at = plot.current?.cursor.idx;
          if (!moved && at !== null && at !== undefined) props.onPick?.(at);
        }}
      />
    </figure>
  );
}

function lookOf(line: Line): Look {
  return { color: line.color, hatch: line.hatch ?? "solid" };
}
