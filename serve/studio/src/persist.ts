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

interface Tables {
  works: { key: string; value: Work; indexes: { updated: number } };
  drawings: { key: string; value: Drawing; indexes: { created: number } };
  pictures: { key: string; value: { blob: Blob; at: number } };
}

interface Schema extends DBSchema, Tables {}

export const KEPT_WORKS = 20;
const KEPT_DRAWINGS = 300;
const YOUNG_MS = 3_600_000; // another tab may be about to use it

let database: Promise<IDBPDatabase<Schema>> | null = null;
let tidying: Promise<void> | null = null;
let asked: Promise<boolean> | undefined;
/** Pictures that are not kept yet, or cannot be. */
const memory = new Map<string, Blob>();
/** What could not be kept: works and drawings by their id, pictures by their name. */
const unkept = new Set<string>();

interface Page {
  /** Whether this tab or another one has a work open. */
  readonly isOpen: (work: string) => Promise<boolean>;
  /** The documents that this tab holds, kept or not. */
  readonly documents: () => readonly Doc[];
  /** Hears whether all is kept. */
  readonly onKept: (all: boolean) => void;
}

let page: Page = { isOpen: () => Promise.resolve(false), documents: () => [], onKept: () => undefined };

export function connect(tab: Page): void {
  page = tab;
}

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

/** Write one thing. The order to commit goes out along with it: a page that closes now ends a transaction without one undone. */
async function put<K extends keyof Tables>(table: K, value: Tables[K]["value"], key?: string): Promise<void> {
  const transaction = (await db()).transaction(table, "readwrite");
  const written = transaction.objectStore(table).put(value, key);
  transaction.commit();
  await Promise.all([written, transaction.done]);
}

/** Write one thing; where there is no room, after letting go of what is old. Returns whether it is kept. */
async function keep(name: string, write: () => Promise<void>): Promise<boolean> {
  try {
    await write().catch(async (error: unknown) => {
      if ((error as Error).name !== "QuotaExceededError") throw error;
      await tidy();
      await write();
    });
    unkept.delete(name);
  } catch (error) {
    console.warn("not kept:", name, error);
    unkept.add(name);
  }
  page.onKept(unkept.size === 0);
  return !unkept.has(name);
}

/** Keep pictures, and those for which there was no room before. Returns whether all of them are kept. */
export async function putPictures(pictures: ReadonlyMap<string, Blob>): Promise<boolean> {
  for (const [name, blob] of pictures) memory.set(name, blob);
  for (const [name, blob] of [...memory]) {
    if (memory.has(name) && (await keep(name, () => put("pictures", { blob, at: Date.now() }, name)))) memory.delete(name);
  }
  return ![...pictures.keys()].some((name) => unkept.has(name));
}

export async function picture(name: string): Promise<Blob> {
  const found = memory.get(name) ?? (await (await db()).get("pictures", name))?.blob;
  if (!found) throw new Error(`the picture ${name} is lost`);
  return found;
}

export const hasPicture = async (name: string): Promise<boolean> => memory.has(name) || (await (await db()).count("pictures", name)) > 0;

export async function putWork(work: Work): Promise<void> {
  const kept = keep(work.id, () => put("works", work)); // at once: the page may be about to close
  if ([...memory.keys()].some((name) => unkept.has(name))) void putPictures(new Map());
  asked ??= navigator.storage?.persist?.().catch(() => false); // else browsers may throw it all away where room gets short
  await kept;
}

export const work = async (id: string): Promise<Work | undefined> => (await db()).get("works", id);
export const works = async (): Promise<Work[]> => (await (await db()).getAllFromIndex("works", "updated")).reverse();

export async function removeWork(id: string): Promise<void> {
  await (await db()).delete("works", id);
  unkept.delete(id);
}

export const putDrawing = (drawing: Drawing): Promise<boolean> => keep(drawing.id, () => put("drawings", drawing));
export const drawing = async (id: string): Promise<Drawing | undefined> => (await db()).get("drawings", id);
export const drawings = async (): Promise<Drawing[]> => (await (await db()).getAllFromIndex("drawings", "created")).reverse();

export async function removeDrawing(id: string): Promise<void> {
  await (await db()).delete("drawings", id);
  unkept.delete(id);
}

/** Let go of the oldest works and drawings, and of pictures that nothing shows any more. */
export function tidy(): Promise<void> {
  tidying ??= tidied().finally(() => (tidying = null));
  return tidying;
}

async function tidied(): Promise<void> {
  const store = await db();
  const needed = new Set<string>();
  const need = (docs: readonly Doc[]): void => docs.forEach((doc) => doc.layers.forEach((layer) => needed.add(layer.picture)));
  need(page.documents());
  for (const [index, { id, history, form }] of (await works()).entries()) {
    if (index >= KEPT_WORKS && !(await page.isOpen(id))) {
      await removeWork(id);
      continue;
    }
    need([...history.past, history.present, ...history.future]);
    if (form.reference) needed.add(form.reference);
  }
  for (const [index, { id, base, reference, candidates }] of (await drawings()).entries()) {
    if (index >= KEPT_DRAWINGS) {
      await removeDrawing(id);
      continue;
    }
    [base, reference].forEach((name) => name && needed.add(name));
    candidates.forEach((candidate) => candidate.layers.forEach((layer) => needed.add(layer.picture)));
  }
  for (const name of await store.getAllKeys("pictures")) {
    const kept = needed.has(name) ? undefined : await store.get("pictures", name);
    if (kept && Date.now() - kept.at > YOUNG_MS) await store.delete("pictures", name);
  }
}
