/** What is around every view: where one is, which time is shown, how fresh it is, and the door. */

import { useEffect, useState } from "preact/hooks";
import { type Alert, type Page, setOnRefused, useAnswer } from "./api";
import { forgetColors } from "./colors";
import { Door } from "./door";
import { clock, duration } from "./format";
import { Help } from "./help";
import { connect, listen, useLive } from "./live";
import { isLive, moment, SPANS, spanMs } from "./time";
import { go, link, now, type Theme, useUrl, VIEWS } from "./url";
import { t } from "./words";
import { Alerts } from "./views/alerts";
import { Now } from "./views/now";
import { Requests } from "./views/requests";
import { Why } from "./views/why";

const SHOWN = { now: Now, requests: Requests, why: Why, alerts: Alerts };
const LAGGING_S = 5;

export function Shell() {
  const state = useUrl();
  const [refused, setRefused] = useState(false);
  const [help, setHelp] = useState(false);
  const dark = useIsDark(state.theme);

  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  document.title = `${t(state.view)} · logproc`;
  useEffect(() => {
    setOnRefused(() => setRefused(true));
    listen();
  }, []);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
      const view = VIEWS[Number(event.key) - 1];
      if (view) go({ view });
      else if (event.key === "?") setHelp((shown) => !shown);
      else if (event.key === "/") document.querySelector<HTMLElement>(".filters select, .filters input")?.focus();
      else if (event.key === "Escape") {
        if (help) setHelp(false);
        else if (now().request) go({ request: "" });
        else if (now().alert) go({ alert: "" });
        else return;
      } else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [help]);

  if (refused)
    return (
      <Door
        entered={() => {
          setRefused(false);
          connect();
        }}
      />
    );
  const View = SHOWN[state.view];
  return (
    <>
      <a class="skip" href="#content">
        {t("skip")}
      </a>
      <header class="top">
        <span class="brand">logproc</span>
        <Views />
        <RangePicker />
        <span class="top-end">
          <Freshness />
          <Switches help={() => setHelp(true)} />
        </span>
      </header>
      <Trouble />
      <main id="content" tabIndex={-1}>
        <h1 class="hidden">{t(state.view)}</h1>
        <View key={`${state.view} ${dark}`} />
      </main>
      {help && <Help close={() => setHelp(false)} />}
    </>
  );
}

function useIsDark(theme: Theme): boolean {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const [systemDark, setSystemDark] = useState(system.matches);
  useEffect(() => {
    const changed = () => setSystemDark(system.matches);
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }, []);
  const dark = theme === "auto" ? systemDark : theme === "dark";
  if ((document.documentElement.dataset["theme"] === "dark") !== dark) forgetColors();
  return dark;
}

function Views() {
  const { view } = useUrl();
  const { alerts } = useLive();
  const firing = useAnswer<Page<Alert>>("/api/v1/alerts?state=firing&limit=100", alerts);
  const count = firing.value?.items.length ?? 0;
  return (
    <nav aria-label={t("views")}>
      {VIEWS.map((each) => (
        <a key={each} {...link({ view: each, request: "", alert: "" })} aria-current={each === view ? "page" : undefined}>
          {t(each)}
          {each === "alerts" && count > 0 && <span class="count">{count}</span>}
        </a>
      ))}
    </nav>
  );
}

/** `2026-11-21T16:04` by this browser's clock, as an input wants it. */
function local(ms: number): string {
  const when = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return Number.isNaN(ms) ? "" : when.toISOString().slice(0, 19);
}

function RangePicker() {
  const state = useUrl();
  const [open, setOpen] = useState(false);
  const isSpan = isLive(state) && (SPANS as readonly string[]).includes(state.from);
  const told = isLive(state) && spanMs(state.from) !== null ? `${t("last")} ${state.from}` : `${clock(moment(state.from, Date.now()))} – ${state.to === "" ? t("until_now") : clock(moment(state.to, Date.now()))}`;
  const submit = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const at = (name: string) => {
      const text = String(form.get(name) ?? "");
      return text === "" ? "" : new Date(text).toISOString();
    };
    go({ from: at("from") || state.from, to: at("to") });
    setOpen(false);
  };
  return (
    <div class="range">
      <div role="group" aria-label={t("range")} class="segments">
        {SPANS.map((span) => (
          <button key={span} type="button" aria-pressed={isSpan && span === state.from} onClick={() => go({ from: span, to: "" })}>
            {span}
          </button>
        ))}
        <button type="button" aria-pressed={!isSpan} aria-expanded={open} onClick={() => setOpen(!open)}>
          {isSpan ? t("custom") : told}
        </button>
      </div>
      {open && (
        <form class="popup" onSubmit={submit}>
          <label>
            {t("from")} <input type="datetime-local" step="1" name="from" value={local(moment(state.from, Date.now()))} required />
          </label>
          <label>
            {t("to")} <input type="datetime-local" step="1" name="to" value={state.to === "" ? "" : local(moment(state.to, Date.now()))} />
          </label>
          <button type="submit" class="primary">
            {t("apply")}
          </button>
        </form>
      )}
    </div>
  );
}

/** One word on how fresh the page is. */
function Freshness() {
  const state = useUrl();
  const live = useLive();
  const lag = live.lagS;
  let word = isLive(state) ? t("live") : t("past");
  let kind = isLive(state) ? "good" : "still";
  if (!live.isConnected && live.commits > 0 && live.readiness === null) [word, kind] = [t("disconnected"), "bad"];
  else if (live.readiness?.status === "not ready") [word, kind] = [t("not_ready"), "warn"];
  else if (lag > LAGGING_S) [word, kind] = [t("lagging", { n: duration(lag * 1000) }), "warn"];
  else if (live.readiness?.status === "degraded") [word, kind] = [t("degraded"), "warn"];
  else if (!live.isConnected && isLive(state)) word = t("polling");
  return (
    <span class={`fresh is-${kind}`} role="status">
      {word}
    </span>
  );
}

/** What is wrong with logproc itself, in a sentence. */
function Trouble() {
  const live = useLive();
  const lag = live.lagS;
  const problem = Object.entries(live.readiness?.consumers ?? {}).find(([, each]) => each.problem);
  let text = "";
  if (!live.isConnected && live.commits > 0 && live.readiness === null) text = t("disconnected_long");
  else if (problem) text = t("degraded_long", { consumer: problem[0], problem: problem[1].problem! });
  else if (live.readiness?.status === "not ready") text = t("not_ready_long");
  else if (lag > LAGGING_S) text = t("lagging_long", { n: duration(lag * 1000) });
  return (
    <div role="status" class={text ? "trouble" : "hidden"}>
      {text}
    </div>
  );
}

const THEMES: readonly Theme[] = ["auto", "light", "dark"];
const THEME_SIGNS = { auto: "◐", light: "☼", dark: "☾" };

function Switches({ help }: { help: () => void }) {
  const { language, theme } = useUrl();
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!;
  return (
    <>
      <button type="button" class="plain" onClick={() => go({ language: language === "zh" ? "en" : "zh" }, true)} lang={language === "zh" ? "en" : "zh-CN"}>
        {t("other_language")}
      </button>
      <button type="button" class="plain" onClick={() => go({ theme: next }, true)} aria-label={t(`theme_${theme}`)} title={t(`theme_${theme}`)}>
        {THEME_SIGNS[theme]}
      </button>
      <button type="button" class="plain is-wide" onClick={help} aria-label={t("keys")} title={t("keys")}>
        ?
      </button>
    </>
  );
}
