/** Now: how it goes, live. */

import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { type About, type Alert, type Group, type Page, type Series, type Server, type Step, type Summary, useAnswer } from "../api";
import { type Band, bandsOf } from "../bands";
import { OUTCOMES, CAUSES } from "../colors";
import { Filters } from "../filters";
import { count, duration, nsDuration, percent, rate, short } from "../format";
import { Empty, Failed, Loading, Sentence, Severity } from "../parts";
import { type Line, Plot } from "../plot";
import { Servers } from "../servers";
import { fineStep, iso, isLive, patience, range } from "../time";
import { useTick } from "../live";
import { go, link, question, type State, useUrl } from "../url";
import { causeWord, outcomeWord, t } from "../words";

const FAILED = ["server_error", "stream_error", "empty"];
/** More alerts that are over than these are folded away. */
const MOST_OVER = 6;
const SPLIT = ["queue", "prefill", "decode", "client"] as const;

/** The series of a range by finer steps where the server has them. */
function useSeries(state: State, tick: number) {
  const asked = question(state);
  const step = fineStep(state);
  const plain = `/api/v1/series?${asked}`;
  const fine = useAnswer<Series>(step ? `${plain}&step=${step}` : null, tick);
  const refused = fine.error?.status === 400 && fine.error.parameter === "step";
  const coarse = useAnswer<Series>(!step || refused ? plain : null, tick);
  return !step || refused ? coarse : fine;
}

export function Now() {
  const state = useUrl();
  const tick = useTick(patience(state));
  const series = useSeries(state, tick);
  const summary = useAnswer<Summary>(`/api/v1/summary?${question(state)}`, tick);
  const when = new URLSearchParams({ from: state.from, ...(state.to ? { to: state.to } : {}), limit: "100" });
  const alerts = useAnswer<Page<Alert>>(`/api/v1/alerts?${when}`, tick);
  const servers = useAnswer<{ items: Server[] }>("/api/v1/servers", isLive(state) ? tick : 0);
  const about = useAnswer<About>("/api/v1/about");

  const span = range(state);
  const shown: [number, number] = series.value ? [Date.parse(series.value.from), isLive(state) ? span[1] : Date.parse(series.value.to ?? "") || span[1]] : span;
  const bands = useMemo(() => bandsOf(alerts.value?.items ?? [], shown, Date.now()), [alerts.value, shown[0], shown[1]]);
  const error = series.error ?? summary.error;
  return (
    <div class={series.isOld && series.value ? "is-old" : ""}>
      <Filters />
      <AlertList bands={bands} isKnown={alerts.value !== undefined} />
      {error && series.value === undefined ? (
        <Failed error={error} retry={() => location.reload()} />
      ) : series.value === undefined ? (
        <Loading />
      ) : (
        <>
          {error && <Failed error={error} />}
          <Tiles tolerated={about.value?.thresholds["error_ratio"] ?? 0} series={series.value} total={summary.value?.total ?? null} servers={servers.value?.items ?? []} span={shown} />
          {series.value.items.length === 0 ? (
            <Empty state={state} />
          ) : (
            <Plots series={series.value} span={shown} bands={bands} about={about.value}>
              {servers.value && <Servers items={servers.value.items} />}
            </Plots>
          )}
        </>
      )}
    </div>
  );
}

function AlertList({ bands, isKnown }: { bands: Band[]; isKnown: boolean }) {
  if (!isKnown) return null;
  if (bands.length === 0) return <p class="calm">{t("no_alerts_here")}</p>;
  const firing = bands.filter(({ alert }) => alert.state === "firing");
  const over = bands.filter(({ alert }) => alert.state !== "firing");
  const isLong = over.length > MOST_OVER;
  return (
    <div class="alert-list" role="group" aria-label={t("alerts_here")}>
      <ul>
        {(isLong ? firing : bands).map((band) => (
          <AlertRow key={band.alert.id} band={band} />
        ))}
      </ul>
      {isLong && (
        <details>
          <summary>{t("over", { n: over.length, letters: over.map((band) => band.letter).join(" ") })}</summary>
          <ul>
            {over.map((band) => (
              <AlertRow key={band.alert.id} band={band} />
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function AlertRow({ band: { letter, alert } }: { band: Band }) {
  return (
    <li class={`is-${alert.severity} ${alert.state === "firing" ? "is-firing" : ""}`}>
      <a {...link({ view: "alerts", alert: alert.id })}>
        <span class="letter">{letter}</span>
        <Severity severity={alert.severity} state={alert.state} />
        <Sentence alert={alert} />
        <span class="alert-state">{alert.state === "firing" ? t("firing") : t("resolved")}</span>
      </a>
    </li>
  );
}

function Tile({ name, value, unit, note, tone }: { name: string; value: string; unit?: string; note?: string; tone?: string }) {
  return (
    <div class={`tile ${tone ?? ""}`}>
      <dt>{name}</dt>
      <dd>
        <b>{value}</b> {unit && <span class="unit">{unit}</span>}
        {note && <small>{note}</small>}
      </dd>
    </div>
  );
}

interface TilesProps {
  /** So large a share may fail before it is an error. */
  tolerated: number;
  series: Series;
  total: Group | null;
  servers: Server[];
  span: [number, number];
}

function Tiles({ tolerated, series, total, servers, span }: TilesProps) {
  const seconds = Math.max(1, (span[1] - span[0]) / 1000);
  const failed = FAILED.reduce((sum, name) => sum + (total?.outcomes[name] ?? 0), 0);
  const ttft = total?.ttft_ms ?? null;
  const newest = series.items.at(-1);
  const flying = servers.filter((each) => each.in_flight !== null);
  const oldest = Math.max(0, ...flying.map((each) => each.oldest_s ?? 0));
  return (
    <dl class="tiles">
      <Tile name={t("requests_per_second")} value={rate(total ? total.requests / seconds : 0)} unit={t("per_s")} note={count(total?.requests ?? 0)} />
      <Tile name={t("failed_share")} value={total ? percent(failed / total.requests) : "–"} note={count(failed)} tone={total && failed / total.requests > tolerated ? "is-bad" : ""} />
      <Tile name={t("p95_duration")} value={nsDuration(total?.duration_ns.p95)} note={`P50 ${nsDuration(total?.duration_ns.p50)} · P99 ${nsDuration(total?.duration_ns.p99)}`} />
      <Tile
        name={t("p95_ttft")}
        value={duration(ttft ? ttft.p95 : newest?.ttft_ms?.p95)}
        note={`P50 ${duration(ttft ? ttft.p50 : newest?.ttft_ms?.p50)} · P99 ${duration(ttft ? ttft.p99 : newest?.ttft_ms?.p99)}`}
      />
      <Tile name={t("tokens_out")} value={rate(total ? total.completion_tokens / seconds : 0)} unit={t("tokens_per_s")} note={`${count(total?.prompt_tokens ?? 0)} → ${count(total?.completion_tokens ?? 0)}`} />
      <Tile
        name={t("in_flight")}
        value={flying.length ? String(flying.reduce((sum, each) => sum + each.in_flight!, 0)) : "–"}
        note={flying.length && oldest ? t("oldest", { n: duration(oldest * 1000) }) : ""}
      />
    </dl>
  );
}

/** Every step of the range, also those in which nothing happened; by their beginnings in ms. */
function whole(series: Series, until: number): { times: number[]; steps: (Step | undefined)[] } {
  const known = new Map(series.items.map((step) => [Date.parse(step.time), step]));
  const times: number[] = [];
  for (let at = Date.parse(series.from); at < until; at += series.step_ms) times.push(at);
  return { times, steps: times.map((at) => known.get(at)) };
}

interface PlotsProps {
  series: Series;
  span: [number, number];
  bands: Band[];
  about: About | undefined;
  children: ComponentChildren;
}

function Plots({ series, span, bands, about, children }: PlotsProps) {
  const { language } = useUrl();
  const all = useMemo(() => {
    const { times, steps } = whole(series, span[1]);
    const now = Date.now();
    // The step that goes on is divided by what of it is over.
    const seconds = times.map((at) => Math.max(1, Math.min(series.step_ms, now - at) / 1000));
    const each = (get: (step: Step, i: number) => number | null | undefined) =>
      steps.map((step, i) => (step === undefined ? null : (get(step, i) ?? null)));
    // A step that has hardly begun tells no rate.
    const tells = (i: number) => seconds[i]! * 1000 > series.step_ms / 4;
    const perSecond = (get: (step: Step) => number) => steps.map((step, i) => (!tells(i) ? null : step ? get(step) / seconds[i]! : 0));
    const percentiles = (of: "duration_ms" | "ttft_ms"): Line[] => [
      { label: "P99", values: each((step) => step[of]?.p99), color: "--p99", width: 1.25, dash: [2, 2] },
      { label: "P95", values: each((step) => step[of]?.p95), color: "--p95", width: 1.5, dash: [6, 3] },
      { label: "P50", values: each((step) => step[of]?.p50), color: "--p50", width: 2 },
    ];
    const present = new Set(steps.flatMap((step) => Object.keys(step?.outcomes ?? {})));
    const outcomes: Line[] = Object.entries(OUTCOMES)
      .filter(([name]) => present.has(name))
      .map(([name, look]) => ({ label: outcomeWord(name), values: perSecond((step) => step.outcomes[name] ?? 0), ...look }));
    const mean = (name: (typeof SPLIT)[number]) =>
      each((step) => {
        if (step.requests === 0) return null;
        if (name !== "client") return step[`${name}_ms`] / step.requests;
        const sum = step.duration_sum_ms;
        return sum ? Math.max(0, sum - step.queue_ms - step.prefill_ms - step.decode_ms) / step.requests : null;
      });
    const split: Line[] = SPLIT.map((name) => ({ label: causeWord(name), values: mean(name), ...CAUSES[name]! })).filter((line) =>
      line.values.some((value) => value),
    );
    const tokens: Line[] = [
      { label: t("prompt"), values: perSecond((step) => step.prompt_tokens), color: "--p95", dash: [6, 3] },
      { label: t("completion"), values: perSecond((step) => step.completion_tokens), color: "--p50", width: 2 },
    ];
    return { times, seconds: times.map((at) => at / 1000), outcomes, duration: percentiles("duration_ms"), ttft: percentiles("ttft_ms"), split, tokens };
  }, [series, span[1], language]);

  const pick = (sort: State["sort"]) => (index: number) => {
    const at = all.times[index]!;
    go({ view: "requests", from: iso(at), to: iso(at + series.step_ms), sort, request: "", follow: false });
  };
  const common = { times: all.seconds, stepMs: series.step_ms, range: span, bands };
  return (
    <div class="plots">
      <Plot {...common} title={t("plot_outcomes")} kind="stack" lines={all.outcomes} format={rate} axisFormat={(value) => short(rate(value))} onPick={pick("time")} />
      <Plot {...common} title={t("plot_duration")} kind="lines" lines={all.duration} format={duration} axisFormat={(value) => short(duration(value))} threshold={ms(about?.thresholds["duration_s"])} onPick={pick("duration")} />
      <Plot {...common} title={t("plot_split")} kind="stack" lines={all.split} format={duration} axisFormat={(value) => short(duration(value))} onPick={pick("duration")} />
      <Plot {...common} title={t("plot_ttft")} kind="lines" lines={all.ttft} format={duration} axisFormat={(value) => short(duration(value))} threshold={ms(about?.thresholds["ttft_s"])} onPick={pick("duration")} />
      <Plot {...common} title={t("plot_tokens")} kind="lines" lines={all.tokens} format={rate} axisFormat={(value) => short(rate(value))} onPick={pick("time")} />
      {children}
    </div>
  );
}

function ms(seconds: number | null | undefined): number | null {
  return seconds === null || seconds === undefined ? null : seconds * 1000;
}

