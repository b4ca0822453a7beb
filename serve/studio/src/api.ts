/** The service over HTTP: keys, problem documents, jobs and their events. Addresses are those beside the page's folder. */

import { random } from "./document";

export interface Job {
  id: string;
  kind: string;
  status: "queued" | "running" | "succeeded" | "failed" | "canceled";
  queue_position?: number;
  progress?: { step: number; steps: number };
  problem?: ProblemBody;
  warnings?: string[];
  expires_at?: string;
}

export interface Model {
  name: string;
  version: string;
  state: "ready" | "failed" | "loading";
  default: boolean;
  capabilities: string[];
  default_steps: number | null;
  true_cfg_scale: number | null;
  window_size: number | null;
  vocabulary: Record<string, string[]> | null;
  licence: string | null;
}

export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
}

export type JobEvent = { id: number; name: string; data: Record<string, unknown> };

/** The service says no, and why. */
export class Problem extends Error {
  constructor(readonly body: ProblemBody) {
    super(body.detail);
  }

  get slug(): string {
    return this.body.type.split(":").at(-1) ?? "";
  }
}

/** The service cannot be reached. */
export class Away extends Error {}

const ROOT = new URL("..", new URL(import.meta.env.DEV ? "/studio/" : document.baseURI));
const KEY = "bfs-key";
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const PATIENCE_MS = 120_000;

/** Why a key is asked for. Only who wanted another one can call it off. */
export type Why = "needed" | "wrong" | "another";
type Ask = (why: Why) => Promise<string | null>;

let askForKey: Ask = () => Promise.reject(new Error("no way to ask"));
let asking: Promise<string | null> | null = null;
let onReach: (away: boolean) => void = () => undefined;

/** How to get a key from the person, and whom to tell whether the service can be reached. */
export function connect(ask: Ask, reached: (away: boolean) => void): void {
  askForKey = ask;
  onReach = reached;
}

export const address = (path: string): string => new URL(path.replace(/^\//, ""), ROOT).href;
export const currentKey = (): string | null => usableKey(sessionStorage.getItem(KEY) ?? "");

/** A key without what copying adds to it unseen; null for one that no header can carry. */
export function usableKey(text: string): string | null {
  const key = text.replace(/[\s\u00ad\u200b-\u200f\u2060\ufeff]/gu, "");
  return /^[\x21-\x7e]+$/.test(key) ? key : null;
}

/** Let the person give another key, though this one is accepted: it may not be good for everything. */
export async function changeKey(): Promise<void> {
  const key = await askForKey("another");
  if (key !== null) sessionStorage.setItem(KEY, key);
}

/** One request. Raises `Problem` and `Away`; asks for a key where one is needed. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const key = currentKey();
    const headers = new Headers(init.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    let response: Response;
    try {
      response = await fetch(address(path), { ...init, headers, cache: "no-store" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      onReach(true);
      throw new Away(String(error));
    }
    onReach(false);
    if (response.status === 401) {
      await newKey(key);
      continue;
    }
    if (response.status >= 400) throw new Problem(await problemOf(response));
    return response;
  }
}

/** Ask once, however many requests wait for the key. */
async function newKey(refused: string | null): Promise<void> {
  if (currentKey() !== refused) return;
  asking ??= askForKey(refused === null ? "needed" : "wrong").finally(() => (asking = null));
  sessionStorage.setItem(KEY, (await asking) ?? "");
}

/** What an answer holds. A connection that breaks off within it is as good as none. */
async function whole<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    onReach(true);
    throw new Away(String(error));
  }
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return whole((await request(path, init)).json() as Promise<T>);
}

async function problemOf(response: Response): Promise<ProblemBody> {
  const fallback = { type: "urn:bfs:problem:internal", title: response.statusText, status: response.status, detail: response.statusText };
  try {
    return { ...fallback, ...((await response.json()) as Partial<ProblemBody>) };
  } catch {
    return fallback;
  }
}

/** The same again while the service is away or busy, for two minutes. `again` must be safe to repeat. */
export async function patiently<T>(again: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  const begin = Date.now();
  for (let attempt = 0; ; attempt++) {
    try {
      return await again();
    } catch (error) {
      const passes = error instanceof Away || (error instanceof Problem && [429, 502, 503, 504].includes(error.body.status));
      if (!passes || signal?.aborted || Date.now() - begin > PATIENCE_MS) throw error;
      await pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] ?? 8000, signal);
    }
  }
}

export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, signal?.aborted ? 0 : ms);
    signal?.addEventListener("abort", end);
  });
}

export async function models(): Promise<Model[]> {
  return (await json<{ models: Model[] }>("/v1/models")).models;
}

/** Start a job; `key` makes it safe to send again. */
export async function start(path: string, form: FormData, key: string): Promise<Job> {
  return patiently(() => json<Job>(path, { method: "POST", body: form, headers: { "Idempotency-Key": key } }));
}

export const job = (id: string): Promise<Job> => json<Job>(`/v1/jobs/${id}`);

export async function cancel(id: string): Promise<void> {
  await patiently(() => request(`/v1/jobs/${id}`, { method: "DELETE" }));
}

export async function result(id: string, format: string): Promise<Uint8Array<ArrayBuffer>> {
  return patiently(async () => new Uint8Array(await whole((await request(`/v1/jobs/${id}/result?format=${format}`)).arrayBuffer())));
}

/** Let the service forget a finished job and its pictures, so that they take no room there. It would do so by itself, later. */
export async function release(id: string): Promise<void> {
  await request(`/v1/jobs/${id}/result`, { method: "DELETE" }).catch(() => undefined);
}

/** Compose a document, or change it: waits for the answer. */
export async function compose(document: Blob, format: string, edits: object[] = []): Promise<Blob> {
  const form = new FormData();
  form.set("document", document, "document");
  if (edits.length > 0) form.set("edits", JSON.stringify(edits));
  const init = { method: "POST", body: form, headers: { Prefer: "wait=120", "Idempotency-Key": random() } };
  const [id, answer] = await patiently(async () => {
    const response = await request(`/v1/exports?format=${format}`, init);
    const place = response.headers.get("Location")?.split("/").at(-1) ?? "";
    return [place, response.status === 202 ? null : await whole(response.blob())] as const;
  });
  if (!answer) await follow(id, 0, () => undefined, new AbortController().signal);
  const file = answer ?? new Blob([await result(id, format)]);
  if (id) void release(id);
  return file;
}

/** Follow a job to its end, over broken connections, from the event after `last`. Raises `Problem` where the job is gone. */
export async function follow(id: string, last: number, onEvent: (event: JobEvent) => void, signal: AbortSignal): Promise<void> {
  let seen = last;
  for (let quiet = 0; !signal.aborted; quiet++) {
    try {
      const response = await request(`/v1/jobs/${id}/events`, { headers: { "Last-Event-ID": String(seen) }, signal });
      if (response.status === 204 || !response.body) return;
      for await (const event of events(response.body)) {
        seen = event.id;
        quiet = 0;
        onEvent(event);
        if (["succeeded", "failed", "canceled"].includes(event.name)) return;
      }
    } catch (error) {
      const passes = !(error instanceof Problem) || [429, 502, 503, 504].includes(error.body.status);
      if (signal.aborted || !passes) throw error;
    }
    await pause(RETRY_MS[Math.min(quiet, RETRY_MS.length - 1)] ?? 8000, signal);
  }
}

/** Server-sent events (WHATWG HTML §9.2) of a body: EventSource cannot send a key. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<JobEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as unknown as TransformStream<Uint8Array, string>).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value.replaceAll("\r\n", "\n");
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const event = parsed(text.slice(0, end));
        text = text.slice(end + 2);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parsed(block: string): JobEvent | null {
  const fields: Record<string, string> = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  const { event, id, data } = fields;
  return event && data ? { id: Number(id ?? 0), name: event, data: JSON.parse(data) as Record<string, unknown> } : null;
}
