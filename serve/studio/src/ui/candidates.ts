/** The strip under the canvas: the candidates of a drawing, side by side as they arrive. */

import type { App } from "../app";
import { problemText } from "../errors";
import { done, ended, under_way, type Candidate, type Drawing } from "../drawing";
import { paintTile } from "../look";
import { t } from "../text";
import { apply, close as closeStrip, taken } from "../painting";
import { h, iconButton, keyed, say, set } from "./dom";

const SIDE = 224;

export function candidateStrip(app: App): HTMLElement {
  const list = h("ul", { class: "candidates" });
  const title = h("h2", { "aria-live": "polite" });
  const cancel = h("button", { type: "button", class: "plain", id: "cancel", onclick: () => app.current && app.drawer.cancel(app.current) }, t("draw.cancel"));
  const close = iconButton("close", t("candidates.close"), () => app.current && closeStrip(app, app.current));
  const strip = h("section", { class: "strip", hidden: true, "aria-label": t("candidates.title") }, h("header", {}, title, cancel, close), list);
  app.onChange(() => {
    const drawing = app.current;
    strip.hidden = !drawing || !app.doc;
    if (!drawing) return;
    const running = under_way(drawing);
    say(title, outcome(drawing));
    cancel.hidden = !running;
    close.hidden = running;
    keyed(list, drawing.candidates, (one) => one.key, (one) => tile(app, drawing, one), (element, one) => update(app, drawing, element, one));
  });
  return strip;
}

/** What is heard of a drawing: that it runs, or how it ended. */
function outcome({ candidates }: Drawing): string {
  if (!candidates.every(ended)) return t("draw.running");
  const failed = candidates.filter(({ status }) => status === "failed").length;
  if (!candidates.some(done)) return t(failed > 0 ? "candidates.failed" : "candidates.canceled");
  if (candidates.length === 1) return t("candidates.done");
  return failed > 0 ? t("candidates.some", { failed }) : t("candidates.choose");
}

const lies = (app: App, drawing: Drawing, candidate: Candidate): boolean => taken(app, drawing)?.seed === candidate.seed;

function tile(app: App, drawing: Drawing, candidate: Candidate): HTMLElement {
  const show = (): void => {
    if (candidate.status !== "done" || drawing.candidates.length === 1) return;
    app.shown = lies(app, drawing, candidate) ? null : candidate;
    app.changed();
  };
  const hide = (): void => {
    if (app.shown !== candidate || !taken(app, drawing)) return; // while none is taken, the last one that was looked at stays
    app.shown = null;
    app.changed();
  };
  const take = h("button", { type: "button", class: "tile", onclick: () => apply(app, drawing, candidate), onfocus: show, onpointerenter: show, onblur: hide, onpointerleave: hide },
    h("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" }),
    h("progress", { max: 1, "aria-hidden": "true" }),
    h("span", { class: "state" }),
  );
  const stop = iconButton("close", t("draw.cancelOne", { seed: candidate.seed }), () => app.drawer.cancel(drawing, candidate), { class: "quiet stop" });
  return h("li", {}, take, stop);
}

function update(app: App, drawing: Drawing, element: HTMLElement, candidate: Candidate): void {
  const take = element.firstElementChild as HTMLButtonElement;
  const [canvas, progress, state] = Array.from(take.children) as [HTMLCanvasElement, HTMLProgressElement, HTMLElement];
  const applied = lies(app, drawing, candidate);
  set(take, "aria-disabled", candidate.status === "done" ? false : "true");
  set(take, "aria-pressed", candidate.status === "done" ? String(applied) : null);
  set(take, "data-status", candidate.status);
  set(take, "data-shown", app.shown === candidate);
  set(take, "aria-label", t("candidate.label", { seed: candidate.seed, state: text(candidate, applied) }));
  say(state, text(candidate, applied));
  progress.hidden = ended(candidate);
  if (candidate.steps > 0) progress.value = candidate.step / candidate.steps;
  else progress.removeAttribute("value");
  (element.lastElementChild as HTMLElement).hidden = ended(candidate) || drawing.candidates.length === 1;
  const layer = candidate.layers[0];
  const seen = `${drawing.base} ${layer?.picture ?? candidate.preview?.length ?? ""} ${candidate.status === "canceled"}`;
  if (canvas.dataset["seen"] !== seen) {
    canvas.dataset["seen"] = seen;
    void paintTile(canvas, drawing, candidate);
  }
}

function text(candidate: Candidate, applied: boolean): string {
  switch (candidate.status) {
    case "sending":
      return t("state.sending");
    case "queued":
      return candidate.position ? t("state.position", { n: candidate.position }) : t("state.queued");
    case "running":
      return candidate.steps ? t("state.step", { step: candidate.step, steps: candidate.steps }) : t("state.running");
    case "failed":
      return candidate.problem ? problemText(candidate.problem) : t("state.failed");
    case "canceled":
      return t("state.canceled");
    case "done":
      return applied ? t("state.applied") : t("state.seed", { seed: candidate.seed });
  }
}
