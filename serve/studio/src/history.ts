/** Undo and redo: two lists of what was, around what is. */

const LONGEST = 100;
const TOGETHER_MS = 1000;

export interface Saved<T> {
  readonly past: readonly T[];
  readonly present: T;
  readonly future: readonly T[];
}

export class History<T> {
  private past: T[];
  private future: T[];
  private last = { key: "", at: -Infinity };
  present: T;

  constructor(saved: Saved<T>) {
    this.past = [...saved.past];
    this.present = saved.present;
    this.future = [...saved.future];
  }

  /** Make `next` what is. Changes of one `key` that follow each other within a second are undone together. */
  commit(next: T, key = ""): boolean {
    if (next === this.present) return false;
    const now = performance.now();
    const together = key !== "" && key === this.last.key && now - this.last.at < TOGETHER_MS && this.past.length > 0;
    if (!together) this.past = [...this.past, this.present].slice(-LONGEST);
    this.last = { key, at: now };
    this.present = next;
    this.future = [];
    return true;
  }

  undo(): boolean {
    const before = this.past.pop();
    if (before === undefined) return false;
    this.future.push(this.present);
    this.present = before;
    this.last = { key: "", at: -Infinity };
    return true;
  }

  redo(): boolean {
    const after = this.future.pop();
    if (after === undefined) return false;
    this.past.push(this.present);
    this.present = after;
    this.last = { key: "", at: -Infinity };
    return true;
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  saved(): Saved<T> {
    return { past: this.past, present: this.present, future: this.future };
  }
}
