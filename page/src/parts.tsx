/** Small parts that every view uses: swatches, names of outcomes and flags, and what stands where data does not. */

import type { ComponentChildren } from "preact";
import { type Alert, type ApiError, type Doc, type Page, useAnswer } from "./api";
import { CAUSES, type Look, OUTCOMES, tile } from "./colors";
import { clock, shown } from "./format";
import { iso } from "./time";
import { go, isFiltered, NO_FILTERS, now, type State } from "./url";
import { flagWord, kindWord, outcomeWord, t } from "./words";

/** A square of the colour and hatching that something has in plots. */
export function Swatch({ look }: { look: Look | undefined }) {
  if (!look) return null;
  return <span class="swatch" aria-hidden="true" style={{ backgroundImage: `url(${tile(look).toDataURL()})` }} />;
}

export function Outcome({ name }: { name: string | undefined }) {
  if (name === undefined) return <span>–</span>;
  return (
    <span class={`outcome is-${name}`}>
      <Swatch look={OUTCOMES[name]} />
      {outcomeWord(name)}
    </span>
  );
}

export function Flags({ names }: { names: string[] | undefined }) {
  return (
    <>
      {(names ?? []).map((name) => (
        <span class="flag" key={name}>
          {flagWord(name)}
        </span>
      ))}
    </>
  );
}

const SEVERITY_SHAPES: Record<string, string> = {
  warning: "M8 2 15 14H1Z",
  critical: "M8 1 15 8 8 15 1 8Z",
  disaster: "M5 1h6l4 4v6l-4 4H5l-4-4V5Z",
};

/** A triangle, a diamond, an octagon: the graver, the more corners. Hollow when it is over. */
export function Severity({ severity, state }: { severity: string; state: string }) {
  return (
    <svg class={`severity is-${severity} ${state === "firing" ? "" : "is-over"}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={SEVERITY_SHAPES[severity] ?? SEVERITY_SHAPES.warning!} />
    </svg>
  );
}

const LONGEST_SENTENCE = 600;

/** What an alert says in the language of the page. */
export function Sentence({ alert }: { alert: Alert }) {
  const text = alert.text?.[now().language] ?? alert.text?.en ?? kindWord(alert.kind);
  return <span class="sentence">{shown(text, LONGEST_SENTENCE)}</span>;
}

/** A stacked bar of parts, hatched, over `width` of its place (0 to 1); the numbers stand in `label` for those who do not see it. */
export function Bar({ parts, label, width = 1 }: { parts: [name: string, size: number][]; label: string; width?: number }) {
  const sum = parts.reduce((all, [, size]) => all + Math.max(0, size), 0);
  return (
    <span class="bar" role="img" aria-label={label} style={width < 1 ? { width: `${100 * width}%` } : {}}>
      {sum > 0 &&
        parts.map(([name, size]) => {
          const look = CAUSES[name];
          return size <= 0 || !look ? null : (
            <span
              key={name}
              class="bar-part"
              style={{ width: `${(100 * size) / sum}%`, backgroundImage: `url(${tile(look).toDataURL()})` }}
            />
          );
        })}
    </span>
  );
}

export function Loading() {
  return (
    <p class="state is-loading" role="status">
      {t("loading")}
    </p>
  );
}

/** Something that could not be answered: what the server said, and a way to try again. */
export function Failed({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="state is-failed" role="alert">
      <strong>{error.status === 0 ? t("offline") : t("failed")}</strong>
      {error.message && <p>{error.message}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          {t("retry")}
        </button>
      )}
    </div>
  );
}

/** No requests: why, and where there are some. */
export function Empty({ state }: { state: State }) {
  const filtered = isFiltered(state);
  const newest = useAnswer<Page<Doc>>(filtered ? null : "/api/v1/requests?limit=1");
  const found = newest.value?.items[0];
  if (filtered)
    return (
      <div class="state">
        <strong>{t("empty_filtered")}</strong>
        <button type="button" onClick={() => go({ filters: NO_FILTERS, slowerThan: "" })}>
          {t("clear_filters")}
        </button>
      </div>
    );
  if (newest.value === undefined) return <Loading />;
  if (!found)
    return (
      <div class="state">
        <strong>{t("empty_all")}</strong>
        <p>{t("empty_all_text")}</p>
      </div>
    );
  const end = Date.parse(found["@timestamp"]) + 1;
  return (
    <div class="state">
      <strong>{t("empty")}</strong>
      <p>{t("empty_newest", { time: clock(end, { date: true }) })}</p>
      <button type="button" onClick={() => go({ from: iso(end - 3_600_000), to: iso(end + 1000) })}>
        {t("show_then")}
      </button>
    </div>
  );
}

/** A titled panel. */
export function Panel({ title, side, children, class: more }: PanelProps) {
  return (
    <section class={`panel ${more ?? ""}`}>
      <header>
        <h2>{title}</h2>
        {side}
      </header>
      {children}
    </section>
  );
}

interface PanelProps {
  title: string;
  side?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}
