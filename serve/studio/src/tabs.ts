/** Several tabs, each with a work of its own: a work that another tab holds is opened as a copy. */

const PATIENCE_MS = 120;

interface Said {
  readonly ask?: string;
  readonly held?: string;
}

export class Tabs {
  private readonly channel = new BroadcastChannel("bfs-studio");

  constructor(held: () => string | null) {
    this.channel.addEventListener("message", (event: MessageEvent<Said>) => {
      if (event.data.ask && event.data.ask === held()) this.channel.postMessage({ held: event.data.ask } satisfies Said);
    });
  }

  /** Whether another tab holds this work now. */
  isHeld(work: string): Promise<boolean> {
    return new Promise((resolve) => {
      const heard = (event: MessageEvent<Said>): void => {
        if (event.data.held === work) end(true);
      };
      const end = (answer: boolean): void => {
        clearTimeout(timer);
        this.channel.removeEventListener("message", heard);
        resolve(answer);
      };
      const timer = setTimeout(() => end(false), PATIENCE_MS);
      this.channel.addEventListener("message", heard);
      this.channel.postMessage({ ask: work } satisfies Said);
    });
  }
}
