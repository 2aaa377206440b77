/** The state of the page, all of it in the URL: it can be sent to a colleague, and the back button works. */

import { useEffect, useState } from "preact/hooks";

export const VIEWS = ["now", "requests", "why", "alerts"] as const;
export type View = (typeof VIEWS)[number];

/** The filters of `logproc query` that may be given more than once. */
export const FILTERS = ["outcome", "flag", "model", "client", "user", "id"] as const;
export type Filter = (typeof FILTERS)[number];

export type Language = "en" | "zh";
export type Theme = "auto" | "light" | "dark";
export type Sort = "time" | "duration";
export const GROUPS = ["model", "client", "user_id", "api_key_id", "outcome"] as const;
export type By = (typeof GROUPS)[number];

export interface State {
  view: View;
  /** A span before now such as `15m`, or a time. */
  from: string;
  /** A time; empty: until now, and live. */
  to: string;
  filters: Record<Filter, string[]>;
  slowerThan: string;
  sort: Sort;
  by: By;
  /** `event.id` of the request that is shown. */
  request: string;
  /** id of the alert that is shown. */
  alert: string;
  follow: boolean;
  language: Language;
  theme: Theme;
}

export const NO_FILTERS: State["filters"] = { outcome: [], flag: [], model: [], client: [], user: [], id: [] };
export const USUAL_RANGE = "15m";

function oneOf<T extends string>(text: string | null, known: readonly T[], usual: T): T {
  return known.includes(text as T) ? (text as T) : usual;
}

function usualLanguage(): Language {
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** What a URL's query string says; what it does not say is as usual. */
export function read(search: string): State {
  const given = new URLSearchParams(search);
  const filters = { ...NO_FILTERS };
  for (const name of FILTERS) filters[name] = given.getAll(name).filter((value) => value !== "");
  return {
    view: oneOf(given.get("view"), VIEWS, "now"),
    from: given.get("from") || USUAL_RANGE,
    to: given.get("to") ?? "",
    filters,
    slowerThan: given.get("slower_than") ?? "",
    sort: oneOf(given.get("sort"), ["time", "duration"], "time"),
    by: oneOf(given.get("by"), GROUPS, "model"),
    request: given.get("request") ?? "",
    alert: given.get("alert") ?? "",
    follow: given.get("follow") === "1",
    language: oneOf(given.get("lang"), ["en", "zh"], usualLanguage()),
    theme: oneOf(given.get("theme"), ["auto", "light", "dark"], "auto"),
  };
}

/** The URL of a state: only what is not as usual. */
export function write(state: State): string {
  const told = new URLSearchParams();
  const tell = (name: string, value: string, usual: string) => {
    if (value !== usual) told.append(name, value);
  };
  tell("view", state.view, "now");
  tell("from", state.from, USUAL_RANGE);
  tell("to", state.to, "");
  for (const name of FILTERS) for (const value of state.filters[name]) told.append(name, value);
  tell("slower_than", state.slowerThan, "");
  tell("sort", state.sort, "time");
  tell("by", state.by, "model");
  tell("request", state.request, "");
  tell("alert", state.alert, "");
  tell("follow", state.follow ? "1" : "", "");
  tell("lang", state.language, usualLanguage());
  tell("theme", state.theme, "auto");
  const text = told.toString();
  return text === "" ? "/" : `/?${text}`;
}

/** The parameters of a question to the API: the range and the filters. */
export function question(state: State): URLSearchParams {
  const asked = new URLSearchParams({ from: state.from });
  if (state.to !== "") asked.set("to", state.to);
  for (const name of FILTERS) for (const value of state.filters[name]) asked.append(name, value);
  if (state.slowerThan !== "") asked.set("slower_than", state.slowerThan);
  return asked;
}

export function isFiltered(state: State): boolean {
  return state.slowerThan !== "" || FILTERS.some((name) => state.filters[name].length > 0);
}

let current = read(location.search);
const listeners = new Set<(state: State) => void>();

export function now(): State {
  return current;
}

/** Go to another state; with `replace` the back button skips the present one. */
export function go(change: Partial<State>, replace = false): void {
  current = { ...current, ...change };
  const url = write(current);
  if (url !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", url);
  for (const each of listeners) each(current);
}

addEventListener("popstate", () => {
  current = read(location.search);
  for (const each of listeners) each(current);
});

/** The present state; the component is drawn anew when it changes. */
export function useUrl(): State {
  const [state, setState] = useState(current);
  useEffect(() => {
    listeners.add(setState);
    setState(current);
    return () => void listeners.delete(setState);
  }, []);
  return state;
}

/** What makes an `<a href>` go to a state without loading the page anew; with a modifier key it is a plain link. */
export function link(change: Partial<State>): { href: string; onClick: (event: MouseEvent) => void } {
  return {
    href: write({ ...current, ...change }),
    onClick: (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      go(change);
    },
  };
}
