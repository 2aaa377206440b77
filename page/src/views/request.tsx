/** One request: where its time went, what is usual for its size, what is known of it, and its line in the log. */

import { useEffect, useRef, useState } from "preact/hooks";
import { type Doc, type OneRequest, useAnswer } from "../api";
import { CAUSES, tile } from "../colors";
import { clock, duration, exact, shown } from "../format";
import { Bar, Failed, Flags, Loading, Outcome } from "../parts";
import { go, link, NO_FILTERS } from "../url";
import { iso } from "../time";
import { causeWord, t } from "../words";

export interface Part {
  name: "queue" | "prefill" | "decode" | "client";
  /** Where it begins after the request came in, and how long it took. */
  start: number;
  ms: number;
}

const ms = (ns: unknown): number | null => (typeof ns === "number" ? ns / 1e6 : null);

/** The parts of a request's time, one after the other; null where the log does not tell them. */
export function split(doc: Doc): Part[] | null {
  const [queue, prefill, decode, total] = ["llm.queue_time", "llm.prefill_time", "llm.decode_time", "event.duration"].map((name) => ms(doc[name]));
  if (total === null || total === undefined || (queue == null && prefill == null && decode == null)) return null;
  const parts: Part[] = [];
  let start = 0;
  for (const [name, length] of [["queue", queue], ["prefill", prefill], ["decode", decode]] as const) {
    if (length == null) continue;
    parts.push({ name, start, ms: length });
    start += length;
  }
  parts.push({ name: "client", start, ms: Math.max(0, total - start) });
  return parts;
}

/** The parts of a request's time as a bar, over `width` of its place (0 to 1); what became of it, where they are not known. */
export function Parts({ doc, width = 1 }: { doc: Doc; width?: number }) {
  const parts = split(doc);
  if (!parts) return <Outcome name={doc["llm.outcome"]} />;
  const label = parts.map((each) => `${causeWord(each.name)} ${duration(each.ms)}`).join(", ");
  return <Bar width={width} parts={parts.map((each) => [each.name, each.ms])} label={label} />;
}

export function Request({ id }: { id: string }) {
  const { value, error } = useAnswer<OneRequest>(`/api/v1/requests/${encodeURIComponent(id)}`);
  const place = useRef<HTMLElement>(null);
  useEffect(() => place.current?.focus({ preventScroll: false }), []);
  return (
    <aside class="one panel" aria-label={t("request")} tabIndex={-1} ref={place}>
      <header>
        <h2>{t("request")}</h2>
        <button type="button" class="plain" aria-label={t("close")} onClick={() => go({ request: "" })}>
          ×
        </button>
      </header>
      {error ? error.status === 404 ? <p class="state">{t("not_found")}</p> : <Failed error={error} /> : value ? <Shown {...value} /> : <Loading />}
    </aside>
  );
}

function Shown({ document, line, line_source, usual }: OneRequest) {
  const end = Date.parse(document["@timestamp"]);
  const total = ms(document["event.duration"]) ?? 0;
  const same = (filters: Partial<typeof NO_FILTERS>) => ({ filters: { ...NO_FILTERS, ...filters }, slowerThan: "", request: "" });
  const model = document["gen_ai.request.model"];
  const user = document["user.id"];
  const client = document["source.address"];
  return (
    <>
      <p class="one-head">
        <Outcome name={document["llm.outcome"]} /> <b>{duration(total)}</b> <span class="muted">{clock(end, { date: true, ms: true })}</span>
      </p>
      <p>
        <Flags names={document["llm.flags"]} />
      </p>
      <h3>{t("where_time")}</h3>
      <Waterfall doc={document} usual={usual} />
      <h3>{t("similar")}</h3>
      <p class="similar">
        {model && (
          <a {...link(same({ model: [model] }))}>
            {t("model")} <bdi>{shown(model, 40)}</bdi>
          </a>
        )}
        {user && (
          <a {...link(same({ user: [user] }))}>
            {t("by_user_id")} <bdi>{shown(user, 40)}</bdi>
          </a>
        )}
        {client && (
          <a {...link(same({ client: [client] }))}>
            {t("client")} <bdi>{shown(client, 40)}</bdi>
          </a>
        )}
        <a {...link({ ...same({}), from: iso(end - total - 30_000), to: iso(end + 30_000) })}>±30 s</a>
      </p>
      <h3>
        {line_source === "file" ? t("line_file") : t("line_rebuilt")} <Copy text={line} />
      </h3>
      <pre class="line" tabIndex={0} dir="ltr">
        {shown(line, 20_000)}
      </pre>
      <details>
        <summary>{t("all_fields")}</summary>
        <dl class="fields">
          {Object.entries(document).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                <bdi>{typeof value === "number" && !name.endsWith("offset") ? exact(value) : shown(value, 1000)}</bdi>
              </dd>
            </div>
          ))}
        </dl>
      </details>
    </>
  );
}

function Copy({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  if (!navigator.clipboard) return null;
  return (
    <button type="button" class="small" onClick={() => void navigator.clipboard.writeText(text).then(() => setDone(true))}>
      {done ? t("copied") : t("copy")}
    </button>
  );
}

/** A row of the waterfall: its name, its place in the request's time, how long it was, and up to what that is usual. */
function Track({ name, start, ms: length, whole, bound, note, look }: TrackProps) {
  const at = (value: number) => `${(100 * Math.min(value, whole)) / whole}%`;
  const words = bound == null ? "" : length > bound ? `${t("bound_is", { n: duration(bound) })} · ${t("slower", { n: (length / bound).toFixed(1) })}` : `${t("usual", { n: duration(bound) })}`;
  return (
    <div class="track">
      <span class="track-name">{name}</span>
      <span class="track-line">
        <span class="track-fill" style={{ left: at(start), width: at(length), backgroundImage: look ? `url(${tile(look).toDataURL()})` : "none" }} />
        {bound != null && start + bound <= whole && <span class="track-bound" style={{ left: at(start + bound) }} />}
      </span>
      <b class="number">{duration(length)}</b>
      {(words || note) && <small class={bound != null && length > bound ? "is-over" : ""}>{[words, note].filter(Boolean).join(" · ")}</small>}
    </div>
  );
}

interface TrackProps {
  name: string;
  start: number;
  ms: number;
  whole: number;
  bound?: number | null | undefined;
  note?: string;
  look?: (typeof CAUSES)[string] | undefined;
}

function Waterfall({ doc, usual }: { doc: Doc; usual: OneRequest["usual"] }) {
  const total = ms(doc["event.duration"]);
  if (!total) return null;
  const parts = split(doc);
  const ttft = ms(doc["llm.ttft"]);
  const stall = ms(doc["llm.stall_max"]);
  const decode = parts?.find((each) => each.name === "decode");
  const whole = Math.max(total, ...(parts ?? []).map((each) => each.start + each.ms));
  return (
    <div class="waterfall">
      {ttft !== null && <Track name={t("first_token")} start={0} ms={ttft} whole={whole} bound={usual?.ttft_ms} look={{ color: "--muted", hatch: "solid" }} />}
      {(parts ?? []).map((each) => (
        <Track
          key={each.name}
          name={causeWord(each.name)}
          start={each.start}
          ms={each.ms}
          whole={whole}
          look={CAUSES[each.name]}
          bound={each.name === "decode" ? usual?.decode_ms : null}
        />
      ))}
      {stall !== null && <Track name={t("longest_stall")} start={decode?.start ?? ttft ?? 0} ms={stall} whole={whole} look={CAUSES["stall"]} note={t("stall_note")} />}
      <Track name={t("total")} start={0} ms={total} whole={whole} bound={usual?.duration_ms} look={{ color: "--faint", hatch: "solid" }} />
      {!parts && <p class="muted">{t("timings_missing")}</p>}
    </div>
  );
}
