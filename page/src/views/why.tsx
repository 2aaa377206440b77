/** Why: which requests are slow, when, and what they have in common. */

import { useState } from "preact/hooks";
import { type About, type Alert, type HeatMap, type Page, type Scatter, useAnswer } from "../api";
import { bandsOf } from "../bands";
import { Filters } from "../filters";
import { Heat } from "../heat";
import { useTick } from "../live";
import { Empty, Failed, Loading, Panel } from "../parts";
import { Dots } from "../dots";
import { exact } from "../format";
import { patience, range } from "../time";
import { question, type State, useUrl } from "../url";
import { t } from "../words";
import { Groups } from "./groups";

/** These questions are dearer than those of the other views, so they are asked again less often. */
const LEAST_PATIENCE_MS = 10_000;

export function Why() {
  const state = useUrl();
  const wait = patience(state);
  const tick = useTick(wait === null ? null : Math.max(wait, LEAST_PATIENCE_MS));
  const about = useAnswer<About>("/api/v1/about");
  return (
    <>
      <Filters />
      <HeatPanel state={state} tick={tick} about={about.value} />
      <div class="plots">
        <ScatterPanel state={state} tick={tick} x="prompt_tokens" y="ttft" title={t("prompt_ttft")} />
        <ScatterPanel state={state} tick={tick} x="completion_tokens" y="decode" title={t("completion_decode")} />
      </div>
      <Groups state={state} tick={tick} isPriced={about.value?.priced ?? false} />
    </>
  );
}

function HeatPanel({ state, tick, about }: { state: State; tick: number; about: About | undefined }) {
  const [of, setOf] = useState<"duration" | "ttft">("duration");
  const { value, error, isOld } = useAnswer<HeatMap>(`/api/v1/heatmap?${question(state)}&of=${of}`, tick);
  const when = new URLSearchParams({ from: state.from, ...(state.to ? { to: state.to } : {}), limit: "100" });
  const alerts = useAnswer<Page<Alert>>(`/api/v1/alerts?${when}`, tick);
  const bound = about?.thresholds[of === "duration" ? "duration_s" : "ttft_s"];
  const shown = range(state);
  const side = (
    <span class="segments">
      {(["duration", "ttft"] as const).map((each) => (
        <button key={each} type="button" aria-pressed={of === each} onClick={() => setOf(each)}>
          {t(`heat_of_${each}`)}
        </button>
      ))}
    </span>
  );
  return (
    <Panel title={t("heat")} side={side} class={`heat ${isOld && value ? "is-old" : ""}`}>
      {error ? (
        error.status === 404 ? <p class="state">{t("missing_part")}</p> : <Failed error={error} />
      ) : !value ? (
        <Loading />
      ) : value.cells.length === 0 ? (
        <Empty state={state} />
      ) : (
        <Heat map={value} of={of} boundMs={bound ? bound * 1000 : null} bands={bandsOf(alerts.value?.items ?? [], shown, Date.now())} />
      )}
    </Panel>
  );
}

interface ScatterProps {
  state: State;
  tick: number;
  x: "prompt_tokens" | "completion_tokens";
  y: "ttft" | "decode";
  title: string;
}

function ScatterPanel({ state, tick, x, y, title }: ScatterProps) {
  const { value, error, isOld } = useAnswer<Scatter>(`/api/v1/scatter?${question(state)}&x=${x}&y=${y}&limit=1000`, tick);
  const side = value && value.items.length > 0 && <small>{t("scatter_of", { shown: exact(value.items.length), total: exact(value.total) })}</small>;
  return (
    <Panel title={title} side={side} class={`plot ${isOld && value ? "is-old" : ""}`}>
      {error ? (
        error.status === 404 ? <p class="state">{t("missing_part")}</p> : <Failed error={error} />
      ) : !value ? (
        <Loading />
      ) : value.items.length === 0 ? (
        <p class="state">{t("empty")}</p>
      ) : (
        <Dots items={value.items} title={title} xLabel={t(x)} />
      )}
    </Panel>
  );
}
