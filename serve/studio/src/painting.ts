/** What is drawn, and how it comes into the document. */

import * as api from "./api";
import type { App } from "./app";
import { read, write } from "./archive";
import * as edit from "./document";
import type { Doc, Layer } from "./document";
import { done, newDrawing, under_way, type Candidate, type Drawing } from "./drawing";
import { exported, formOf } from "./files";
import { newSeed, type Form } from "./form";
import { cutTo, type Size } from "./geometry";
import { paintTile } from "./look";
import * as persist from "./persist";

/** Names of pictures that layers make together, by what they are made of. */
const composites = new Map<string, Promise<string>>();

const PORTRAIT = 128;
let portraits: Promise<void> = Promise.resolve();

const size = ({ width, height }: Doc): Size => ({ width, height });

export function canDraw(app: App): boolean {
  const { box, prompt, reference } = app.asked;
  return app.doc !== null && box !== null && (prompt.trim() !== "" || reference !== null);
}

/** Draw what the form says, above the selected layer. */
export async function draw(app: App, replaces: Layer | null = null): Promise<void> {
  const doc = app.doc;
  if (!doc || !canDraw(app)) return;
  if (!app.form.seedLocked && app.form.seed === app.usedSeed) app.setForm({ seed: newSeed() });
  app.usedSeed = app.form.seed;
  const form = { ...app.asked, prompt: app.form.prompt.trim() };
  const above = replaces ? replaces.id : (app.selection.at(-1) ?? null);
  await app.attempt(async () => {
    const base = await together(doc, under(doc, above, replaces !== null));
    carry(app, newDrawing({ work: app.workId, kind: "layer", form, canvas: size(doc), base, reference: form.reference, above, replaces: replaces?.id ?? null }));
  });
}

/** Take a layer out of a finished picture of the same size. */
export async function extract(app: App, file: Blob): Promise<void> {
  const doc = app.doc;
  if (!doc) return;
  await app.attempt(async () => {
    const finished = `finished-${edit.random()}`;
    await persist.putPictures(new Map([[finished, file]]));
    const above = app.selection.at(-1) ?? null;
    const base = await together(doc, under(doc, above, false));
    const form = { ...app.asked, box: null, candidates: 1 };
    carry(app, newDrawing({ work: app.workId, kind: "extraction", form, canvas: size(doc), base, reference: finished, above, replaces: null }));
  });
}

function carry(app: App, drawing: Drawing): void {
  app.drawings = [drawing, ...app.drawings];
  app.current = drawing;
  app.shown = null;
  portray(app, drawing);
  app.drawer.carry(drawing);
  app.changed();
}

/** The visible layers that a drawing lies on: up to `top` and its group, or without `top` where that one is drawn anew. */
function under(doc: Doc, top: string | null, anew: boolean): Layer[] {
  const last = top === null ? undefined : anew ? edit.find(doc, top) : edit.unitOf(doc, top).at(-1);
  const end = last ? doc.layers.indexOf(last) + (anew ? 0 : 1) : doc.layers.length;
  return doc.layers.slice(0, end).filter((layer) => layer.visible);
}

/** The name of the picture that layers make together: the service composes it, unless one layer is all of it. */
async function together(doc: Doc, layers: readonly Layer[]): Promise<string> {
  const [only] = layers;
  const plain = only && layers.length === 1 && only.opacity === 1 && only.scale === 1 && only.x === 0 && only.y === 0;
  if (plain && only.width === doc.width && only.height === doc.height) return only.picture;
  const key = JSON.stringify([doc.width, doc.height, ...layers.map((l) => [l.picture, l.x, l.y, l.scale, l.opacity, l.blend])]);
  const before = composites.get(key);
  if (before && (await before.then(persist.hasPicture, () => false))) return before;
  const made = composed({ ...doc, layers });
  composites.set(key, made);
  return made;
}

async function composed(doc: Doc): Promise<string> {
  const name = `base-${edit.random()}`;
  await persist.putPictures(new Map([[name, await exported("png", doc)]]));
  return name;
}

export function arrived(app: App, drawing: Drawing, candidate: Candidate): void {
  if (drawing.candidates.find(done) === candidate) portray(app, drawing);
  if (drawing.candidates.length === 1) apply(app, drawing, candidate);
  else if (drawing === app.current && !taken(app, drawing) && !app.shown?.layers.length) app.shown = candidate;
  if (candidate.warnings.length > 0) app.say(candidate.warnings.join(" "));
}

/** The layer of a drawing that lies in the document. */
export function taken(app: App, drawing: Drawing): Layer | undefined {
  return app.doc?.layers.find((layer) => layer.drawing === drawing.id);
}

/** Go on with the drawings of a document that is opened again: with those under way, and with those that ended meanwhile. */
export function takeUp(app: App): void {
  const mine = app.drawings.filter((drawing) => drawing.work === app.workId);
  const waiting = mine.filter((drawing) => drawing.open && !taken(app, drawing) && drawing.candidates.some(done));
  app.current = mine.find(under_way) ?? waiting[0] ?? null;
  for (const drawing of mine.filter(under_way)) app.drawer.carry(drawing);
  for (const drawing of waiting.reverse()) {
    const [only, ...others] = drawing.candidates;
    if (only && others.length === 0) apply(app, drawing, only);
  }
}

/** Close the candidates: none of them is waited for any more. */
export function close(app: App, drawing: Drawing): void {
  app.current = app.shown = null;
  settle(app, drawing);
  app.changed();
}

function settle(app: App, drawing: Drawing): void {
  drawing.open = false;
  void app.drawer.keep(drawing);
}

/** Have the history show a drawing by a small picture: its first candidate, or what it is drawn onto. One after the other: each takes whole pictures. */
export function portray(app: App, drawing: Drawing): void {
  portraits = portraits.then(async () => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = PORTRAIT;
    await paintTile(canvas, drawing, drawing.candidates.find(done));
    drawing.thumb = canvas.toDataURL("image/webp", 0.8);
    await app.drawer.keep(drawing);
    app.changed();
  }).catch((error: unknown) => console.warn(error));
}

/** Put a candidate into the document: in the place of another one of its drawing, of the layer that it replaces, or above. */
export function apply(app: App, drawing: Drawing, candidate: Candidate): void {
  const doc = app.doc;
  if (!doc || drawing.work !== app.workId || candidate.layers.length === 0) return;
  const same = doc.layers.find((layer) => layer.drawing === drawing.id) ?? (drawing.replaces === null ? undefined : edit.find(doc, drawing.replaces));
  const [layer] = candidate.layers;
  if (!layer) return;
  app.shown = null;
  settle(app, drawing);
  if (same) {
    const kept = { id: same.id, opacity: same.opacity, blend: same.blend, visible: same.visible, group: same.group };
    app.commit(edit.replace(doc, same.id, [{ ...layer, ...kept }]));
    app.select([same.id]);
  } else {
    const fresh = { ...layer, id: edit.newId() };
    app.commit(edit.insert(doc, [fresh], drawing.above && edit.find(doc, drawing.above) ? drawing.above : null));
    app.select([fresh.id]);
  }
  app.tool = "move";
}

/** Object and effects as two layers, told apart by the service. */
export async function split(app: App, layer: Layer): Promise<void> {
  await app.attempt(async () => {
    if (!app.doc) return;
    const alone = { ...app.doc, layers: [{ ...layer, group: null }] };
    const { document, edits } = await write(alone, persist.picture);
    const answer = await api.compose(document, "zip", [...edits, { layer: layer.id, split_effects: true }]);
    const { doc, pictures } = read(new Uint8Array(await answer.arrayBuffer()));
    await persist.putPictures(pictures);
    const now = app.doc;
    if (!now || !edit.find(now, layer.id)) return;
    app.commit(edit.group(edit.replace(now, layer.id, doc.layers), doc.layers.map((part) => part.id), layer.name));
    app.select(doc.layers.map((part) => part.id));
  });
}

/** Prompt, box, seed and settings of a layer, back into the form. */
export function reuse(app: App, layer: Layer): void {
  const { guidance, model } = app.drawings.find((drawing) => drawing.id === layer.drawing)?.form ?? app.form;
  again(app, { guidance, model, ...formOf({ ...layer, box: edit.shownBox(layer) }) });
}

/** The form of an earlier drawing, perhaps of another document. */
export function reuseForm(app: App, { form, kind }: Drawing): void {
  const { prompt, box, seed, steps, guidance, model, reference } = form;
  again(app, { prompt, seed, steps, guidance, model, ...(box ? { box } : {}), ...(kind === "layer" ? { reference } : {}) });
}

function again(app: App, form: Partial<Form>): void {
  const box = form.box && app.doc ? { box: cutTo(form.box, app.doc) } : {};
  app.setForm({ ...form, ...box, seedLocked: true });
}

export function forget(app: App, drawing: Drawing): void {
  app.drawer.forget(drawing);
  app.drawings = app.drawings.filter((other) => other !== drawing);
  if (app.current === drawing) app.current = app.shown = null;
  app.changed();
}
