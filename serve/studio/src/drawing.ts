/** Drawings: what was asked for, and each candidate of it on its way through the service. They never touch the document. */

import * as api from "./api";
import { read } from "./archive";
import type { Layer } from "./document";
import { random } from "./document";
import { fieldsOf, seedOf, type Form } from "./form";
import type { Size } from "./geometry";
import * as persist from "./persist";
import { Slots } from "./slots";

const ASK_MS = 2000;
const MOST_FOLLOWED = 2; // browsers open six connections to a service, and other requests need theirs

export type Status = "sending" | "queued" | "running" | "done" | "failed" | "canceled";

export interface Candidate {
  readonly key: string;
  readonly seed: number;
  job: string | null;
  status: Status;
  position: number | null;
  step: number;
  steps: number;
  lastEvent: number;
  /** A small picture of what it looks like so far, as a data: address. */
  preview: string | null;
  /** What was drawn: one layer. */
  layers: Layer[];
  warnings: string[];
  problem: api.ProblemBody | null;
}

export interface Drawing {
  readonly id: string;
  readonly created: number;
  readonly work: string;
  readonly kind: "layer" | "extraction";
  readonly form: Form;
  readonly canvas: Size;
  /** The picture that it is drawn onto, by name; for an extraction the finished picture is `reference`. */
  readonly base: string;
  readonly reference: string | null;
  /** The layer that it goes above, and the one that it takes the place of. */
  readonly above: string | null;
  readonly replaces: string | null;
  candidates: Candidate[];
  /** Whether it waits to be taken: until a candidate lies in the document, or its candidates were closed. */
  open: boolean;
  /** A small picture for the history. */
  thumb: string;
}

export const ended = (candidate: Candidate): boolean => ["done", "failed", "canceled"].includes(candidate.status);
export const done = (candidate: Candidate): boolean => candidate.status === "done";
export const under_way = (drawing: Drawing): boolean => !drawing.candidates.every(ended);

type Facts = Pick<Drawing, "work" | "kind" | "form" | "canvas" | "base" | "reference" | "above" | "replaces">;

export function newDrawing(facts: Facts): Drawing {
  const candidates = Array.from({ length: facts.kind === "layer" ? facts.form.candidates : 1 }, (_, index): Candidate => ({
    key: random() + random(),
    seed: seedOf(facts.form.seed, index),
    job: null,
    status: "sending",
    position: null,
    step: 0,
    steps: 0,
    lastEvent: 0,
    preview: null,
    layers: [],
    warnings: [],
    problem: null,
  }));
  return { ...facts, id: random(), created: Date.now(), candidates, open: true, thumb: "" };
}

/** Carries drawings out, each candidate as a job of its own, so that they arrive one by one. */
export class Drawer {
  private readonly stops = new Map<string, AbortController>();
  private readonly streams = new Slots(MOST_FOLLOWED);
  private readonly carried = new Set<string>();
  private readonly forgotten = new Set<string>();

  constructor(
    private readonly changed: (drawing: Drawing) => void,
    private readonly arrived: (drawing: Drawing, candidate: Candidate) => void,
  ) {}

  /** Begin, or go on after a reload. */
  carry(drawing: Drawing): void {
    if (this.carried.has(drawing.id)) return;
    this.carried.add(drawing.id);
    void this.keep(drawing);
    // One after the other, so that they stand in the queue as they stand on the page.
    let before: Promise<void> = Promise.resolve();
    for (const candidate of drawing.candidates) {
      if (ended(candidate)) continue;
      const sent = Promise.withResolvers<void>();
      const turn = before;
      before = sent.promise;
      void turn.then(() => this.one(drawing, candidate, sent.resolve)).finally(sent.resolve);
    }
  }

  /** Whether it is, or was, carried out here. */
  carries(drawing: Drawing): boolean {
    return this.carried.has(drawing.id);
  }

  cancel(drawing: Drawing, only?: Candidate): void {
    for (const candidate of drawing.candidates) {
      if (ended(candidate) || (only && candidate !== only)) continue;
      candidate.status = "canceled";
      this.stops.get(candidate.key)?.abort();
      if (candidate.job) void this.drop(drawing, candidate.job);
    }
    this.tell(drawing);
    void this.keep(drawing);
  }

  /** Nothing of it is to remain, here or on the service. */
  forget(drawing: Drawing): void {
    this.forgotten.add(drawing.id);
    const ran = drawing.candidates.filter(ended);
    this.cancel(drawing);
    for (const { job } of ran) if (job) void api.release(job);
    void persist.removeDrawing(drawing.id).catch(() => undefined);
  }

  async keep(drawing: Drawing): Promise<boolean> {
    if (this.forgotten.has(drawing.id)) return false;
    const quiet = { ...drawing, candidates: drawing.candidates.map((candidate) => ({ ...candidate, preview: null })) };
    return persist.putDrawing(quiet);
  }

  private async drop(drawing: Drawing, job: string): Promise<void> {
    await api.cancel(job).catch(() => undefined);
    if (this.forgotten.has(drawing.id)) await api.release(job);
  }

  private async one(drawing: Drawing, candidate: Candidate, sent: () => void): Promise<void> {
    if (ended(candidate)) return;
    const stop = new AbortController();
    this.stops.set(candidate.key, stop);
    let stored = false;
    try {
      if (!candidate.job) {
        const path = drawing.kind === "layer" ? "/v1/layers" : "/v1/extractions";
        const job = await api.start(path, await this.form(drawing, candidate), candidate.key);
        candidate.job = job.id;
        if (stop.signal.aborted) return void this.drop(drawing, job.id);
        candidate.status = "queued";
        candidate.position = job.queue_position ?? null;
        this.tell(drawing);
        await this.keep(drawing);
      }
      sent();
      await this.untilEnd(drawing, candidate, candidate.job, stop.signal);
      if (!stop.signal.aborted) stored = await this.fetched(drawing, candidate);
    } catch (error) {
      if (!stop.signal.aborted && !(await this.fetchedElsewhere(drawing, candidate))) this.failed(candidate, error);
    } finally {
      this.stops.delete(candidate.key);
      candidate.preview = null;
      this.tell(drawing);
      // Not before both are kept here: a page that is closed in between asks again.
      if ((await this.keep(drawing)) && stored && candidate.job) void api.release(candidate.job);
    }
  }

  private async form(drawing: Drawing, candidate: Candidate): Promise<FormData> {
    const form = new FormData();
    const base = await persist.picture(drawing.base);
    form.set("background", base, "background.png");
    for (const [name, value] of fieldsOf(drawing.form, candidate.seed)) if (value !== "") form.set(name, value);
    if (drawing.reference) {
      const shown = await persist.picture(drawing.reference);
      form.set(drawing.kind === "layer" ? "reference" : "composite", shown, "picture.png");
    }
    if (drawing.kind === "extraction") form.set("refit", "true");
    return form;
  }

  /** Follow a job to its end: by its events when it is its turn, and by asking now and then. */
  private async untilEnd(drawing: Drawing, candidate: Candidate, id: string, signal: AbortSignal): Promise<void> {
    const end = new AbortController();
    const until = AbortSignal.any([signal, end.signal]);
    let follows = false;
    const followed = this.streams.run(until, () => {
      follows = true;
      return api.follow(id, candidate.lastEvent, (event) => this.heard(drawing, candidate, event), until);
    });
    try {
      await Promise.race([followed, this.asked(drawing, candidate, id, () => follows, until)]);
    } finally {
      followed.catch(() => undefined);
      end.abort();
    }
  }

  /** Ask for what events do not tell: the place in the queue, and all of it while nobody follows. Comes back at the end of the job. */
  private async asked(drawing: Drawing, candidate: Candidate, id: string, follows: () => boolean, until: AbortSignal): Promise<void> {
    for (await api.pause(ASK_MS, until); !until.aborted; await api.pause(ASK_MS, until)) {
      if (follows() && candidate.status !== "queued") continue;
      const job = await api.job(id).catch(() => null);
      if (!job || until.aborted) continue;
      if (job.status !== "queued" && job.status !== "running") return;
      candidate.position = job.queue_position ?? candidate.position;
      if (!follows()) candidate.status = job.status;
      if (!follows() && job.progress) Object.assign(candidate, job.progress);
      this.tell(drawing);
    }
  }

  private heard(drawing: Drawing, candidate: Candidate, event: api.JobEvent): void {
    candidate.lastEvent = event.id;
    const data = event.data as { position?: number; step?: number; steps?: number; image?: string };
    if (event.name === "queued") candidate.position = data.position ?? candidate.position;
    if (event.name === "started") candidate.status = "running";
    if (event.name === "progress") {
      candidate.status = "running";
      candidate.step = data.step ?? candidate.step;
      candidate.steps = data.steps ?? candidate.steps;
    }
    if (event.name === "preview") candidate.preview = data.image ?? candidate.preview;
    this.tell(drawing);
  }

  /** The end as the service tells it: a layer, or why there is none. Returns whether nothing on the service is needed any more. */
  private async fetched(drawing: Drawing, candidate: Candidate): Promise<boolean> {
    const job = await api.patiently(() => api.job(candidate.job ?? ""));
    if (job.status === "canceled") {
      candidate.status = "canceled";
      return true;
    }
    if (job.status === "failed" && job.problem) {
      candidate.problem = job.problem;
      candidate.status = "failed";
      return true;
    }
    const { doc, pictures } = read(await api.result(job.id, "zip"));
    const stored = await persist.putPictures(pictures);
    const name = drawing.form.prompt;
    candidate.layers = doc.layers
      .filter((layer) => layer.role === "foreground")
      .map((layer) => ({ ...layer, id: `layer-${random()}`, name: name || layer.name, drawing: drawing.id }));
    candidate.warnings = job.warnings ?? [];
    if (candidate.status !== "canceled") {
      candidate.status = "done";
      this.arrived(drawing, candidate);
    }
    return stored;
  }

  /** What the service has forgotten, another tab may have fetched. Returns whether it has. */
  private async fetchedElsewhere(drawing: Drawing, candidate: Candidate): Promise<boolean> {
    const kept = await persist.drawing(drawing.id).catch(() => undefined);
    const same = kept?.candidates.find((one) => one.key === candidate.key && done(one));
    if (!same) return false;
    Object.assign(candidate, same);
    this.arrived(drawing, candidate);
    return true;
  }

  private failed(candidate: Candidate, error: unknown): void {
    candidate.status = "failed";
    const away = { type: "urn:bfs:problem:away", title: "", status: 0, detail: "" };
    candidate.problem = error instanceof api.Problem ? error.body : error instanceof api.Away ? away : { ...away, type: "bug", detail: String(error) };
  }

  private tell(drawing: Drawing): void {
    this.changed(drawing);
  }
}
