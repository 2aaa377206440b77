/** Requests: the list that matches, page after page, and one of them beside it. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, ask, type Doc, type Page } from "../api";
import { Filters } from "../filters";
import { clock, count, nsDuration, shown } from "../format";
import { useTick } from "../live";
import { Empty, Failed, Flags, Loading, Outcome } from "../parts";
import { isLive, patience } from "../time";
import { go, link, question, type Sort, useUrl, now } from "../url";
import { t } from "../words";
import { Parts, Request, split } from "./request";

const PAGE = 50;
const MOST = 2000;

interface List {
  /** The question whose answer this is. */
  asked: string;
  items: Doc[];
  next: string | null;
  error: ApiError | undefined;
  isDone: boolean;
}

/** The list that answers a question: `further` adds a page, `fresh` puts what is new before it. */
function useList(asked: string) {
  const [list, setList] = useState<List>({ asked: "", items: [], next: null, error: undefined, isDone: false });
  const busy = useRef(false);
  const isFreshWanted = useRef(false);
  const latest = useRef(asked);
  latest.current = asked;
  const load = async (cursor: string | null, merge: (before: List, page: Page<Doc>) => Partial<List>, limit = PAGE) => {
    busy.current = true;
    try {
      const page = await ask<Page<Doc>>(`/api/v1/requests?${asked}&limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      if (latest.current === asked) setList((before) => ({ ...before, asked, isDone: true, error: undefined, ...merge(before, page) }));
    } catch (error) {
      if (latest.current === asked && error instanceof ApiError) setList((before) => ({ ...before, asked, isDone: true, error }));
    } finally {
      if (latest.current === asked) {
        busy.current = false;
        if (isFreshWanted.current) fresh();
      }
    }
  };
  const begin = () => void load(null, (_, page) => ({ items: page.items, next: page.next }));
  useEffect(begin, [asked]);
  const further = () => {
    if (busy.current || !list.next || list.asked !== asked || list.items.length >= MOST) return;
    void load(list.next, (before, page) => ({ items: [...before.items, ...page.items], next: page.next }));
  };
  const fresh = () => {
    isFreshWanted.current = busy.current;
    if (busy.current || latest.current !== asked) return;
    void load(
      null,
      (before, page) => {
        const known = new Set(before.items.map((each) => each["event.id"]));
        const added = page.items.filter((each) => !known.has(each["event.id"]));
        if (before.items.length === 0) return { items: page.items, next: page.next };
        // More than a page is new: what lies between would be missing, so begin anew.
        if (added.length === page.items.length && page.next) return { items: page.items, next: page.next };
        return { items: [...added, ...before.items].slice(0, MOST) };
      },
      100,
    );
  };
  return { list, begin, further, fresh, isOld: list.asked !== asked };
}

export function Requests() {
  const state = useUrl();
  const asked = question(state);
  if (state.sort !== "time") asked.set("sort", state.sort);
  const { list, begin, further, fresh, isOld } = useList(asked.toString());
  const following = state.follow && isLive(state) && state.sort === "time";
  const tick = useTick(following ? patience(state) : null);
  useEffect(() => {
    if (tick > 0) fresh();
  }, [tick]);

  const end = useRef<HTMLDivElement>(null);
  const more = useRef(further);
  more.current = further;
  useEffect(() => {
    const seen = new IntersectionObserver((entries) => entries.some((each) => each.isIntersecting) && more.current(), { rootMargin: "600px" });
    if (end.current) seen.observe(end.current);
    return () => seen.disconnect();
  }, [list.items.length, list.next]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "j" && event.key !== "k") return;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test((event.target as HTMLElement).tagName)) return;
      const ids = list.items.map((each) => each["event.id"]);
      const at = ids.indexOf(now().request);
      const to = ids[at < 0 ? 0 : at + (event.key === "j" ? 1 : -1)];
      if (to) go({ request: to }, true);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [list.items]);

  const refused = list.error?.parameter === "sort";
  return (
    <div class={`requests ${state.request ? "has-one" : ""}`}>
      <div class="list">
        <div class="tools">
          <Filters />
          <span class="tools-end">
            <label>
              <span class="hidden">{t("order")}</span>
              <select value={state.sort} onChange={(event) => go({ sort: event.currentTarget.value as Sort, follow: false })}>
                <option value="time">{t("newest")}</option>
                <option value="duration">{t("slowest")}</option>
              </select>
            </label>
            <button type="button" aria-pressed={following} disabled={!isLive(state) || state.sort !== "time"} onClick={() => go({ follow: !state.follow }, true)}>
              {t("follow")}
            </button>
          </span>
        </div>
        {list.error && !refused && <Failed error={list.error} retry={begin} />}
        {refused && <p class="state">{t("missing_part")}</p>}
        {!list.isDone ? (
          <Loading />
        ) : list.items.length === 0 ? (
          !list.error && <Empty state={state} />
        ) : (
          <div class={isOld ? "is-old" : ""}>
            <Table items={list.items} />
            <div ref={end} class="end">
              {list.items.length >= MOST ? (
                t("too_many", { n: MOST })
              ) : list.next ? (
                <button type="button" onClick={further}>
                  {t("more")}
                </button>
              ) : (
                `${t("the_end")} ${t("shown", { n: count(list.items.length) })}`
              )}
            </div>
          </div>
        )}
      </div>
      {state.request && <Request key={state.request} id={state.request} />}
    </div>
  );
}

function Table({ items }: { items: Doc[] }) {
  const { request } = useUrl();
  const longest = Math.max(...items.map((doc) => doc["event.duration"] ?? 0));
  return (
    <table class="rows">
      <thead>
        <tr>
          <th scope="col">{t("time")}</th>
          <th scope="col">{t("outcome")}</th>
          <th scope="col" class="number">
            {t("duration")}
          </th>
          <th scope="col" class="wide">
            <span class="hidden">{t("where_time")}</span>
          </th>
          <th scope="col" class="number">
            {t("first_token")}
          </th>
          <th scope="col" class="number">
            {t("tokens")}
          </th>
          <th scope="col" class="wide">
            {t("model")}
          </th>
          <th scope="col" class="wide">
            {t("who")}
          </th>
          <th scope="col" class="wide">
            {t("flags")}
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((doc) => (
          <Row key={doc["event.id"]} doc={doc} longest={longest} isShown={doc["event.id"] === request} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ doc, longest, isShown }: { doc: Doc; longest: number; isShown: boolean }) {
  const there = link({ request: doc["event.id"] });
  return (
    <tr class={isShown ? "is-shown" : ""} onClick={there.onClick}>
      <td>
        <a {...there} aria-current={isShown ? "true" : undefined}>
          {clock(doc["@timestamp"], { ms: true })}
        </a>
      </td>
      <td>
        <Outcome name={doc["llm.outcome"]} />
      </td>
      <td class="number">{nsDuration(doc["event.duration"])}</td>
      <td class="wide">
        {split(doc) && <Parts doc={doc} width={(doc["event.duration"] ?? 0) / longest} />}
      </td>
      <td class="number">{nsDuration(doc["llm.ttft"])}</td>
      <td class="number">
        {count(doc["gen_ai.usage.input_tokens"])} → {count(doc["gen_ai.usage.output_tokens"])}
      </td>
      <td class="wide">
        <bdi>{shown(doc["gen_ai.request.model"], 40)}</bdi>
      </td>
      <td class="wide">
        <bdi>{shown(doc["user.id"] ?? doc["llm.api_key_id"] ?? doc["source.address"], 30)}</bdi>
      </td>
      <td class="wide">
        <Flags names={doc["llm.flags"]} />
      </td>
    </tr>
  );
}
