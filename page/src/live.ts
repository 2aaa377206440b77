/** How fresh the page is: what logproc pushes after each commit, and when a view should ask again. */

import { useEffect, useRef, useState } from "preact/hooks";

export interface Readiness {
  status: "ready" | "degraded" | "not ready";
  consumers: Record<string, { lag_bytes: number; lag_seconds: number; problem: string | null }>;
}

export interface Live {
  /** Grows with each commit that was told. */
  commits: number;
  isConnected: boolean;
  readiness: Readiness | null;
  /** Changes when an alert does. */
  alerts: number;
  /** How far the slowest consumer is behind, seconds. */
  lagS: number;
}

interface Commit {
  lag_s: Record<string, number>;
  alerts_seq: number | null;
}

let live: Live = { commits: 0, isConnected: false, readiness: null, alerts: 0, lagS: 0 };
const listeners = new Set<(live: Live) => void>();
let source: EventSource | null = null;
const POLL_MS = 5000;
let polling = 0;
let retry = 0;
let hasListened = false;

function lagOf(lags: Record<string, number>): number {
  return Math.max(0, ...Object.values(lags));
}

function ready(readiness: Readiness): void {
  const lags = Object.entries(readiness.consumers).map(([name, each]) => [name, each.lag_seconds] as const);
  change({ readiness, lagS: lagOf(Object.fromEntries(lags)) });
}

function change(what: Partial<Live>): void {
  live = { ...live, ...what };
  for (const each of listeners) each(live);
}

async function poll(): Promise<void> {
  try {
    const answer = await fetch("/readyz");
    ready((await answer.json()) as Readiness);
    change({ commits: live.commits + 1, alerts: live.alerts + 1 });
  } catch {
    change({ readiness: null });
  }
}

/**
 * Listen for as long as somebody looks: a browser has six connections for all tabs of one server together, and a stream
 * takes one of them, also in a tab that is out of sight and in a page that was left.
 */
export function listen(): void {
  const attend = () => {
    if (document.visibilityState !== "visible") return leave();
    if (source) return undefined;
    if (hasListened) change({ commits: live.commits + 1, alerts: live.alerts + 1 }); // something may have happened meanwhile
    return connect();
  };
  addEventListener("visibilitychange", attend);
  addEventListener("pageshow", (event) => event.persisted && attend());
  addEventListener("pagehide", leave);
  if (document.visibilityState === "visible") connect();
}

function leave(): void {
  source?.close();
  source = null;
  clearInterval(polling);
  clearTimeout(retry);
  polling = 0;
}

/** While there is no stream, look every five seconds. */
export function connect(): void {
  source?.close();
  clearTimeout(retry);
  hasListened = true;
  source = new EventSource("/api/v1/stream");
  source.addEventListener("open", () => {
    clearInterval(polling);
    polling = 0;
    change({ isConnected: true });
  });
  source.addEventListener("commit", (event) => {
    const { lag_s, alerts_seq } = JSON.parse((event as MessageEvent<string>).data) as Commit;
    const alerts = alerts_seq ?? live.alerts;
    change({ commits: live.commits + 1, isConnected: true, lagS: lagOf(lag_s), alerts });
  });
  source.addEventListener("state", (event) => ready(JSON.parse((event as MessageEvent<string>).data) as Readiness));
  source.addEventListener("error", () => {
    change({ isConnected: false });
    // The browser tries again by itself, and each failure comes here: one timer is enough.
    if (polling === 0) {
      void poll();
      polling = setInterval(() => void poll(), POLL_MS) as unknown as number;
    }
    if (source?.readyState === EventSource.CLOSED) retry = setTimeout(connect, POLL_MS) as unknown as number;
  });
}

export function useLive(): Live {
  const [state, setState] = useState(live);
  useEffect(() => {
    listeners.add(setState);
    setState(live); // it may have changed since this was drawn
    return () => void listeners.delete(setState);
  }, []);
  return state;
}

/** A number that changes when a view should ask again: after commits, but at most once each `every` ms; not if null. */
export function useTick(every: number | null): number {
  const [tick, setTick] = useState(0);
  const last = useRef(0);
  const timer = useRef(0);
  useEffect(() => {
    if (every === null) return undefined;
    let seen = live.commits;
    const told = () => {
      if (live.commits === seen || timer.current) return;
      seen = live.commits;
      timer.current = setTimeout(
        () => {
          timer.current = 0;
          last.current = Date.now();
          setTick((before) => before + 1);
        },
        Math.max(0, last.current + every - Date.now()),
      ) as unknown as number;
    };
    listeners.add(told);
    return () => {
      listeners.delete(told);
      clearTimeout(timer.current);
      timer.current = 0;
    };
  }, [every]);
  return tick;
}
