/** What takes the pointer over the selected layers: invisible rectangles with handles, which their pictures follow. */

import type Konva from "konva/lib/Core";
import type { Node } from "konva/lib/Node";
import type { Image as KonvaImage } from "konva/lib/shapes/Image";
import { Rect } from "konva/lib/shapes/Rect";
import { Transformer } from "konva/lib/shapes/Transformer";
import type { App } from "./app";
import { MAX_SCALE, shownHeight, shownWidth, type Doc, type Layer } from "./document";

export const CORNERS = ["top-left", "top-right", "bottom-left", "bottom-right"];

export class Grips {
  readonly frames = new Transformer({ rotateEnabled: false, flipEnabled: false, ignoreStroke: true, keepRatio: true, enabledAnchors: CORNERS });
  private readonly grips = new Map<string, Rect>();
  private dropping = false;

  constructor(
    private readonly app: App,
    private readonly overlay: Konva.Layer,
    private readonly image: (id: string) => KonvaImage | undefined,
  ) {
    overlay.add(this.frames);
    this.frames.on("transformend", () => this.take());
    overlay.on("dragend", (event) => {
      if (event.target.name() === "grip") this.take();
    });
  }

  /** Whether the pointer holds them: then they are its, and not the document's. */
  get held(): boolean {
    return this.frames.isTransforming() || [...this.grips.values()].some((grip) => grip.isDragging());
  }

  /** Let go without taking anything over. */
  drop(): void {
    this.dropping = true;
    this.frames.stopTransform();
    for (const grip of this.grips.values()) grip.stopDrag();
    this.dropping = false;
  }

  show(doc: Doc): void {
    if (this.held) return;
    const { tool, selection } = this.app;
    const wanted = tool === "move" ? doc.layers.filter((layer) => selection.includes(layer.id) && layer.role === "foreground") : [];
    for (const [id, grip] of this.grips) {
      if (wanted.some((layer) => layer.id === id)) continue;
      grip.destroy();
      this.grips.delete(id);
    }
    const nodes = wanted.map((layer) => {
      const grip = this.grips.get(layer.id) ?? this.made(layer.id);
      const { x, y, locked } = layer;
      give(grip, { x, y, width: shownWidth(layer), height: shownHeight(layer), scaleX: 1, scaleY: 1, draggable: !locked });
      return grip;
    });
    this.frames.nodes(nodes);
    this.frames.resizeEnabled(wanted.every((layer) => !layer.locked));
    this.frames.moveToTop();
  }

  private made(id: string): Rect {
    const grip = new Rect({ draggable: true, name: "grip", fill: "rgba(0,0,0,0)" });
    this.grips.set(id, grip);
    this.overlay.add(grip);
    grip.on("dragmove transform", () => {
      grip.position({ x: Math.round(grip.x()), y: Math.round(grip.y()) });
      this.follow(id, grip);
    });
    return grip;
  }

  /** The picture under a grip, while it is being moved. */
  private follow(id: string, grip: Node): void {
    const layer = this.app.doc?.layers.find((one) => one.id === id);
    const image = this.image(id);
    if (!layer || !image) return;
    const scale = scaleOf(grip, layer);
    give(image, { x: grip.x(), y: grip.y(), width: Math.round(layer.width * scale), height: Math.round(layer.height * scale) });
  }

  /** Where all grips are now becomes where their layers are. */
  private take(): void {
    if (this.dropping) return;
    this.app.changed(); // what was not shown meanwhile
    this.app.look([...this.grips.keys()], (layer) => {
      const grip = this.grips.get(layer.id);
      return grip ? { x: Math.round(grip.x()), y: Math.round(grip.y()), scale: scaleOf(grip, layer) } : {};
    });
  }
}

function scaleOf(grip: Node, layer: Layer): number {
  if (grip.scaleX() === 1) return layer.scale;
  const scale = (grip.width() * grip.scaleX()) / layer.width;
  return Math.min(Math.max(Math.round(scale * 1000) / 1000, 0.01), MAX_SCALE);
}

/** Set some attributes of a node; Konva's types want all of them. */
export function give(node: Node, attributes: object): void {
  node.setAttrs(attributes);
}
