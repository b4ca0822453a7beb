/** The service over HTTP: keys, problem documents, jobs and their events. Addresses are those beside the page's folder. */

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

let askForKey: (wrong: boolean) => Promise<string> = () => Promise.reject(new Error("no way to ask"));
let asking: Promise<string> | null = null;
let onReach: (away: boolean) => void = () => undefined;

/** How to get a key from the person, and whom to tell whether the service can be reached. */
export function connect(ask: (wrong: boolean) => Promise<string>, reached: (away: boolean) => void): void {
  askForKey = ask;
  onReach = reached;
}

export const address = (path: string): string => new URL(path.replace(/^\//, ""), ROOT).href;
export const currentKey = (): string | null => sessionStorage.getItem(KEY);

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
  asking ??= askForKey(refused !== null).finally(() => (asking = null));
  sessionStorage.setItem(KEY, await asking);
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
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

export async function models(): Promise<Model[]> {
  return ((await (await request("/v1/models")).json()) as { models: Model[] }).models;
}

/** Start a job; `key` makes it safe to send again. */
export async function start(path: string, form: FormData, key: string, signal?: AbortSignal): Promise<Job> {
  const init = { method: "POST", body: form, headers: { "Idempotency-Key": key }, ...(signal ? { signal } : {}) };
  return patiently(async () => (await (await request(path, init)).json()) as Job, signal);
}

export const job = async (id: string): Promise<Job> => (await (await request(`/v1/jobs/${id}`)).json()) as Job;

export async function cancel(id: string): Promise<void> {
  await patiently(() => request(`/v1/jobs/${id}`, { method: "DELETE" }));
}

export async function result(id: string, format: string): Promise<Uint8Array<ArrayBuffer>> {
  return patiently(async () => new Uint8Array(await (await request(`/v1/jobs/${id}/result?format=${format}`)).arrayBuffer()));
}

/** Compose a document, or change it: waits for the answer. */
export async function compose(document: Blob, format: string, edits: object[] = []): Promise<Blob> {
  const form = new FormData();
  form.set("document", document, "document");
  if (edits.length > 0) form.set("edits", JSON.stringify(edits));
  const response = await patiently(() => request(`/v1/exports?format=${format}`, { method: "POST", body: form, headers: { Prefer: "wait=120" } }));
  if (response.status === 202) return new Blob([await result(((await response.json()) as Job).id, format)]);
  return response.blob();
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
