/** A heat map: how many requests were how slow, over time; the darker, the more. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import type { HeatMap } from "./api";
import { type Band, drawLetters } from "./bands";
import { css } from "./colors";
import { clock, duration, exact, short } from "./format";
import { axis, useSurface } from "./surface";
import { DRAG, timeAxis, zoom } from "./plot";
import { iso } from "./time";
import { go } from "./url";
import { t } from "./words";

const HEIGHT = 300;
const TICKS_MS = [1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 6e4, 3e5, 1e6, 3.6e6];

interface Props {
  map: HeatMap;
  of: "duration" | "ttft";
  boundMs: number | null;
  bands: Band[];
}

/** Where a time stands on the axis, in rows; between two edges it is placed by its logarithm. */
function rowOf(edges: number[], ms: number): number {
  const above = edges.findIndex((edge) => edge > ms);
  if (above < 0) return edges.length - 1;
  if (above === 0) return 0;
  const [low, high] = [edges[above - 1]!, edges[above]!];
  return above - 1 + (low > 0 ? Math.log(ms / low) / Math.log(high / low) : ms / high);
}

/** The rows in use, with one to spare on both sides. */
function rowsOf({ cells, edges_ms }: HeatMap): [number, number] {
  const rows = cells.map(([, row]) => row);
  return [Math.max(0, Math.min(...rows) - 1), Math.min(edges_ms.length - 1, Math.max(...rows) + 2)];
}

export function Heat(props: Props) {
  const { map } = props;
  const latest = useRef(props);
  latest.current = props;
  const [at, setAt] = useState<number | null>(null);
  const pressed = useRef(0);
  const [row, setRow] = useState<number | null>(null);
  const times = useMemo(() => map.times.map((time) => Date.parse(time)), [map]);
  const first = times[0] ?? 0;
  const data = useMemo<uPlot.AlignedData>(() => [times.map((ms) => ms / 1000), times.map(() => null)], [times]);

  const options = (width: number): uPlot.Options => ({
    width,
    height: HEIGHT,
    padding: [10, 16, 0, 0],
    legend: { show: false },
    cursor: { drag: DRAG, points: { show: false } },
    scales: {
      x: {
        time: true,
        range: () => {
          const { from, to, step_ms } = latest.current.map;
          const end = Date.parse(latest.current.map.times.at(-1) ?? to ?? "") + step_ms;
          return [Date.parse(from) / 1000, Math.max(end, Date.parse(to ?? "") || 0) / 1000];
        },
      },
      y: { range: () => rowsOf(latest.current.map) },
    },
    axes: [
      timeAxis(),
      {
        ...axis(),
        size: 58,
        splits: () => TICKS_MS.map((ms) => rowOf(latest.current.map.edges_ms, ms)).filter((at) => {
          const [low, high] = rowsOf(latest.current.map);
          return at > low && at < high;
        }),
        values: (_, splits) => {
          const edges = latest.current.map.edges_ms;
          return splits.map((split) => short(duration(TICKS_MS.find((ms) => Math.abs(rowOf(edges, ms) - split) < 1e-6) ?? 0)));
        },
      },
    ],
    series: [{}, { show: true, paths: () => null, points: { show: false } }],
    hooks: {
      drawAxes: [(u) => draw(u, latest.current)],
      setSelect: [zoom],
      draw: [(u) => drawLetters(u, latest.current.bands)],
      setCursor: [
        (u) => {
          const { left = -1, top = -1 } = u.cursor;
          setAt(left < 0 ? null : u.posToVal(left, "x") * 1000);
          setRow(top < 0 ? null : Math.floor(u.posToVal(top, "y")));
        },
      ],
    },
  });
  const { place, plot } = useSurface(options, data, "heat");
  useEffect(() => plot.current?.redraw(false), [props.bands, props.boundMs, map]);

  const column = at === null ? null : Math.floor((at - first) / map.step_ms);
  const byColumn = useMemo(() => {
    const found = new Map<number, [row: number, count: number][]>();
    for (const [column, row, count] of map.cells) found.set(column, [...(found.get(column) ?? []), [row, count]]);
    return found;
  }, [map]);
  const start = column === null ? null : first + column * map.step_ms;
  const told = () => {
    if (column === null || start === null) return t("plot_hint");
    const cells = byColumn.get(indexAt(times, start)) ?? [];
    const cell = row === null ? undefined : cells.find(([each]) => each === row);
    const sum = cells.reduce((all, [, count]) => all + count, 0);
    const range = (of: number) => `${short(duration(map.edges_ms[of]!))} – ${short(duration(map.edges_ms[of + 1]))}`;
    const most = cells.toSorted((a, b) => b[1] - a[1])[0];
    if (cell) return `${clock(start)}, ${range(cell[0])}: ${t("heat_many", { n: exact(cell[1]) })}`;
    return `${clock(start)}: ${t("heat_many", { n: exact(sum) })}${most && row === null ? ` (${range(most[0])}: ${exact(most[1])})` : ""}`;
  };
  const open = () => {
    if (start === null) return;
    const edge = row === null ? 0 : (map.edges_ms[row] ?? 0);
    const slower = props.of === "duration" && edge > 0 ? { slowerThan: `${Math.round(edge)}ms` } : {};
    go({ view: "requests", from: iso(start), to: iso(start + map.step_ms), sort: "duration", request: "", ...slower });
  };
  const onKey = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    const move = moves[event.key];
    if (move !== undefined) {
      const last = Math.floor(((times.at(-1) ?? first) - first) / map.step_ms);
      const to = Math.max(0, Math.min(last, (column ?? last + 1) + move));
      setAt(first + (to + 0.5) * map.step_ms);
      setRow(null);
    } else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
  };
  return (
    <>
      <p class="told">
        {told()}
        <span class="scale" aria-hidden="true">
          {t("heat_few")} <i /> {t("heat_many", { n: exact(Math.max(...map.cells.map(([, , count]) => count))) })}
        </span>
      </p>
      <div
        ref={place}
        class="canvas"
        role="slider"
        tabIndex={0}
        aria-label={`${t("heat")}. ${t("plot_keys")}`}
        aria-valuemin={0}
        aria-valuemax={Math.max(1, times.length)}
        aria-valuenow={Math.max(0, column ?? 0)}
        aria-valuetext={told()}
        onKeyDown={onKey}
        onMouseDown={(event) => (pressed.current = event.clientX)}
        onClick={(event) => Math.abs(event.clientX - pressed.current) <= 6 && open()}
      />
    </>
  );
}

/** Which of the times is this one; columns without requests may be left out. */
function indexAt(times: number[], ms: number): number {
  return times.indexOf(ms);
}

function draw(u: uPlot, { map, boundMs }: Props): void {
  const { ctx, bbox } = u;
  const most = Math.log1p(Math.max(...map.cells.map(([, , count]) => count)));
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = css("--heat");
  for (const [column, row, count] of map.cells) {
    const begin = Date.parse(map.times[column]!) / 1000;
    const [x0, x1] = [u.valToPos(begin, "x", true), u.valToPos(begin + map.step_ms / 1000, "x", true)];
    const [y0, y1] = [u.valToPos(row + 1, "y", true), u.valToPos(row, "y", true)];
    ctx.globalAlpha = 0.14 + 0.86 * (Math.log1p(count) / most);
    ctx.fillRect(Math.round(x0), Math.round(y0), Math.max(1, Math.round(x1) - Math.round(x0)), Math.max(1, Math.round(y1) - Math.round(y0)));
  }
  if (boundMs !== null) {
    const y = Math.round(u.valToPos(rowOf(map.edges_ms, boundMs), "y", true));
    ctx.globalAlpha = 1;
    ctx.strokeStyle = css("--threshold");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}
