/** The requests by model, client, user, key or outcome: how many, how slow, how many tokens, what they cost. */

import { type Group, type Summary, useAnswer } from "../api";
import { count, duration, exact, money, nsDuration, percent, shown } from "../format";
import { Failed, Loading, Outcome, Panel } from "../parts";
import { type By, type Filter, go, GROUPS, link, question, type State } from "../url";
import { t } from "../words";

const FILTER_OF: Record<By, Filter> = { model: "model", client: "client", user_id: "user", api_key_id: "user", outcome: "outcome" };
const FAILED = ["server_error", "stream_error", "empty"];

export function Groups({ state, tick, isPriced }: { state: State; tick: number; isPriced: boolean }) {
  const { by } = state;
  const { value, error, isOld } = useAnswer<Summary>(`/api/v1/summary?${question(state)}&by=${by}&limit=50`, tick);
  const side = (
    <span class="segments">
      {GROUPS.map((each) => (
        <button key={each} type="button" aria-pressed={by === each} onClick={() => go({ by: each }, true)}>
          {t(`by_${each}`)}
        </button>
      ))}
    </span>
  );
  return (
    <Panel title={t("groups")} side={side} class={`groups ${isOld && value ? "is-old" : ""}`}>
      {error ? <Failed error={error} /> : !value ? <Loading /> : value.items.length === 0 ? <p class="state">{t("empty")}</p> : <Table summary={value} by={by} state={state} isPriced={isPriced} />}
    </Panel>
  );
}

function Table({ summary, by, state, isPriced }: { summary: Summary; by: By; state: State; isPriced: boolean }) {
  const all = summary.total?.requests ?? 1;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("groups")}>
      <table class="rows">
        <thead>
          <tr>
            <th scope="col">{t(`by_${by}`)}</th>
            <th scope="col" class="number">
              {t("count")}
            </th>
            <th scope="col" class="number">
              {t("failed_share")}
            </th>
            <th scope="col" class="number">
              P50
            </th>
            <th scope="col" class="number">
              P95
            </th>
            <th scope="col" class="number">
              P99
            </th>
            <th scope="col" class="number">
              {t("p95_ttft")}
            </th>
            <th scope="col" class="number">
              {t("tokens_in_out")}
            </th>
            {isPriced && (
              <th scope="col" class="number">
                {t("cost")}
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {summary.items.map((group) => (
            <Row key={String(group[by])} group={group} by={by} all={all} state={state} isPriced={isPriced} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ group, by, all, state, isPriced }: { group: Group; by: By; all: number; state: State; isPriced: boolean }) {
  const key = group[by];
  const name = FILTER_OF[by];
  const failed = FAILED.reduce((sum, each) => sum + (group.outcomes[each] ?? 0), 0);
  const word = by === "outcome" ? <Outcome name={String(key)} /> : <bdi>{key === null ? t("not_known") : shown(key, 60)}</bdi>;
  return (
    <tr>
      <td>
        {typeof key === "string" ? (
          <a {...link({ view: "requests", sort: "duration", filters: { ...state.filters, [name]: [key] } })}>{word}</a>
        ) : (
          word
        )}
      </td>
      <td class="number">
        {exact(group.requests)} <small>{percent(group.requests / all)}</small>
      </td>
      <td class="number">{percent(failed / group.requests)}</td>
      <td class="number">{nsDuration(group.duration_ns.p50)}</td>
      <td class="number">{nsDuration(group.duration_ns.p95)}</td>
      <td class="number">{nsDuration(group.duration_ns.p99)}</td>
      <td class="number">{duration(group.ttft_ms?.p95)}</td>
      <td class="number">
        {count(group.prompt_tokens)} / {count(group.completion_tokens)}
      </td>
      {isPriced && <td class="number">{money(group.cost)}</td>}
    </tr>
  );
}
