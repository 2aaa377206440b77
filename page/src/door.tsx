/** Asks for the token, once: the server answers with a cookie that scripts cannot read. */

import { useState } from "preact/hooks";
import { t } from "./words";

export function Door({ entered }: { entered: () => void }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    const token = String(new FormData(event.target as HTMLFormElement).get("token") ?? "");
    try {
      const answer = await fetch("/login", {
        method: "POST",
        credentials: "same-origin",
        body: new URLSearchParams({ token: token.trim() }),
      });
      if (answer.ok) entered();
      else setProblem(answer.status === 401 ? t("door_wrong") : `${answer.status} ${await answer.text()}`);
    } catch {
      setProblem(t("offline"));
    }
  };
  return (
    <main class="door">
      <form onSubmit={(event) => void submit(event)}>
        <span class="brand">logproc</span>
        <h1>{t("door")}</h1>
        <p id="door-text">{t("door_text")}</p>
        <label>
          {t("token")}
          <input type="password" name="token" autocomplete="current-password" required aria-describedby="door-text door-problem" />
        </label>
        <p id="door-problem" class="problem" role="alert">
          {problem}
        </p>
        <button type="submit" class="primary">
          {t("enter")}
        </button>
      </form>
    </main>
  );
}
