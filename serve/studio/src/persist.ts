/** What survives a reload: documents with their undo lists, drawings, and pictures by name. In IndexedDB, on this machine. */

import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { Doc } from "./document";
import type { Drawing } from "./drawing";
import type { Form } from "./form";
import type { Saved } from "./history";

export interface Work {
  id: string;
  title: string;
  history: Saved<Doc>;
  form: Form;
  updated: number;
  thumb: string;
}

interface Schema extends DBSchema {
  works: { key: string; value: Work; indexes: { updated: number } };
  drawings: { key: string; value: Drawing; indexes: { created: number } };
  pictures: { key: string; value: { blob: Blob; at: number } };
}

const KEPT_WORKS = 20;
const KEPT_DRAWINGS = 300;
const YOUNG_MS = 3_600_000; // another tab may be about to use it

let database: Promise<IDBPDatabase<Schema>> | null = null;
/** Where nothing can be kept (private windows of some browsers), memory has to do. */
const memory = new Map<string, Blob>();

function db(): Promise<IDBPDatabase<Schema>> {
  database ??= openDB<Schema>("bfs-studio", 1, {
    upgrade(fresh) {
      fresh.createObjectStore("works", { keyPath: "id" }).createIndex("updated", "updated");
      fresh.createObjectStore("drawings", { keyPath: "id" }).createIndex("created", "created");
      fresh.createObjectStore("pictures");
    },
    terminated: () => (database = null),
  });
  return database;
}

/** Whether anything is kept here. */
export async function available(): Promise<boolean> {
  return db().then(
    () => true,
    () => false,
  );
}

export async function putPictures(pictures: ReadonlyMap<string, Blob>): Promise<void> {
  for (const [name, blob] of pictures) memory.set(name, blob);
  try {
    const transaction = (await db()).transaction("pictures", "readwrite");
    for (const [name, blob] of pictures) void transaction.store.put({ blob, at: Date.now() }, name);
    await transaction.done;
  } catch (error) {
    console.warn("pictures are kept in memory only", error);
  }
}

export async function picture(name: string): Promise<Blob> {
  const near = memory.get(name);
  if (near) return near;
  const kept = await (await db()).get("pictures", name);
  if (!kept) throw new Error(`the picture ${name} is lost`);
  memory.set(name, kept.blob);
  return kept.blob;
}

export const putWork = async (work: Work): Promise<string> => (await db()).put("works", work);
export const work = async (id: string): Promise<Work | undefined> => (await db()).get("works", id);
export const removeWork = async (id: string): Promise<void> => (await db()).delete("works", id);
export const works = async (): Promise<Work[]> => (await (await db()).getAllFromIndex("works", "updated")).reverse();

export const putDrawing = async (drawing: Drawing): Promise<string> => (await db()).put("drawings", drawing);
export const removeDrawing = async (id: string): Promise<void> => (await db()).delete("drawings", id);
export const drawings = async (): Promise<Drawing[]> => (await (await db()).getAllFromIndex("drawings", "created")).reverse();

/** Let go of the oldest works and drawings, and of pictures that nothing shows any more. */
export async function tidy(): Promise<void> {
  const store = await db();
  const all = await works();
  const drawn = await drawings();
  for (const old of all.slice(KEPT_WORKS)) await removeWork(old.id);
  for (const old of drawn.slice(KEPT_DRAWINGS)) await removeDrawing(old.id);
  const needed = new Set<string>();
  for (const { history } of all.slice(0, KEPT_WORKS)) {
    for (const doc of [...history.past, history.present, ...history.future]) doc.layers.forEach((layer) => needed.add(layer.picture));
  }
  for (const drawing of drawn.slice(0, KEPT_DRAWINGS)) {
    [drawing.base, drawing.reference].forEach((name) => name && needed.add(name));
    drawing.candidates.forEach((candidate) => candidate.layers.forEach((layer) => needed.add(layer.picture)));
  }
  for (const name of await store.getAllKeys("pictures")) {
    const kept = needed.has(name) ? undefined : await store.get("pictures", name);
    if (kept && Date.now() - kept.at > YOUNG_MS) await store.delete("pictures", name);
  }
}
