/** The timeline's geometry: which spans lie in which lane, and what the time went into. Pure. */

import { Task } from './model';

export type Phase = 'queue' | 'fetch' | 'run' | 'store';
export const PHASES: Phase[] = ['queue', 'fetch', 'run', 'store'];

export interface Span { task: Task; phase: Phase; from: number; to: number }
export interface Lane { worker: number; tasks: Task[] }
export interface View { from: number; to: number }

/** The spans of one task; what has not ended yet reaches to `now`. */
export function spans(task: Task, now: number): Span[] {
  const out: Span[] = [];
  const add = (phase: Phase, from: number, to: number) => {
    if (from && to >= from) {
      out.push({ task, phase, from, to });
    }
  };
  add('queue', task.submitted, task.started || task.ended || now);
  if (!task.started) {
    return out;
  }
  const end = task.ended || now;
  // Workers report their times with the result: until then, all that is known is that it runs.
  const fetched = task.fetched || task.started;
  add('fetch', task.started, fetched);
  add('run', fetched, task.ran || end);
  add('store', task.ran, end);
  return out;
}

/** One lane for each worker that ran something, in the order of the workers' ids. */
export function lanes(tasks: Iterable<Task>): Lane[] {
  const found = new Map<number, Task[]>();
  for (const task of tasks) {
    if (task.worker && task.started) {
      let lane = found.get(task.worker);
      if (!lane) {
        found.set(task.worker, (lane = []));
      }
      lane.push(task);
    }
  }
  const out = [...found].map(([worker, own]) => ({
    worker,
    tasks: own.sort((a, b) => a.started - b.started)
  }));
  return out.sort((a, b) => a.worker - b.worker);
}

/** The time in which anything happened, with a small margin; null when nothing did. */
export function extent(tasks: Iterable<Task>, now: number): (View & { start: number }) | null {
  let from = Infinity;
  let to = -Infinity;
  for (const task of tasks) {
    if (task.started) {
      from = Math.min(from, task.submitted || task.started);
      to = Math.max(to, task.ended || now);
    }
  }
  if (to < from) {
    return null;
  }
  const margin = Math.max((to - from) * 0.02, 0.001);
  return { from: from - margin, to: to + margin, start: from };
}

/** Zooms by `factor` (under 1: closer) around `at`, to at least 100 µs. */
export function zoom(view: View, factor: number, at: number): View {
  const span = Math.max(1e-4, (view.to - view.from) * factor);
  const share = (at - view.from) / (view.to - view.from);
  return { from: at - span * share, to: at + span * (1 - share) };
}

/** Seconds that went into each phase within the view. */
export function breakdown(tasks: Iterable<Task>, view: View, now: number): Record<Phase, number> {
  const sums: Record<Phase, number> = { queue: 0, fetch: 0, run: 0, store: 0 };
  for (const task of tasks) {
    for (const span of spans(task, now)) {
      const inside = Math.min(span.to, view.to) - Math.max(span.from, view.from);
      if (inside > 0) {
        sums[span.phase] += inside;
      }
    }
  }
  return sums;
}

/** Round positions, counted from `origin`, for about `wanted` marks on the axis. */
export function ticks(view: View, wanted: number, origin: number): number[] {
  const rough = (view.to - view.from) / Math.max(1, wanted);
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough) ?? 10 * power;
  const out: number[] = [];
  for (let n = Math.ceil((view.from - origin) / step); origin + n * step <= view.to; n++) {
    out.push(origin + n * step);
  }
  return out;
}
