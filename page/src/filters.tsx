/** The filters of `logproc query`: those that are set as chips, and a way to set more. */

import { useState } from "preact/hooks";
import { type Summary, useAnswer } from "./api";
import { OUTCOMES } from "./colors";
import { shown } from "./format";
import { FILTERS, type Filter, go, useUrl } from "./url";
import { flagWord, outcomeWord, t } from "./words";

export const FLAGS = [
  "slow",
  "slow_for_size",
  "slow_first_token",
  "slow_decode",
  "stall",
  "empty_completion",
  "truncated",
  "stream_error",
];

function valueWord(name: Filter, value: string): string {
  if (name === "outcome") return outcomeWord(value);
  return name === "flag" ? flagWord(value) : shown(value, 60);
}

export function Filters() {
  const state = useUrl();
  const [kind, setKind] = useState<Filter | "slower_than">("outcome");
  const models = useAnswer<Summary>(kind === "model" ? "/api/v1/summary?from=7d&by=model&limit=100" : null);
  const add = (value: string) => {
    const text = value.trim();
    if (text === "") return;
    if (kind === "slower_than") go({ slowerThan: text });
    else if (!state.filters[kind].includes(text))
      go({ filters: { ...state.filters, [kind]: [...state.filters[kind], text] } });
  };
  const without = (name: Filter, value: string) =>
    go({ filters: { ...state.filters, [name]: state.filters[name].filter((each) => each !== value) } });
  const choices: [string, string][] | null =
    kind === "outcome"
      ? Object.keys(OUTCOMES).map((each) => [each, outcomeWord(each)])
      : kind === "flag"
        ? FLAGS.map((each) => [each, flagWord(each)])
        : kind === "model" && models.value
          ? models.value.items.flatMap((each) => (typeof each["model"] === "string" ? [[each["model"], shown(each["model"], 60)] as [string, string]] : []))
          : null;
  return (
    <div class="filters" role="group" aria-label={t("filters")}>
      <select aria-label={t("add_filter")} value={kind} onChange={(event) => setKind(event.currentTarget.value as Filter)}>
        {FILTERS.map((name) => (
          <option key={name} value={name}>
            {t(name)}
          </option>
        ))}
        <option value="slower_than">{t("slower_than")}</option>
      </select>
      {choices ? (
        <select
          aria-label={t(kind)}
          value=""
          onChange={(event) => {
            add(event.currentTarget.value);
            event.currentTarget.value = "";
          }}
        >
          <option value="">{t("any")}</option>
          {choices.map(([value, word]) => (
            <option key={value} value={value}>
              {word}
            </option>
          ))}
        </select>
      ) : (
        <input
          key={kind}
          aria-label={t(kind)}
          placeholder={kind === "slower_than" ? "3s" : t("filter_hint")}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            add(event.currentTarget.value);
            event.currentTarget.value = "";
          }}
        />
      )}
      {FILTERS.flatMap((name) =>
        state.filters[name].map((value) => (
          <Chip key={`${name} ${value}`} name={t(name)} value={valueWord(name, value)} remove={() => without(name, value)} />
        )),
      )}
      {state.slowerThan !== "" && (
        <Chip name={t("slower_than")} value={shown(state.slowerThan)} remove={() => go({ slowerThan: "" })} />
      )}
    </div>
  );
}

function Chip({ name, value, remove }: { name: string; value: string; remove: () => void }) {
  return (
    <span class="chip">
      {name} <bdi>{value}</bdi>
      <button type="button" onClick={remove} aria-label={t("remove", { what: `${name} ${value}` })}>
        ×
      </button>
    </span>
  );
}
