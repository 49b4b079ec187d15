/** Draws the timeline. What lies where is decided in lanes.ts. */

import { functionColour } from './colours';
import { seconds } from './format';
import { Strip, View, firstAfter, freed, spans, ticks } from './lanes';
import { Task } from './picture';

export const LANE = 24;
export const AXIS = 22;

export interface Scene {
  rows: readonly Strip[];
  view: View;
  now: number;
  width: number;
  gutter: number;
  origin: number;
  numbers: ReadonlyMap<string, number>;
  /** What is written before a strip. */
  label: (strip: Strip) => string;
  path: readonly Task[];
  /** Ids of the path. */
  wanted: ReadonlySet<string>;
  chosen: string;
}

/** Pixels under which a task is drawn without its phases. */
const SMALL = 4;

interface Paint { context: CanvasRenderingContext2D; x: (time: number) => number; dim: string; line: string; fg: string; failed: string }

export function draw(canvas: HTMLCanvasElement, scene: Scene): void {
  const { rows, view, width, gutter } = scene;
  const height = rows.length * LANE + AXIS;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  const context = canvas.getContext('2d')!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(name).trim() || '#888';
  const paint: Paint = {
    context, dim: style.color, line: colour('--rn-gridline'), fg: colour('--rn-strong'), failed: colour('--rn-failed-mark'),
    x: time => gutter + ((time - view.from) / (view.to - view.from)) * (width - gutter)
  };
  context.font = `11px ${style.fontFamily}`;
  context.textBaseline = 'middle';
  drawAxis(paint, scene, rows.length * LANE, height);
  rows.forEach((strip, index) => {
    const top = index * LANE;
    if (strip.part === 0) {
      context.fillStyle = paint.line;
      context.fillRect(0, top - 0.5, width, index ? 1 : 0);
      context.fillStyle = paint.dim;
      context.fillText(fit(context, scene.label(strip), gutter - 8), 4, top + LANE / 2);
    }
  });
  context.save();
  context.beginPath();
  context.rect(gutter, 0, width - gutter, rows.length * LANE);
  context.clip();
  const places = new Map<string, number>();
  rows.forEach((strip, index) => drawStrip(paint, scene, strip, index * LANE, places));
  drawPath(paint, scene, places);
  context.restore();
}

function drawAxis(paint: Paint, scene: Scene, bottom: number, height: number): void {
  const { context, x } = paint;
  for (const at of ticks(scene.view, (scene.width - scene.gutter) / 90, scene.origin)) {
    context.fillStyle = paint.line;
    context.fillRect(Math.round(x(at)), 0, 1, bottom);
    context.fillStyle = paint.dim;
    const text = mark(at - scene.origin);
    const wide = context.measureText(text).width;
    if (x(at) + 4 + wide <= scene.width) {
      context.fillText(text, Math.max(scene.gutter, x(at)) + 3, (bottom + height) / 2 + 1);
    }
  }
}

/** A time on the axis: "0", "20 s", "1.5 s", "250 ms". */
function mark(time: number): string {
  const size = Math.abs(time);
  if (size < 1e-9) {
    return '0';
  }
  return size >= 1 && size < 60 ? `${+time.toFixed(3)} s` : `${time < 0 ? '−' : ''}${seconds(size)}`;
}

function drawStrip(paint: Paint, scene: Scene, strip: Strip, top: number, places: Map<string, number>): void {
  const { x } = paint;
  const { view, now } = scene;
  let drawnTo = -Infinity; // what falls into a pixel already drawn is left out
  for (let i = firstAfter(strip.tasks, view.from, now); i < strip.tasks.length; i++) {
    const task = strip.tasks[i];
    if (task.started > view.to) {
      break;
    }
    if (scene.wanted.has(task.id)) {
      places.set(task.id, top);
    }
    const right = x(freed(task) || now);
    if (right < drawnTo + 0.5) {
      continue;
    }
    if (right - x(task.started) < SMALL && task.state === 'FINISHED' && task.id !== scene.chosen) {
      const left = Math.max(x(task.started), drawnTo);
      paint.context.fillStyle = functionColour(scene.numbers, task.name).fill;
      paint.context.fillRect(left, top + 5, Math.max(right - left, 1), LANE - 9);
    } else {
      drawTask(paint, scene, task, top);
    }
    drawnTo = right;
  }
}

function drawTask(paint: Paint, scene: Scene, task: Task, top: number): void {
  const { context, x } = paint;
  const { fill, text } = functionColour(scene.numbers, task.name);
  const high = LANE - 9;
  for (const span of spans(task, scene.now)) {
    const from = x(span.from);
    const wide = Math.max(x(span.to) - from, span.phase === 'run' ? 1 : 0);
    if (span.phase === 'queue' || wide <= 0) {
      continue;
    }
    context.globalAlpha = span.phase === 'run' ? 1 : 0.45;
    context.fillStyle = fill;
    context.fillRect(from, top + 5, Math.max(wide - (wide > 3 ? 1 : 0), 0.6), high);
    context.globalAlpha = 1;
    if (span.phase === 'run' && wide > 30) {
      const left = Math.max(from, x(scene.view.from));
      context.fillStyle = text;
      context.fillText(fit(context, task.title || task.name, Math.min(wide, x(scene.view.to) - left) - 8), left + 4, top + 5 + high / 2);
    }
    if (span.phase === 'run' && (task.state === 'FAILED' || task.state === 'CANCELLED')) {
      context.fillStyle = paint.failed;
      context.fillRect(from, top + 2, Math.max(wide - 1, 2), 3);
    }
  }
  if (task.id === scene.chosen) {
    const left = x(task.started);
    context.strokeStyle = paint.fg;
    context.lineWidth = 2;
    context.strokeRect(left - 1, top + 4, Math.max(x(task.ended || scene.now) - left, 2) + 1, high + 2);
  }
}

/** The tasks of the critical path have a line under them; bends join them. */
function drawPath(paint: Paint, scene: Scene, places: Map<string, number>): void {
  const { context, x } = paint;
  context.strokeStyle = paint.fg;
  context.lineWidth = 2;
  context.beginPath();
  let last: [number, number] | null = null;
  for (const task of scene.path) {
    const top = places.get(task.id);
    if (top === undefined) {
      last = null;
      continue;
    }
    const y = top + LANE - 2;
    if (last) {
      context.moveTo(...last);
      context.lineTo(x(task.started), y);
    }
    context.moveTo(x(task.started), y);
    last = [x(task.ended || scene.now), y];
    context.lineTo(...last);
  }
  context.stroke();
}

export function fit(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) {
    return text;
  }
  let cut = text;
  while (cut.length > 1 && context.measureText(`${cut}…`).width > width) {
    cut = cut.slice(0, -1);
  }
  return width > 14 ? `${cut}…` : '';
}
