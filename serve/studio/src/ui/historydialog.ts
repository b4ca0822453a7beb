/** All drawings of this browser, newest first, to be searched and taken up again. */

import type { App } from "../app";
import { done, type Drawing } from "../drawing";
import { language, t } from "../text";
import { forget, portray, reuseForm } from "../painting";
import { field, h, iconButton, keyed, say, set } from "./dom";

const MOST = 60;
const SIDE = 128;

export function historyDialog(app: App): HTMLDialogElement {
  const search = h("input", { type: "search", oninput: () => show(), placeholder: t("history.placeholder") });
  const list = h("ul", { class: "history" });
  const empty = h("p", { class: "hint" });
  const dialog = h("dialog", { class: "side", "aria-labelledby": "history-title" },
    h("header", {}, h("h2", { id: "history-title" }, t("history.title")), iconButton("close", t("dialog.close"), () => dialog.close())),
    field(t("history.search"), search), empty, list);
  const show = (): void => {
    if (!dialog.open) return;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = app.drawings.filter((drawing) => words.every((word) => said(drawing).includes(word)));
    say(empty, found.length > 0 ? "" : t(words.length > 0 ? "history.none" : "history.empty"));
    keyed(list, found.slice(0, MOST), (drawing) => keyOf(app, drawing), (drawing) => entry(app, drawing, dialog), (item, { thumb }) => set(item.firstElementChild as Element, "src", thumb || null));
  };
  app.onChange(show);
  dialog.addEventListener("toggle", show);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  return dialog;
}

/** What an entry shows and offers hangs on this. */
const keyOf = (app: App, drawing: Drawing): string => `${drawing.id} ${app.workId} ${drawing.candidates.filter(done).length}`;

const said = (drawing: Drawing): string => [drawing.form.prompt, ...drawing.candidates.map((one) => one.seed), when(drawing)].join(" ").toLowerCase();

const when = (drawing: Drawing): string => new Date(drawing.created).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });

function entry(app: App, drawing: Drawing, dialog: HTMLDialogElement): HTMLElement {
  if (!drawing.thumb) portray(app, drawing); // one from before there were small pictures
  const canShow = drawing.work === app.workId && drawing.candidates.some(done);
  const prompt = drawing.form.prompt || t("history.byReference");
  const again = (): void => {
    reuseForm(app, drawing);
    dialog.close();
  };
  const show = (): void => {
    app.current = drawing;
    app.changed();
    dialog.close();
  };
  return h("li", {}, h("img", { alt: "", width: SIDE, height: SIDE }), h("div", {},
    h("strong", {}, prompt),
    h("small", {}, t("history.facts", { when: when(drawing), seed: drawing.form.seed, n: drawing.candidates.length })),
    h("div", { class: "row" },
      h("button", { type: "button", class: "plain", onclick: again }, t("history.reuse")),
      canShow ? h("button", { type: "button", class: "plain", onclick: show }, t("history.show")) : null,
      iconButton("trash", t("history.forget", { prompt }), () => forget(app, drawing)))));
}
