/** Files in and out: pictures and documents are opened and written by the service. */

import * as api from "./api";
import type { App } from "./app";
import { manifestIn, read, write } from "./archive";
import * as edit from "./document";
import type { Doc, Layer } from "./document";
import { Told } from "./errors";
import { MAX_SEED, type Form } from "./form";
import * as persist from "./persist";
import { t } from "./text";

const MIB = 2 ** 20;
const MOST_BYTES = 60 * MIB; // of all pictures of a document, so that it goes to the service in one request (65 MiB)

/** Open whatever was dropped, pasted or chosen: a document of ours, or a picture. */
export async function open(app: App, file: Blob, name: string, form: Partial<Form> = {}): Promise<void> {
  await app.attempt(async () => {
    const { doc, pictures } = read(new Uint8Array(await (await api.compose(file, "zip")).arrayBuffer()));
    checkSize(pictures);
    await persist.putPictures(pictures);
    const told = await toldBy(file, doc);
    const alone = doc.layers.length === 1 && doc.layers[0]?.role === "foreground" ? doc.layers[0] : null;
    if (alone && app.doc && app.doc.width === doc.width && app.doc.height === doc.height) {
      const layer = { ...alone, id: edit.newId() };
      app.commit(edit.insert(app.doc, [layer], app.selection.at(-1) ?? null));
      app.setForm(told);
      app.select([layer.id]);
    } else {
      app.begin(doc, name, { ...form, ...told });
    }
    if (told.seed !== undefined) app.say(t("opened.told"));
  });
}

/** A photograph grows when it becomes a PNG. One that is too large now could be looked at, and no more. */
function checkSize(pictures: ReadonlyMap<string, Blob>): void {
  const taken = [...pictures.values()].reduce((sum, blob) => sum + blob.size, 0);
  if (taken > MOST_BYTES) throw new Told(t("open.tooLarge", { size: Math.ceil(taken / MIB), most: MOST_BYTES / MIB }));
}

export async function useReference(app: App, file: Blob | null): Promise<void> {
  if (!file) return app.setForm({ reference: null });
  const name = `reference-${edit.random()}`;
  await persist.putPictures(new Map([[name, file]]));
  app.setForm({ reference: name });
}

export async function exported(format: string, doc: Doc): Promise<Blob> {
  const { document, edits } = await write(doc, persist.picture);
  return api.compose(document, format, edits);
}

export async function download(app: App, format: string): Promise<void> {
  await app.attempt(async () => {
    if (!app.doc) return;
    const blob = await exported(format, app.doc);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${(app.title || "bfs").replace(/[^\p{L}\p{N} ._-]+/gu, " ").trim()}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    app.say(t("download.done", { format: format.toUpperCase() }));
  });
}

export function formOf(source: Pick<Layer, "prompt" | "box" | "seed" | "parameters">): Partial<Form> {
  const { steps, true_cfg_scale: guidance } = source.parameters;
  return {
    ...(source.prompt === null ? {} : { prompt: source.prompt }),
    ...(source.box === null ? {} : { box: source.box }),
    ...(source.seed === null || source.seed > MAX_SEED ? {} : { seed: source.seed }),
    ...(typeof guidance === "number" ? { guidance } : {}),
    steps: typeof steps === "number" ? steps : null,
  };
}

/** What a file of ours says of its uppermost drawn layer. */
async function toldBy(file: Blob, doc: Doc): Promise<Partial<Form>> {
  const drawn = doc.layers.findLast((layer) => layer.prompt !== null && layer.seed !== null);
  if (drawn) return formOf(drawn);
  const inside = manifestIn(new Uint8Array(await file.arrayBuffer()));
  const entry = inside?.layers.findLast((layer) => layer.prompt !== null && layer.seed !== null);
  return entry ? formOf(entry) : {};
}
