/** The timeline's geometry: which tasks lie in which strip, what the time went into, what held it up. Pure. */

import { count, counted, seconds } from './format';
import { Task } from './picture';

export type Phase = 'queue' | 'fetch' | 'run' | 'store';
export const PHASES: Phase[] = ['queue', 'fetch', 'run', 'store'];

export interface Span { task: Task; phase: Phase; from: number; to: number }
/** Tasks of one worker that don't overlap, in order; a worker that runs several at once has several strips. */
export interface Strip { worker: number; /** 0 for a worker's first strip. */ part: number; tasks: Task[] }
export interface View { from: number; to: number }

/** Strips of one worker; what overlaps even more is laid over the last one. */
const MOST_PARTS = 6;

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

/**
 * When a task's worker could go on to the next one; 0: not yet. Of many small tasks the kernel hears together, later:
 * until it does, their results count as being stored (`ended`), though the worker has been at the next ones.
 */
export const freed = (task: Task) => task.ran || task.ended;

/** The strips, in the order of the workers' ids. */
export function strips(tasks: Iterable<Task>): Strip[] {
  const started = [...tasks].filter(task => task.worker && task.started);
  started.sort((a, b) => a.started - b.started);
  const found = new Map<number, Strip[]>();
  for (const task of started) {
    let own = found.get(task.worker);
    if (!own) {
      found.set(task.worker, (own = []));
    }
    let strip = own.find(one => {
      const last = one.tasks[one.tasks.length - 1];
      return freed(last) !== 0 && freed(last) <= task.started;
    });
    if (!strip && own.length < MOST_PARTS) {
      own.push((strip = { worker: task.worker, part: own.length, tasks: [] }));
    }
    (strip ?? own[own.length - 1]).tasks.push(task);
  }
  return [...found.keys()].sort((a, b) => a - b).flatMap(worker => found.get(worker)!);
}

/**
 * The time in which anything happened, with a small margin; null when nothing did.
 *
 * @param part - whether some tasks are not among these: what is before the first that ran is not known then.
 */
export function extent(tasks: Iterable<Task>, now: number, part = false): (View & { start: number }) | null {
  let from = Infinity;
  let to = -Infinity;
  for (const task of tasks) {
    if (task.started) {
      from = Math.min(from, (!part && task.submitted) || task.started);
      to = Math.max(to, task.ended || now);
    }
  }
  if (to < from) {
    return null;
  }
  const margin = Math.max((to - from) * 0.02, 0.001);
  return { from: from - margin, to: to + margin, start: from };
}

/** The index of the first task of a strip that ends after `time`. */
export function firstAfter(tasks: readonly Task[], time: number, now: number): number {
  let low = 0;
  let high = tasks.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((tasks[middle].ended || now) < time) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** The task of a strip at a time, give or take `slack` seconds. */
export function taskAt(strip: Strip, time: number, slack: number, now: number): Task | null {
  const first = firstAfter(strip.tasks, time - slack, now);
  let near: Task | null = null;
  let under: Task | null = null;
  for (let i = first; i < strip.tasks.length && strip.tasks[i].started <= time + slack; i++) {
    const task = strip.tasks[i];
    if (task.started <= time && (task.ended || now) >= time) {
      under = task; // of several, the one that is drawn last
    }
    near = near ?? task;
  }
  return under ?? near;
}

/** Zooms by `factor` (under 1: closer) around `at`, to at least 100 µs. */
export function zoom(view: View, factor: number, at: number): View {
  const span = Math.max(1e-4, (view.to - view.from) * factor);
  const share = (at - view.from) / (view.to - view.from);
  return { from: at - span * share, to: at + span * (1 - share) };
}

/**
 * What the strips' time in view went into, in shares of all of it, so that they add up to 100 %:
 * "4 workers, 12 s: 64 % running (train 40 %, load 24 %), 5 % fetching inputs, 1 % storing results, 30 % idle".
 *
 * @param part - whether some tasks are not among these.
 */
export function headline(rows: readonly Strip[], view: View, now: number, start: number, part = false): string {
  const from = Math.max(view.from, start);
  const to = Math.min(view.to, now);
  const wall = Math.max(to - from, 0);
  const whole = wall * rows.length;
  if (whole <= 0) {
    return 'Nothing ran in this stretch';
  }
  const byName = new Map<string, number>();
  const sums = { fetch: 0, run: 0, store: 0 };
  const inside = (begin: number, end: number) => Math.max(0, Math.min(end, to) - Math.max(begin, from));
  for (const strip of rows) {
    for (let i = firstAfter(strip.tasks, from, now); i < strip.tasks.length && strip.tasks[i].started < to; i++) {
      // The same as `spans` says, without making them: this runs over ten thousand tasks.
      const task = strip.tasks[i];
      const next = strip.tasks[i + 1]?.started ?? Infinity;
      const end = Math.max(freed(task) || now, Math.min(task.ended || now, next));
      const fetched = task.fetched || task.started;
      const ran = inside(fetched, task.ran || end);
      sums.fetch += inside(task.started, fetched);
      sums.run += ran;
      sums.store += task.ran ? inside(task.ran, end) : 0;
      byName.set(task.name, (byName.get(task.name) ?? 0) + ran);
    }
  }
  const shares = [sums.run, sums.fetch, sums.store].map(value => Math.min(100, (100 * value) / whole));
  const [run, fetch, store] = rounded([...shares, Math.max(0, 100 - shares[0] - shares[1] - shares[2])]);
  const idle = 100 - run - fetch - store;
  const names = [...byName].sort((a, b) => b[1] - a[1]).slice(0, 3)
    .filter(([, value]) => value / whole >= 0.01)
    .map(([name, value]) => `${name} ${Math.round((100 * value) / whole)} %`);
  const workers = new Set(rows.map(strip => strip.worker)).size;
  return [
    `${counted(workers, 'worker')} in ${seconds(wall)}: ${run} % running${names.length > 1 ? ` (${names.join(', ')})` : ''}`,
    fetch ? `${fetch} % fetching inputs` : '', store ? `${store} % storing results` : '', `${idle} % idle${part ? ' or not known here' : ''}`
  ].filter(Boolean).join(', ');
}

/** Whole percentages with the same sum (largest remainders). */
function rounded(shares: number[]): number[] {
  const out = shares.map(Math.floor);
  const left = Math.round(shares.reduce((a, b) => a + b, 0)) - out.reduce((a, b) => a + b, 0);
  const order = shares.map((value, index) => ({ index, rest: value - out[index] })).sort((a, b) => b.rest - a.rest);
  for (let i = 0; i < left; i++) {
    out[order[i].index]++;
  }
  return out;
}

/** The functions of the strips, those whose tasks took most time first. */
export function busiest(rows: readonly Strip[], now: number): string[] {
  const times = new Map<string, number>();
  for (const { tasks } of rows) {
    for (const task of tasks) {
      times.set(task.name, (times.get(task.name) ?? 0) + (freed(task) || now) - task.started);
    }
  }
  return [...times.keys()].sort((a, b) => times.get(b)! - times.get(a)!);
}

const LONGEST_PATH = 500;

/**
 * What held up the end: from the task that ended last, back to what each one waited for: the input
 * that came last, or else the task that had its worker before it. First to last.
 */
export function criticalPath(rows: readonly Strip[], tasks: ReadonlyMap<string, Task>): Task[] {
  let last: Task | null = null;
  for (const strip of rows) {
    for (const task of strip.tasks) {
      if (task.ended && (!last || task.ended > last.ended)) {
        last = task;
      }
    }
  }
  const path: Task[] = [];
  const seen = new Set<string>();
  let task: Task | null | undefined = last as Task | null;
  while (task && !seen.has(task.id) && path.length < LONGEST_PATH) {
    seen.add(task.id);
    path.push(task);
    const input: Task | undefined = task.after ? tasks.get(task.after) : undefined;
    const former: Task | undefined = before(rows, task);
    const ready: number = input?.ended || task.submitted;
    // It waited for its worker after its inputs were there, if the one before it ended later than that.
    task = former && former.ended > ready ? former : input;
  }
  return path.reverse();
}

/** The task that its worker had before this one. */
function before(rows: readonly Strip[], task: Task): Task | undefined {
  for (const { worker, tasks } of rows) {
    if (worker !== task.worker) {
      continue;
    }
    let low = 0;
    let high = tasks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tasks[middle].started < task.started) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    while (low < tasks.length && tasks[low].started === task.started && tasks[low].id !== task.id) {
      low++;
    }
    if (tasks[low]?.id === task.id) {
      return tasks[low - 1];
    }
  }
  return undefined;
}

/** "critical path 8.1 s: load → train ×3 → score". */
export function pathWords(path: readonly Task[]): string {
  if (path.length < 2) {
    return '';
  }
  const steps: [string, number][] = [];
  for (const task of path) {
    const lastStep = steps[steps.length - 1];
    if (lastStep && lastStep[0] === task.name) {
      lastStep[1]++;
    } else {
      steps.push([task.name, 1]);
    }
  }
  const words = steps.map(([name, times]) => (times > 1 ? `${name} ×${count(times)}` : name));
  const shown = words.length > 6 ? [...words.slice(0, 3), '…', ...words.slice(-2)] : words;
  const long = path[path.length - 1].ended - (path[0].submitted || path[0].started);
  return `critical path ${seconds(long)}: ${shown.join(' → ')}`;
}

const MINUTES = [30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400];

/** Round positions, counted from `origin`, for about `wanted` marks on the axis. */
export function ticks(view: View, wanted: number, origin: number): number[] {
  const rough = (view.to - view.from) / Math.max(1, wanted);
  const power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = MINUTES.find(s => rough > 20 && s >= rough) ?? [1, 2, 5, 10].map(m => m * power).find(s => s >= rough) ?? 10 * power;
  const out: number[] = [];
  for (let n = Math.ceil((view.from - origin) / step); origin + n * step <= view.to; n++) {
    out.push(origin + n * step);
  }
  return out;
}
