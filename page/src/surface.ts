/** A canvas with axes that fits its place: what all plots have in common. */

import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { css } from "./colors";
import { useUrl } from "./url";

export const FONT = "11px system-ui, sans-serif";

/** What every axis is like. */
export function axis(): Partial<uPlot.Axis> {
  return { stroke: () => css("--muted"), grid: { stroke: () => css("--grid"), width: 1 }, ticks: { show: false }, font: FONT, gap: 4 };
}

interface Surface {
  place: RefObject<HTMLDivElement | null>;
  plot: { current: uPlot | undefined };
}

/** Makes a plot anew when `shape` changes, and gives it other data when `data` does. */
export function useSurface(options: (width: number) => uPlot.Options, data: uPlot.AlignedData, shape: string): Surface {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const { language } = useUrl();
  useLayoutEffect(() => {
    const element = place.current!;
    const made = new uPlot(options(element.clientWidth || 300), data, element);
    plot.current = made;
    const seen = new ResizeObserver(() => {
      if (element.clientWidth !== made.width) made.setSize({ width: element.clientWidth, height: made.height });
    });
    seen.observe(element);
    return () => {
      seen.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape, language]);
  useEffect(() => plot.current?.setData(data), [data]);
  return { place, plot };
}
