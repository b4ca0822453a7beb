/** The page is put together, and takes up the work that was left. */

import "./style.css";
import "./page.css";
import * as api from "./api";
import { App, WORK } from "./app";
import * as persist from "./persist";
import { Stage } from "./stage";
import { Tabs } from "./tabs";
import { t } from "./text";
import { candidateStrip } from "./ui/candidates";
import { askForKey } from "./ui/dialog";
import { h, icon } from "./ui/dom";
import { drawPanel } from "./ui/drawpanel";
import { historyDialog } from "./ui/historydialog";
import { home, type Room } from "./ui/home";
import { layersPanel } from "./ui/layers";
import { notices } from "./ui/notices";
import { listen } from "./ui/shortcuts";
import { applyTheme } from "./ui/theme";
import { topBar } from "./ui/topbar";
import rooms from "./rooms/rooms.json";

const LOOK_AGAIN_MS = 2000;
const LATER_MS = 10_000; // while one can draw already

applyTheme();
const app = new App();
let work: string | null = null;
const tabs = new Tabs(() => work);

const canvas = h("div", { class: "canvas", tabindex: 0, role: "application", hidden: true, "aria-label": t("canvas.label") });
const badge = h("p", { class: "badge", hidden: true }, t("preview"));
const history = historyDialog(app);
const bar = topBar(app, () => stage, history);
const middle = h("main", { class: "middle" }, h("div", { class: "view-area" }, canvas, badge, home(app, rooms as unknown as Room[], (id) => app.attempt(() => reopen(id)))), candidateStrip(app));
document.body.append(bar, drawPanel(app), middle, layersPanel(app), tabBar(), notices(app), history);
const stage = new Stage(app, canvas, (zoom) => bar.dispatchEvent(new CustomEvent("zoom", { detail: zoom })));
listen(app, stage);

api.connect(askForKey, (away) => {
  if (app.away === away) return;
  app.away = away;
  app.changed();
});
persist.connect({
  isOpen: async (id) => id === work || tabs.isHeld(id),
  documents: () => app.documents,
  onKept: (all) => {
    if (app.unkept === !all) return;
    app.unkept = !all;
    app.changed();
  },
});
app.onChange(() => {
  work = app.doc ? app.workId : null;
  document.title = app.doc && app.title ? `${app.title} – BFS Studio` : "BFS Studio";
  document.body.dataset["work"] = String(app.doc !== null);
  badge.hidden = !app.doc || !app.previewed;
});
addEventListener("focusout", () => app.changed()); // a field that was left half typed shows again what is
addEventListener("unhandledrejection", (event) => app.fail(event.reason));
addEventListener("pagehide", () => app.flush());
addEventListener("visibilitychange", () => app.flush());

/** On narrow screens one panel is shown at a time. */
function tabBar(): HTMLElement {
  const names = ["draw", "layers"] as const;
  document.body.dataset["panel"] = "draw";
  const buttons = names.map((name) => h("button", { type: "button", "aria-pressed": String(name === "draw"), onclick: () => {
    document.body.dataset["panel"] = name;
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(names[index] === name)));
  } }, icon(name === "draw" ? "brush" : "layers"), t(`${name}.title`)));
  return h("nav", { class: "tabs", "aria-label": t("tabs.label") }, ...buttons);
}

/** Ask what is served, until every model is ready or has failed. */
async function learnModels(): Promise<void> {
  for (;;) {
    try {
      app.models = await api.models();
      app.changed();
    } catch (error) {
      if (error instanceof api.Problem) app.fail(error);
    }
    const ready = app.models.some((model) => model.state === "ready");
    if (ready && !app.models.some((model) => model.state === "loading")) return;
    await api.pause(ready ? LATER_MS : LOOK_AGAIN_MS);
  }
}

/** Go on with a work as it is kept now; as a copy where another tab holds it. */
async function reopen(id: string): Promise<void> {
  const held = await tabs.isHeld(id);
  await app.readDrawings();
  const saved = await persist.work(id);
  if (!saved) return app.say(t("home.gone"));
  app.resume(saved, held);
  if (held) app.say(t("home.copy"));
}

async function resume(): Promise<void> {
  if (!(await persist.available())) return;
  const mine = sessionStorage.getItem(WORK); // held all the same in a tab that was duplicated
  const last = mine ?? (await persist.works())[0]?.id;
  const there = last !== undefined && (await persist.work(last)) !== undefined;
  if (there && (mine !== null || !(await tabs.isHeld(last)))) await reopen(last);
  else await app.readDrawings();
  void persist.tidy();
}

void learnModels();
void resume().catch((error: unknown) => console.warn(error)).finally(() => app.changed());

/** For scripts and reports of faults: the document as it is. */
Object.defineProperty(globalThis, "studio", { value: Object.freeze({ get document() { return app.doc; } }) });
