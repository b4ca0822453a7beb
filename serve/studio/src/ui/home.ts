/** Where a document begins: three rooms, a picture of one's own, or earlier work. */

import type { App } from "../app";
import * as persist from "../persist";
import { t } from "../text";
import { open } from "../files";
import { confirmed } from "./dialog";
import { chooseFile, h, iconButton, icon } from "./dom";

export interface Room {
  readonly name: "amber" | "meadow" | "dusk";
  readonly box: [number, number, number, number];
  readonly prompt: string;
}

/** Go on with the work of this id. */
type Reopen = (work: string) => Promise<void>;

const PICTURES = import.meta.glob<string>("../rooms/*.webp", { eager: true, query: "?url", import: "default" });

export const OPENED = "image/png,image/jpeg,image/webp,image/tiff,.zip,.ora";

export function home(app: App, rooms: readonly Room[], reopen: Reopen): HTMLElement {
  const cards = rooms.map((room) => card(app, room));
  const choose = h("button", { type: "button", class: "outlined", onclick: () => chooseFile(OPENED, (file) => void open(app, file, stem(file.name))) }, icon("open"), t("home.open"));
  const recent = h("ul", { class: "recent", "aria-label": t("home.recent") });
  const earlier = h("section", { hidden: true }, h("h3", {}, t("home.recent")), recent, h("p", { class: "hint" }, t("home.kept", { n: persist.KEPT_WORKS })));
  const page = h("section", { class: "home", "aria-labelledby": "home-title" },
    h("h2", { id: "home-title", class: "title" }, t("home.title")),
    h("p", { class: "lead" }, t("home.lead")),
    h("ul", { class: "rooms" }, ...cards),
    h("p", { class: "own" }, choose, h("span", {}, t("home.drop"))),
    earlier,
  );
  let shown = false;
  app.onChange(() => {
    page.hidden = app.doc !== null;
    if (!page.hidden && !shown) void list(reopen, earlier, recent);
    shown = !page.hidden;
  });
  return page;
}

export const stem = (name: string): string => name.replace(/\.[^.]+$/, "");

function card(app: App, room: Room): HTMLElement {
  const source = PICTURES[`../rooms/${room.name}.webp`] ?? "";
  const title = t(`room.${room.name}`);
  const begin = (): void => void app.attempt(async () => {
    const picture = await (await fetch(source)).blob();
    const known = app.model?.vocabulary != null;
    await open(app, picture, title, { box: room.box, ...(known ? { prompt: room.prompt } : {}) });
  });
  return h("li", {}, h("button", { type: "button", class: "card", onclick: begin }, h("img", { src: source, alt: "", width: 320, height: 320 }), h("span", {}, title)));
}

async function list(reopen: Reopen, section: HTMLElement, recent: HTMLElement): Promise<void> {
  const works = await persist.works().catch(() => []);
  section.hidden = works.length === 0;
  recent.replaceChildren(...works.map((work) => {
    const layers = work.history.present.layers.length - 1;
    const name = work.title || t("home.untitled");
    const remove = async (): Promise<void> => {
      if (!(await confirmed(t("home.removeAsk", { name }), t("home.removeYes")))) return;
      await persist.removeWork(work.id);
      item.remove();
      section.hidden = recent.childElementCount === 0;
      await persist.tidy();
    };
    const item = h("li", {},
      h("button", { type: "button", class: "card small", onclick: () => void reopen(work.id) },
        h("img", { src: work.thumb, alt: "" }),
        h("span", {}, name, h("small", {}, t("home.layers", { n: Math.max(layers, 0) })))),
      iconButton("trash", t("home.remove", { name }), () => void remove(), { class: "quiet remove" }));
    return item;
  }));
}
