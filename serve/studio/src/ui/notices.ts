/** What is said to the person: notices, that the service is away, and that something cannot be kept. */

import type { App } from "../app";
import { t } from "../text";
import { h, iconButton, say } from "./dom";

const INFO_MS = 5000;

export function notices(app: App): HTMLElement {
  const status = h("p", { class: "notice info", role: "status" });
  const text = h("p");
  const error = h("div", { class: "notice error", role: "alert", hidden: true }, text, iconButton("close", t("notice.dismiss"), () => app.dismiss()));
  const away = h("p", { class: "notice away", role: "status", hidden: true });
  const unkept = h("p", { class: "notice unkept", role: "alert", hidden: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  app.onChange(() => {
    const { notice } = app;
    error.hidden = notice?.kind !== "error";
    say(text, notice?.kind === "error" ? notice.text : "");
    say(status, notice?.kind === "info" ? notice.text : "");
    away.hidden = !app.away;
    say(away, app.away ? t("away") : "");
    unkept.hidden = !app.unkept;
    say(unkept, app.unkept ? t("unkept") : "");
    clearTimeout(timer);
    if (notice?.kind === "info") timer = setTimeout(() => app.dismiss(), INFO_MS);
  });
  return h("aside", { class: "notices", "aria-label": t("notices.label") }, away, unkept, error, status);
}
