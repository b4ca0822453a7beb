/** Questions that have to be answered before anything else. */

import { usableKey, type Why } from "../api";
import { t } from "../text";
import { field, h } from "./dom";

const YES = "yes";

/** Whether the person says yes. */
export function confirmed(question: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const form = h("form", { method: "dialog" }, h("p", {}, question), h("div", { class: "row choice" },
      h("button", { class: "plain" }, t("dialog.cancel")),
      h("button", { class: "primary", value: YES }, yes)));
    const dialog = h("dialog", { "aria-label": question, onclose: () => {
      dialog.remove();
      resolve(dialog.returnValue === YES);
    } }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask for an API key. It is kept in this tab only (`api.ts`). null: another one was not wanted after all. */
export function askForKey(why: Why): Promise<string | null> {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", required: true, autocomplete: "off", spellcheck: "false", name: "key", oninput: () => {
      input.setCustomValidity(usableKey(input.value) ? "" : t("key.unusable"));
    } });
    const form = h("form", { method: "dialog" },
      h("h2", { id: "key-title" }, t("key.title")),
      h("p", {}, t(why === "wrong" ? "key.wrong" : "key.text")),
      field(t("key.label"), input),
      h("button", { class: "primary", value: YES }, t("key.go")));
    const dialog = h("dialog", { class: "key", "aria-labelledby": "key-title", onclose: () => {
      const key = dialog.returnValue === YES ? usableKey(input.value) : null;
      if (key === null && why !== "another") return dialog.showModal(); // browsers close it at the second Escape, whatever is said
      dialog.remove();
      resolve(key);
    } }, form);
    if (why !== "another") dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}
