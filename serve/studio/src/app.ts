/** The state of the page: the document with its history, the form, the drawings. Panels read it, and follow its changes. */

import type * as api from "./api";
import * as edit from "./document";
import type { Doc, Layer, Look } from "./document";
import { Drawer, type Candidate, type Drawing } from "./drawing";
import { sentence } from "./errors";
import { emptyForm, type Form } from "./form";
import { boxBetween, defaultBox, type Box } from "./geometry";
import { History } from "./history";
import { arrived, takeUp } from "./painting";
import * as persist from "./persist";

export type Tool = "box" | "move";
export interface Notice {
  readonly kind: "info" | "error";
  readonly text: string;
}

/** Where a tab remembers its work. */
export const WORK = "bfs-work";
const SAVE_MS = 150;

export class App {
  history: History<Doc> | null = null;
  form: Form = emptyForm();
  tool: Tool = "box";
  selection: string[] = [];
  drawings: Drawing[] = [];
  /** The drawing whose candidates are shown, and the candidate that the canvas shows as a preview. */
  current: Drawing | null = null;
  shown: Candidate | null = null;
  models: api.Model[] = [];
  notice: Notice | null = null;
  away = false;
  /** Whether something could not be kept here. */
  unkept = false;
  busy = 0;
  /** Whether the form's fields hold what can be asked for; what cannot is shown to the user. */
  formHolds = (): boolean => true;
  workId = edit.random();
  title = "";
  /** The seed of the last drawing: the next one gets another, unless it is locked or was typed in. */
  usedSeed: number | null = null;
  private saving: ReturnType<typeof setTimeout> | null = null;
  private waiting = false;
  private readonly listeners: (() => void)[] = [];
  readonly drawer = new Drawer(
    () => this.changed(),
    (drawing, candidate) => arrived(this, drawing, candidate),
  );

  get doc(): Doc | null {
    return this.history?.present ?? null;
  }

  /** The document as it is, was, and may be again. */
  get documents(): Doc[] {
    const saved = this.history?.saved();
    return saved ? [...saved.past, saved.present, ...saved.future] : [];
  }

  get model(): api.Model | undefined {
    return this.models.find((model) => model.name === this.form.model) ?? this.models.find((model) => model.default);
  }

  /** The form without what is not on offer any more: its fields are hidden then. */
  get asked(): Form {
    const { form, model, models } = this;
    const known = form.model === null || models.length === 0 || models.some((one) => one.name === form.model);
    const shown = model?.state !== "ready" || model.capabilities.includes("reference");
    return { ...form, model: known ? form.model : null, reference: shown ? form.reference : null };
  }

  /** What the canvas shows of a drawing that is not in the document: a candidate that is looked at, or one on its way. */
  get previewed(): Candidate | null {
    if (this.current?.work !== this.workId) return null;
    return this.shown ?? this.current.candidates.find((one) => one.preview && one.status !== "canceled") ?? null;
  }

  get selected(): Layer[] {
    return this.doc?.layers.filter((layer) => this.selection.includes(layer.id)) ?? [];
  }

  // Telling

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Let the panels follow, once for all changes of a moment. */
  changed(): void {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      for (const listener of this.listeners) listener();
    });
  }

  say(text: string): void {
    this.notice = { kind: "info", text };
    this.changed();
  }

  fail(error: unknown): void {
    console.warn(error);
    this.notice = { kind: "error", text: sentence(error) };
    this.changed();
  }

  dismiss(): void {
    this.notice = null;
    this.changed();
  }

  /** Do something that takes a moment; what goes wrong is told. */
  async attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
    this.busy++;
    this.changed();
    try {
      return await work();
    } catch (error) {
      this.fail(error);
      return undefined;
    } finally {
      this.busy--;
      this.changed();
    }
  }

  // Documents

  commit(doc: Doc, key = ""): void {
    if (!this.history?.commit(doc, key)) return;
    this.selection = this.selection.filter((id) => edit.find(doc, id));
    this.save();
    this.changed();
  }

  undo(): void {
    this.travel(this.history?.undo());
  }

  redo(): void {
    this.travel(this.history?.redo());
  }

  private travel(moved: boolean | undefined): void {
    if (!moved) return;
    const doc = this.doc;
    this.selection = this.selection.filter((id) => doc && edit.find(doc, id));
    this.save();
    this.changed();
  }

  /** Begin with a document, as one of its own. */
  begin(doc: Doc, title: string, form: Partial<Form> = {}): void {
    this.flush();
    this.workId = edit.random();
    this.title = title;
    this.history = new History<Doc>({ past: [], present: doc, future: [] });
    this.selection = [];
    this.current = this.shown = null;
    this.tool = "box";
    this.form = { ...this.form, box: defaultBox(doc), reference: null, ...form };
    this.rememberHere();
    this.save();
    this.changed();
  }

  close(): void {
    this.flush();
    this.history = null;
    this.current = this.shown = null;
    sessionStorage.removeItem(WORK);
    this.changed();
  }

  resume(work: persist.Work, asCopy: boolean): void {
    this.workId = asCopy ? edit.random() : work.id;
    this.title = work.title;
    this.history = new History(work.history);
    this.form = { ...emptyForm(), ...work.form };
    this.selection = [];
    this.current = this.shown = null;
    this.rememberHere();
    if (asCopy) this.save(); // its drawings stay with the original
    else takeUp(this);
    this.changed();
  }

  /** The drawings as they are kept, by whichever tab; those that are carried out here are known better. */
  async readDrawings(): Promise<void> {
    const kept = await persist.drawings();
    const here = this.drawings.filter((drawing) => this.drawer.carries(drawing) || !kept.some(({ id }) => id === drawing.id));
    const others = kept.filter(({ id }) => !here.some((drawing) => drawing.id === id));
    this.drawings = [...here, ...others].sort((a, b) => b.created - a.created);
  }

  private rememberHere(): void {
    sessionStorage.setItem(WORK, this.workId);
  }

  save(): void {
    if (this.saving !== null) clearTimeout(this.saving);
    this.saving = setTimeout(() => this.flush(), SAVE_MS);
  }

  /** Write now what was about to be written. */
  flush(): void {
    if (this.saving === null || !this.history) return;
    clearTimeout(this.saving);
    this.saving = null;
    const work = { id: this.workId, title: this.title, history: this.history.saved(), form: this.form, updated: Date.now(), thumb: this.thumb() };
    void persist.putWork(work);
  }

  /** Set by the stage: a small picture of the canvas. */
  thumb: () => string = () => "";

  setForm(change: Partial<Form>): void {
    this.form = { ...this.form, ...change };
    this.save();
    this.changed();
  }

  setBox(box: Box | null): void {
    const doc = this.doc;
    if (doc) this.setForm({ box: box && boxBetween(...box, doc) });
  }

  setTool(tool: Tool): void {
    this.tool = tool;
    this.changed();
  }

  select(ids: string[], add = false): void {
    this.selection = add ? [...this.selection.filter((id) => !ids.includes(id)), ...ids] : ids;
    this.changed();
  }

  look(ids: readonly string[], look: Look | ((layer: Layer) => Look), key = ""): void {
    if (this.doc) this.commit(edit.update(this.doc, ids, look), key && `${key} ${ids.join()}`);
  }
}
