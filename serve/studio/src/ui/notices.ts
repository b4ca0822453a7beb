/** What is said to the person: notices, that the service is away, and the question for a key. */

import type { App } from "../app";
import { t } from "../text";
import { field, h, iconButton, say } from "./dom";

const INFO_MS = 5000;

export function notices(app: App): HTMLElement {
  const status = h("p", { class: "notice info", role: "status" });
  const text = h("p");
  const error = h("div", { class: "notice error", role: "alert", hidden: true }, text, iconButton("close", t("notice.dismiss"), () => app.dismiss()));
  const away = h("p", { class: "notice away", role: "status", hidden: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  app.onChange(() => {
    const { notice } = app;
    error.hidden = notice?.kind !== "error";
    say(text, notice?.kind === "error" ? notice.text : "");
    say(status, notice?.kind === "info" ? notice.text : "");
    away.hidden = !app.away;
    say(away, app.away ? t("away") : "");
    clearTimeout(timer);
    if (notice?.kind === "info") timer = setTimeout(() => app.dismiss(), INFO_MS);
  });
  return h("aside", { class: "notices", "aria-label": t("notices.label") }, away, error, status);
}

/** Ask for an API key. It is kept in this tab only (`api.ts`). */
export function askForKey(wrong: boolean): Promise<string> {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", required: true, autocomplete: "off", spellcheck: "false", name: "key" });
    const form = h("form", { method: "dialog" },
      h("h2", { id: "key-title" }, t("key.title")),
      h("p", {}, t(wrong ? "key.wrong" : "key.text")),
      field(t("key.label"), input),
      h("button", { class: "primary" }, t("key.go")));
    const dialog = h("dialog", { class: "key", "aria-labelledby": "key-title" }, form);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", () => {
      dialog.remove();
      resolve(input.value.trim());
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
