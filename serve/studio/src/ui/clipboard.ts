/** Copying text; the clipboard of browsers is there on secure pages only. */

import type { App } from "../app";
import { t } from "../text";
import { h } from "./dom";

export function copyText(app: App, text: string): void {
  const done = (): void => app.say(t("code.copied"));
  if (navigator.clipboard) {
    navigator.clipboard.writeText(text).then(done, () => byHand(app, text));
    return;
  }
  byHand(app, text);
}

/** Show the text selected, to be copied by the person. */
function byHand(app: App, text: string): void {
  const area = h("textarea", { class: "snippet", rows: 8, readonly: true, "aria-label": t("code.title") }, text);
  const dialog = h("dialog", { "aria-label": t("code.title"), onclose: () => dialog.remove() }, area, h("form", { method: "dialog" }, h("button", {}, t("dialog.close"))));
  document.body.append(dialog);
  dialog.showModal();
  area.select();
  app.changed();
}
