/** Two fingers on an element: that they begin, how much they zoom, about which point of it, and how far they move. */

interface Fingers {
  readonly x: number;
  readonly y: number;
  readonly distance: number;
}

export function pinch(element: HTMLElement, onBegin: () => void, onMove: (zoom: number, point: { x: number; y: number }, dx: number, dy: number) => void): void {
  let last: Fingers | null = null;
  const start = (event: TouchEvent): void => {
    last = fingers(element, event.touches);
    if (last) onBegin();
  };
  const move = (event: TouchEvent): void => {
    const now = fingers(element, event.touches);
    if (now && last) {
      event.preventDefault();
      onMove(now.distance / last.distance, now, now.x - last.x, now.y - last.y);
    }
    last = now;
  };
  element.addEventListener("touchstart", start, { passive: true });
  element.addEventListener("touchmove", move, { passive: false });
  element.addEventListener("touchend", start, { passive: true });
}

function fingers(element: HTMLElement, touches: TouchList): Fingers | null {
  const [a, b] = [touches[0], touches[1]];
  if (!a || !b) return null;
  const frame = element.getBoundingClientRect();
  const distance = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  return { x: (a.clientX + b.clientX) / 2 - frame.left, y: (a.clientY + b.clientY) / 2 - frame.top, distance: Math.max(distance, 1) };
}
