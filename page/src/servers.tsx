/** What the servers say of themselves: load, KV cache and GPUs as meters. */

import type { Server } from "./api";
import { bytes, duration, percent, shown } from "./format";
import { Panel } from "./parts";
import { t } from "./words";

function Meter({ name, ratio, text }: { name: string; ratio: number | null; text: string }) {
  if (ratio === null) return null;
  const id = `${name} ${text}`;
  return (
    <div class="meter">
      <span>{name}</span>
      <span class="meter-track" role="meter" aria-label={id} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(ratio * 100)}>
        <span class={`meter-fill ${ratio > 0.9 ? "is-full" : ""}`} style={{ width: `${Math.min(100, ratio * 100)}%` }} />
      </span>
      <b>{text}</b>
    </div>
  );
}

export function Servers({ items }: { items: Server[] }) {
  const now = Date.now();
  const ago = (time: string | null) => (time ? duration(Math.max(0, Math.round((now - Date.parse(time)) / 1000) * 1000)) : "–");
  return (
    <Panel title={t("servers")} class="servers">
      {items.length === 0 && <p class="state">{t("no_servers")}</p>}
      <ul>
        {items.map((server) => (
          <li key={`${server.host} ${server.pid}`}>
            <h3>
              <bdi>{shown(server.host, 60)}</bdi> <small>{shown(server.model, 60)}</small>{" "}
              {server.state && server.state !== "up" && <span class="down">{t(server.state === "stopped" ? "stopped" : "gone")}</span>}
            </h3>
            <p class="muted">
              {server.state === "up" && server.started_at && `${t("up_for", { n: ago(server.started_at) })} · `}
              {t("seen", { n: ago(server.seen_at) })}
            </p>
            <p hidden={server.in_flight === null}>
              {t("in_flight")} <b>{server.in_flight ?? "–"}</b>
              {server.oldest_s !== null && `, ${t("oldest", { n: duration(server.oldest_s * 1000) })}`}
            </p>
            {(server.engines ?? []).map((engine) => (
              <div key={engine.engine}>
                <p>
                  {t("running")} <b>{engine.running ?? "–"}</b> · {t("waiting")} <b>{engine.waiting ?? "–"}</b>
                </p>
                <Meter name={t("kv_cache")} ratio={engine.kv_cache_usage} text={percent(engine.kv_cache_usage)} />
              </div>
            ))}
            {(server.gpus ?? []).map((gpu, i) => (
              <div key={gpu.gpu}>
                <Meter name={t("gpu_busy", { n: i })} ratio={gpu.utilization} text={percent(gpu.utilization)} />
                <Meter
                  name={t("gpu_memory", { n: i })}
                  ratio={gpu.memory_used_bytes !== null && gpu.memory_total_bytes ? gpu.memory_used_bytes / gpu.memory_total_bytes : null}
                  text={`${bytes(gpu.memory_used_bytes)} / ${bytes(gpu.memory_total_bytes)}`}
                />
              </div>
            ))}
          </li>
        ))}
      </ul>
    </Panel>
  );
}
