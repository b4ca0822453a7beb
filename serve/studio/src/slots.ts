/** At most so many at once: the others stand in line. */

export class Slots {
  private readonly line: (() => void)[] = [];

  constructor(private free: number) {}

  /** Do it when it is its turn, unless it is called off until then. */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((turn) => this.line.push(turn));
    try {
      return signal.aborted ? undefined : await work();
    } finally {
      const next = this.line.shift();
      if (next) next();
      else this.free++;
    }
  }
}
