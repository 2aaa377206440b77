/** Which keys there are. */

import { useEffect, useRef } from "preact/hooks";
import { t } from "./words";

export function Help({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys: [string, string][] = [
    ["1 2 3 4", t("keys_view")],
    ["/", t("keys_filter")],
    ["j k", t("keys_rows")],
    ["← → ↵", t("keys_plot")],
    ["Esc", t("keys_close")],
    ["?", t("keys_help")],
  ];
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="keys">
      <h2 id="keys">{t("keys")}</h2>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={() => dialog.current?.close()}>
        {t("close")}
      </button>
    </dialog>
  );
}
