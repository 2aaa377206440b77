/** One alert: its diagnosis, its life, the requests that show it, and what to do about its messages. */

import { useEffect, useRef, useState } from "preact/hooks";
import { type Alert, type AlertLife, ApiError, type Doc, type OneRequest, type Page, send, useAnswer } from "../api";
import { CAUSES } from "../colors";
import { bytes, clock, count, duration, exact, nsDuration, percent, rate, shown } from "../format";
import { Bar, Failed, Loading, Sentence, Severity, Swatch } from "../parts";
import { iso } from "../time";
import { go, link, NO_FILTERS, type State } from "../url";
import { causeWord, kindWord, t } from "../words";
import { Parts } from "./request";

/** Kinds that no request shows. */
const OF_SERVERS = new Set(["traffic_silent", "server_gone", "cold_start"]);

/** A value of an alert in the unit of its kind. */
function inUnit(kind: string, value: number | undefined): string {
  if (value === undefined) return "–";
  if (["latency_p99", "latency_p95", "ttft", "traffic_silent", "server_gone", "cold_start"].includes(kind)) return duration(value * 1000);
  if (["errors", "empty", "kv_cache_full"].includes(kind)) return percent(value);
  if (kind === "tokens_per_second") return `${rate(value)} ${t("tokens_per_s")}`;
  if (kind === "gpu_memory") return value > 10 ? bytes(value) : percent(value);
  return kind === "drift" ? `× ${rate(value)}` : rate(value);
}

export function OneAlert({ id, known, again, changed }: { id: string; known: Alert | undefined; again: number; changed: () => void }) {
  const life = useAnswer<AlertLife>(`/api/v1/alerts/${encodeURIComponent(id)}`, again);
  const alert = life.value?.alert ?? known;
  const place = useRef<HTMLElement>(null);
  useEffect(() => place.current?.focus(), []);
  return (
    <aside class="one panel" aria-label={t("alerts")} tabIndex={-1} ref={place}>
      <header>
        <h2>{alert ? kindWord(alert.kind) : t("alerts")}</h2>
        <button type="button" class="plain" aria-label={t("close")} onClick={() => go({ alert: "" })}>
          ×
        </button>
      </header>
      {alert ? <Shown alert={alert} entries={life.value?.entries ?? []} changed={changed} /> : life.error ? <Failed error={life.error} /> : <Loading />}
    </aside>
  );
}

function Shown({ alert, entries, changed }: { alert: Alert; entries: Alert[]; changed: () => void }) {
  // The last entry may tell only that it is over: what showed it stands in one before.
  const examples = [alert, ...entries.toReversed()].find((each) => each.examples?.length)?.examples ?? [];
  const shares = Object.entries(alert.shares ?? {}).filter(([, share]) => share > 0);
  const from = Date.parse(alert.since);
  const to = Date.parse(alert.until ?? "") || Date.now();
  const then = {
    view: "requests" as const,
    from: iso(from),
    to: alert.state === "firing" ? "" : iso(to + 1),
    sort: "duration" as const,
    filters: { ...NO_FILTERS, model: alert.model ? [alert.model] : [] },
    slowerThan: "",
    alert: "",
  };
  return (
    <>
      <p class={`alert-title is-${alert.severity}`}>
        <Severity severity={alert.severity} state={alert.state} />
        <b>
          {t(alert.severity)}, {t(alert.state)}
        </b>
        <bdi class="muted">{shown(alert.model ?? alert.host ?? t("everything"), 60)}</bdi>
      </p>
      <p>
        <Sentence alert={alert} />
      </p>
      <dl class="numbers">
        <div>
          <dt>{t("value")}</dt>
          <dd>{inUnit(alert.kind, alert.value)}</dd>
        </div>
        <div>
          <dt>{t("bound")}</dt>
          <dd>{inUnit(alert.kind, alert.bound)}</dd>
        </div>
        <div>
          <dt>{t("since")}</dt>
          <dd>
            {clock(alert.since)} <small>{duration(to - from)}</small>
          </dd>
        </div>
        {alert.n ? (
          <div>
            <dt>{t("judged_by", { n: exact(alert.n) })}</dt>
            <dd />
          </div>
        ) : null}
      </dl>
      {shares.length > 0 && (
        <>
          <h3>{t("shares")}</h3>
          <Bar parts={shares} label={shares.map(([name, share]) => `${causeWord(name)} ${percent(share)}`).join(", ")} />
          <ul class="legend">
            {shares.map(([name, share]) => (
              <li key={name}>
                <Swatch look={CAUSES[name]} /> {causeWord(name)} <b>{percent(share)}</b>
              </li>
            ))}
          </ul>
        </>
      )}
      <h3>{t("examples")}</h3>
      {examples.length > 0 ? (
        <ul class="examples">
          {examples.map((id) => (
            <Example key={id} id={id} then={then} />
          ))}
        </ul>
      ) : (
        <Likely alert={alert} then={then} />
      )}
      <p>
        <a {...link(then)}>{t("all_then")}</a>
      </p>
      {entries.length > 0 && (
        <>
          <h3>{t("life")}</h3>
          <ol class="life">
            {entries.map((entry) => (
              <li key={`${entry.time} ${entry.state} ${entry.severity}`}>
                <Severity severity={entry.severity} state={entry.state} />
                <time>{clock(entry.time)}</time> {t(entry.state)}, {t(entry.severity)} <span class="muted">{inUnit(entry.kind ?? alert.kind, entry.value)}</span>
              </li>
            ))}
          </ol>
        </>
      )}
      {Object.keys(alert.told).length > 0 && (
        <>
          <h3>{t("told_to")}</h3>
          <p>
            {Object.entries(alert.told)
              .map(([channel, became]) => `${channel} (${became})`)
              .join(", ")}
          </p>
        </>
      )}
      {alert.facts && Object.keys(alert.facts).length > 0 && (
        <details>
          <summary>{t("facts")}</summary>
          <dl class="fields">
            {Object.entries(alert.facts).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>
                  <bdi>{shown(value, 300)}</bdi>
                </dd>
              </div>
            ))}
          </dl>
        </details>
      )}
      <Actions alert={alert} changed={changed} />
    </>
  );
}

type Then = Partial<State>;

function ExampleLink({ id, doc, then }: { id: string; doc: Doc | undefined; then: Then }) {
  return (
    <li>
      <a {...link({ ...then, request: id })}>
        {doc ? (
          <>
            <span>{clock(doc["@timestamp"])}</span>
            <b class="number">{nsDuration(doc["event.duration"])}</b>
            <Parts doc={doc} />
            <span class="number muted">
              {count(doc["gen_ai.usage.input_tokens"])} → {count(doc["gen_ai.usage.output_tokens"])}
            </span>
          </>
        ) : (
          <code>{shown(id, 40)}</code>
        )}
      </a>
    </li>
  );
}

/** A request that the alert names; what it is, once that is known. */
function Example({ id, then }: { id: string; then: Then }) {
  const { value } = useAnswer<OneRequest>(`/api/v1/requests/${encodeURIComponent(id)}`);
  return <ExampleLink id={id} doc={value?.document} then={then} />;
}

const FAULTS: Record<string, string[]> = { errors: ["server_error", "stream_error"], empty: ["empty"] };

/** Where the alert names none: those of its time that are most likely to show it. */
function Likely({ alert, then }: { alert: Alert; then: Then }) {
  const asked = new URLSearchParams({ from: then.from!, limit: "5", sort: "duration" });
  if (then.to) asked.set("to", then.to);
  if (alert.model) asked.set("model", alert.model);
  for (const outcome of FAULTS[alert.kind] ?? []) asked.append("outcome", outcome);
  const { value } = useAnswer<Page<Doc>>(OF_SERVERS.has(alert.kind) ? null : `/api/v1/requests?${asked}`);
  if (OF_SERVERS.has(alert.kind) || value?.items.length === 0) return <p class="muted">{t("no_examples")}</p>;
  return (
    <ul class="examples">
      {value?.items.map((doc) => (
        <ExampleLink key={doc["event.id"]} id={doc["event.id"]} doc={doc} then={then} />
      ))}
    </ul>
  );
}

function Actions({ alert, changed }: { alert: Alert; changed: () => void }) {
  const [problem, setProblem] = useState("");
  const doing = (call: Promise<void>) =>
    void call.then(
      () => {
        setProblem("");
        changed();
      },
      (error: unknown) => setProblem(error instanceof ApiError ? error.message || t("offline") : String(error)),
    );
  const acknowledge = (event: Event) => {
    event.preventDefault();
    const by = String(new FormData(event.target as HTMLFormElement).get("by") ?? "");
    doing(send("POST", `/api/v1/alerts/${encodeURIComponent(alert.id)}/ack`, { by }));
  };
  const silence = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "");
    doing(
      send("POST", "/api/v1/silences", {
        kind: alert.kind,
        ...(alert.model ? { model: alert.model } : {}),
        for: text("for"),
        by: text("by"),
        comment: text("comment"),
      }),
    );
  };
  return (
    <div class="actions">
      {alert.acknowledged ? (
        <p>
          ✓ {t("acknowledged", { by: shown(alert.acknowledged.by || "–", 60) })}, {clock(alert.acknowledged.time)}
        </p>
      ) : (
        alert.state === "firing" && (
          <form onSubmit={acknowledge}>
            <input name="by" aria-label={t("your_name")} placeholder={t("your_name")} maxLength={100} />
            <button type="submit" class="primary">
              {t("acknowledge")}
            </button>
          </form>
        )
      )}
      <form onSubmit={silence}>
        <select name="for" aria-label={t("silence_for")}>
          {["30m", "2h", "8h", "1d", "7d"].map((span) => (
            <option key={span} value={span} selected={span === "2h"}>
              {span}
            </option>
          ))}
        </select>
        <input name="by" aria-label={t("your_name")} placeholder={t("your_name")} maxLength={100} />
        <input name="comment" aria-label={t("silence_comment")} placeholder={t("silence_comment")} maxLength={300} />
        <button type="submit">{t("silence")}</button>
      </form>
      <p class="problem" role="alert">
        {problem}
      </p>
    </div>
  );
}
