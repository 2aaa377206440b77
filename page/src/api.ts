/** Questions to logproc's API: the types of its answers (docs/api.md), and how a component asks and asks again. */

import { useEffect, useRef, useState } from "preact/hooks";

export type Percentiles = { p50: number; p95: number; p99: number } | null;
export type Outcomes = Record<string, number>;

/** A request, under the names of docs/query.md. Times are ns. */
export interface Doc {
  "event.id": string;
  "@timestamp": string;
  "event.duration"?: number;
  "http.response.status_code"?: number;
  "llm.outcome"?: string;
  "llm.flags"?: string[];
  "gen_ai.request.model"?: string;
  "gen_ai.usage.input_tokens"?: number;
  "gen_ai.usage.output_tokens"?: number;
  "source.address"?: string;
  "user.id"?: string;
  "llm.api_key_id"?: string;
  "url.path"?: string;
  "llm.stream"?: boolean;
  "llm.ttft"?: number;
  "llm.stall_max"?: number;
  "llm.queue_time"?: number;
  "llm.prefill_time"?: number;
  "llm.decode_time"?: number;
  [field: string]: unknown;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface OneRequest {
  document: Doc;
  line: string;
  line_source: "file" | "rebuilt";
  usual?: { ttft_ms: number | null; decode_ms: number | null; duration_ms: number | null };
}

export interface Group {
  requests: number;
  outcomes: Outcomes;
  prompt_tokens: number;
  completion_tokens: number;
  duration_ns: { p50: number; p95: number; p99: number };
  ttft_ms?: Percentiles;
  cost?: number | null;
  [by: string]: unknown;
}

export interface Summary extends Page<Group> {
  from: string | null;
  to: string | null;
  total: Group | null;
}

export interface Step {
  time: string;
  requests: number;
  outcomes: Outcomes;
  prompt_tokens: number;
  completion_tokens: number;
  duration_ms: Percentiles;
  ttft_ms: Percentiles;
  queue_ms: number;
  prefill_ms: number;
  decode_ms: number;
  /** Of those requests whose queue, prefill and decode are known. */
  duration_sum_ms?: number | null;
}

export interface Series extends Page<Step> {
  from: string;
  to: string | null;
  step_ms: number;
}

export interface Alert {
  id: string;
  kind: string;
  severity: "warning" | "critical" | "disaster";
  state: "pending" | "firing" | "resolved";
  time: string;
  since: string;
  until?: string;
  model?: string;
  host?: string;
  value?: number;
  bound?: number;
  n?: number;
  cause?: string;
  shares?: Record<string, number>;
  facts?: Record<string, unknown>;
  examples?: string[];
  text?: { en?: string; zh?: string };
  acknowledged: { by: string; severity: string; time: string } | null;
  silenced: boolean;
  told: Record<string, string>;
}

export interface AlertLife {
  alert: Alert;
  entries: Alert[];
}

export interface Silence {
  id: string;
  kind: string;
  model: string | null;
  until: string;
  created: string;
  by: string;
  comment: string;
}

export interface Engine {
  engine: string | number;
  running: number | null;
  waiting: number | null;
  kv_cache_usage: number | null;
}

export interface Gpu {
  gpu: string;
  memory_used_bytes: number | null;
  memory_total_bytes: number | null;
  utilization: number | null;
  temperature_c: number | null;
  power_w: number | null;
}

export interface Server {
  host: string | null;
  pid: number | string | null;
  model: string | null;
  state?: string;
  started_at: string | null;
  seen_at: string | null;
  in_flight: number | null;
  oldest_s: number | null;
  engines?: Engine[] | null;
  gpus?: Gpu[] | null;
}

export interface About {
  version: string;
  service: string;
  store: string;
  thresholds: Record<string, number | null>;
  priced: boolean;
}

export interface HeatMap {
  from: string;
  to: string;
  step_ms: number;
  edges_ms: number[];
  times: string[];
  cells: [number, number, number][];
}

export interface ScatterPoint {
  id: string;
  time: string;
  x: number;
  y: number;
  cause: string | null;
  outcome: string;
  model: string | null;
  flags: string[];
}

export interface Scatter {
  total: number;
  shown: number;
  items: ScatterPoint[];
}

/** What went wrong with a question. `status` 0: there was no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly parameter: string | null = null,
  ) {
    super(message);
  }
}

/** Called when an answer is 401: a token is needed. */
export let onRefused: () => void = () => {};
export function setOnRefused(call: () => void): void {
  onRefused = call;
}

async function told(answer: Response): Promise<never> {
  let message = `${answer.status} ${answer.statusText}`.trim();
  let parameter: string | null = null;
  try {
    const body = (await answer.json()) as { error?: string; parameter?: string | null };
    if (body.error) message = body.error;
    parameter = body.parameter ?? null;
  } catch {
    // No JSON: the status has to do.
  }
  if (answer.status === 401) onRefused();
  throw new ApiError(answer.status, message, parameter);
}

async function fetched(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "");
  }
}

/** GET. Throws ApiError. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await fetched(path, signal ? { signal } : {});
  return answer.ok ? ((await answer.json()) as T) : told(answer);
}

/** POST or DELETE with JSON. Throws ApiError. */
export async function send(method: "POST" | "DELETE", path: string, body?: unknown): Promise<void> {
  const answer = await fetched(path, {
    method,
    headers: { "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) await told(answer);
}

export interface Answer<T> {
  /** The newest answer; while another question is under way, that of the last one. */
  value: T | undefined;
  error: ApiError | undefined;
  /** Whether `value` answers an older question. */
  isOld: boolean;
}

/** The answer to GET `path` (null: nothing is asked); it is asked again whenever `again` changes, one at a time. */
export function useAnswer<T>(path: string | null, again: unknown = 0): Answer<T> {
  const [got, setGot] = useState<{ path: string | null; value?: T; error?: ApiError }>({ path: null });
  const underWay = useRef(false);
  const wanted = useRef(false);
  const latest = useRef<string | null>(null);

  const start = (asked: string, signal: AbortSignal): void => {
    if (underWay.current) {
      wanted.current = true;
      return;
    }
    underWay.current = true;
    wanted.current = false;
    ask<T>(asked, signal)
      .then(
        (value) => latest.current === asked && setGot({ path: asked, value }),
        (error: unknown) => {
          if (latest.current !== asked || !(error instanceof ApiError)) return;
          setGot((before) => ({ path: asked, ...(before.path === asked ? { value: before.value as T } : {}), error }));
        },
      )
      .finally(() => {
        if (latest.current !== asked) return;
        underWay.current = false;
        if (wanted.current && !signal.aborted) start(asked, signal);
      });
  };

  const abort = useRef<AbortController | undefined>(undefined);
  useEffect(() => {
    latest.current = path;
    underWay.current = false;
    if (path === null) return undefined;
    const controller = new AbortController();
    abort.current = controller;
    start(path, controller.signal);
    return () => controller.abort();
  }, [path]);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else if (path !== null && abort.current) start(path, abort.current.signal);
  }, [again]);
  return { value: got.value, error: got.path === path ? got.error : undefined, isOld: got.path !== path };
}
