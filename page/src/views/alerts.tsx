/** Alerts: what was found, and beside it one of them with why. */

import { useState } from "preact/hooks";
import { type Alert, type Page, type Silence, send, useAnswer } from "../api";
import { clock, shown } from "../format";
import { useTick } from "../live";
import { Failed, Loading, Panel, Sentence, Severity } from "../parts";
import { patience } from "../time";
import { link, useUrl } from "../url";
import { kindWord, t } from "../words";
import { OneAlert } from "./alert";

export function Alerts() {
  const state = useUrl();
  const tick = useTick(patience(state));
  const [changed, setChanged] = useState(0);
  const again = tick + 1000 * changed;
  const when = new URLSearchParams({ from: state.from, ...(state.to ? { to: state.to } : {}), limit: "200" });
  const { value, error } = useAnswer<Page<Alert>>(`/api/v1/alerts?${when}`, again);
  const silences = useAnswer<Page<Silence>>("/api/v1/silences", again);
  const change = () => setChanged((before) => before + 1);
  return (
    <div class={`requests ${state.alert ? "has-one" : ""}`}>
      <div class="list">
        {error && <Failed error={error} retry={change} />}
        {!value && !error && <Loading />}
        {value && value.items.length === 0 && (
          <div class="state is-calm">
            <strong>{t("no_alerts")}</strong>
            <p>{t("no_alerts_text")}</p>
          </div>
        )}
        {value && value.items.length > 0 && (
          <ul class="alert-rows">
            {value.items.map((alert) => (
              <Row key={alert.id} alert={alert} isShown={alert.id === state.alert} />
            ))}
          </ul>
        )}
        {silences.value && <Silences items={silences.value.items} changed={change} />}
      </div>
      {state.alert ? <OneAlert key={state.alert} id={state.alert} known={value?.items.find((each) => each.id === state.alert)} again={again} changed={change} /> : null}
    </div>
  );
}

function Row({ alert, isShown }: { alert: Alert; isShown: boolean }) {
  return (
    <li class={`is-${alert.severity} ${alert.state === "firing" ? "is-firing" : ""} ${isShown ? "is-shown" : ""}`}>
      <a {...link({ alert: alert.id })} aria-current={isShown ? "true" : undefined}>
        <Severity severity={alert.severity} state={alert.state} />
        <span class="alert-head">
          <b>{kindWord(alert.kind)}</b> <bdi class="muted">{shown(alert.model ?? alert.host ?? t("everything"), 60)}</bdi>
          <span class="alert-state">
            {t(alert.severity)}, {t(alert.state)}
            {alert.silenced && ` · ${t("silenced")}`}
            {alert.acknowledged && ` · ${t("acknowledged", { by: shown(alert.acknowledged.by || "–", 60) })}`}
          </span>
        </span>
        <time class="muted">
          {clock(alert.since)}
          {alert.until && ` – ${clock(alert.until)}`}
        </time>
        <Sentence alert={alert} />
      </a>
    </li>
  );
}

function Silences({ items, changed }: { items: Silence[]; changed: () => void }) {
  return (
    <Panel title={t("silences")}>
      {items.length === 0 ? (
        <p class="muted pad">{t("no_silences")}</p>
      ) : (
        <ul class="silences">
          {items.map((each) => (
            <li key={each.id}>
              <span>
                <b>{kindWord(each.kind)}</b> <bdi>{shown(each.model ?? t("everything"), 60)}</bdi> {t("until", { time: clock(each.until) })}
                {each.by && (
                  <span class="muted">
                    {" "}
                    · <bdi>{shown(each.by)}</bdi>
                  </span>
                )}
                {each.comment && (
                  <span class="muted">
                    {" "}
                    · <bdi>{shown(each.comment, 300)}</bdi>
                  </span>
                )}
              </span>
              <button type="button" onClick={() => void send("DELETE", `/api/v1/silences/${encodeURIComponent(each.id)}`).then(changed, changed)}>
                {t("end_silence")}
              </button>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
