/**
 * The picture of the runtime as the views know it: full pictures replace it, changes are laid
 * over it. No DOM and no clock: the time of arrival is given (seconds, any origin).
 */

export const VERSION = 1;

export const STATES = [
  'FINISHED', 'RUNNING', 'SUBMITTED_TO_WORKER', 'PENDING_NODE_ASSIGNMENT',
  'PENDING_ARGS_AVAIL', 'CANCELLED', 'FAILED'
] as const;
export type State = (typeof STATES)[number];

/** What people call Ray's states. */
export const STATE_LABEL: Record<string, string> = {
  FINISHED: 'finished',
  RUNNING: 'running',
  SUBMITTED_TO_WORKER: 'at worker',
  PENDING_NODE_ASSIGNMENT: 'queued',
  PENDING_ARGS_AVAIL: 'awaits inputs',
  CANCELLED: 'cancelled',
  FAILED: 'failed'
};

export interface Task {
  id: string; name: string; kind: string; state: State; worker: number; pid: number;
  attempt: number; scope: number; actor: string; parent: string; submitted: number;
  started: number; fetched: number; ran: number; ended: number; error_type: string;
  error: string; size: number;
}
export interface Actor {
  id: string; class_name: string; name: string; namespace: string; state: string;
  worker: number; pid: number; pending: number; restarts: number; max_restarts: number;
  rss: number; death_cause: string; scope: number; detached: boolean;
}
export interface Obj {
  id: string; size: number; where: string; task: string; scope: number; names: string[];
  held: string[]; error: boolean;
}
export interface Worker {
  id: number; pid: number; state: string; task: string; actor: string; rss: number;
  cpu: number; started: number; finished: number; exit: string;
}
export interface Store {
  limit: number; used: number; spilled: number; pinned: number; inline: number;
  objects: number; resident: number;
}
export type Counts = Record<string, number>;

export type Life = 'waiting' | 'running' | 'starting' | 'stopped' | 'failed';

export interface Message { [key: string]: any }

export const ended = (state: string) => state === 'FINISHED' || state === 'FAILED' || state === 'CANCELLED';

/** Ended tasks kept here; the engine forgets on its own, this only bounds what it doesn't tell. */
const KEEP = 20000;

export class Picture {
  life: Life = 'waiting';
  why = '';
  version = -1;
  tasks = new Map<string, Task>();
  actors = new Map<string, Actor>();
  objects = new Map<string, Obj>();
  workers = new Map<number, Worker>();
  store: Store = { limit: 0, used: 0, spilled: 0, pinned: 0, inline: 0, objects: 0, resident: 0 };
  total: Counts = {};
  available: Counts = {};
  groups: Record<string, Counts> = {};
  cells: Record<string, string> = {};
  /** (kernel's clock, tasks ended until then), for the throughput. */
  history: [number, number][] = [];
  /** Grows with each change, so that views know what they may keep. */
  turn = 0;
  heard = 0;
  private kernelNow = 0;

  /** Takes in one message. Returns false for one that is no view message of this version. */
  apply(message: Message, at: number): boolean {
    if (message.v !== VERSION) {
      if (typeof message.v === 'number') {
        this.life = 'failed';
        this.why = `The kernel speaks version ${message.v} of the view messages, this page version ${VERSION}. ` +
          'Reload the page; if that does not help, install the same raynb in both places.';
        this.turn++;
      }
      return false;
    }
    this.heard = at;
    switch (message.kind) {
      case 'status':
        this.life = message.state;
        this.why = message.why ?? '';
        this.clear();
        break;
      case 'full':
        this.clear();
        this.lay(message);
        break;
      case 'change':
        if (this.life !== 'running') {
          return true; // a full picture is on its way
        }
        this.lay(message);
        break;
      case 'beat':
        break;
      default:
        return false;
    }
    this.turn++;
    return true;
  }

  /** Forgets everything: another kernel is looked at. */
  reset(): void {
    this.life = 'waiting';
    this.why = '';
    this.heard = 0;
    this.clear();
    this.turn++;
  }

  /** The kernel's clock now. */
  now(at: number): number {
    return this.kernelNow + Math.max(0, at - this.heardClock);
  }
  private heardClock = 0;

  private clear(): void {
    this.tasks.clear();
    this.actors.clear();
    this.objects.clear();
    this.workers.clear();
    this.groups = {};
    this.cells = {};
    this.history = [];
  }

  private lay(message: Message): void {
    this.life = 'running';
    this.why = '';
    this.version = message.version;
    this.kernelNow = message.now;
    this.heardClock = this.heard;
    this.rows(message, 'tasks', this.tasks);
    this.rows(message, 'actors', this.actors);
    this.rows(message, 'objects', this.objects);
    this.rows(message, 'workers', this.workers);
    this.store = message.store;
    this.total = message.total;
    this.available = message.available;
    this.groups = message.groups;
    Object.assign(this.cells, message.cells);
    for (const kind of Object.keys(message.gone ?? {})) {
      const map = (this as any)[kind];
      if (map instanceof Map) {
        for (const id of message.gone[kind]) {
          map.delete(id);
        }
      }
    }
    if (this.tasks.size > KEEP) {
      this.trim();
    }
    const done = total(this.groups, ended);
    this.history.push([message.now, done]);
    while (this.history.length > 2 && this.history[1][0] < message.now - 120) {
      this.history.shift();
    }
  }

  private rows(message: Message, kind: string, map: Map<any, any>): void {
    const columns: string[] = message.columns[kind];
    for (const values of message[kind]) {
      const row: any = {};
      for (let i = 0; i < columns.length; i++) {
        row[columns[i]] = values[i];
      }
      map.set(row.id, row);
    }
  }

  private trim(): void {
    for (const [id, task] of this.tasks) {
      if (this.tasks.size <= KEEP * 0.9) {
        return;
      }
      if (ended(task.state)) {
        this.tasks.delete(id);
      }
    }
  }

  cell(scope: number): string {
    return scope ? this.cells[scope] ?? `cell ${scope}` : '';
  }
}

/** Sums the counts of the states that `wanted` accepts, over all functions. */
export function total(groups: Record<string, Counts>, wanted: (state: string) => boolean): number {
  let sum = 0;
  for (const counts of Object.values(groups)) {
    for (const state of Object.keys(counts)) {
      if (wanted(state)) {
        sum += counts[state];
      }
    }
  }
  return sum;
}

/** State → count over all functions. */
export function byState(groups: Record<string, Counts>): Counts {
  const counts: Counts = {};
  for (const group of Object.values(groups)) {
    for (const state of Object.keys(group)) {
      counts[state] = (counts[state] ?? 0) + group[state];
    }
  }
  return counts;
}

/**
 * Tasks ended per second in each of the last `bins` seconds before `now`, oldest first. Between
 * two points of the history the rate is taken as even; after the last one as zero.
 */
export function rates(history: [number, number][], now: number, bins: number): number[] {
  const out = new Array<number>(bins).fill(0);
  const first = now - bins;
  for (let i = 1; i < history.length; i++) {
    const [t0, n0] = history[i - 1];
    const [t1, n1] = history[i];
    if (n1 <= n0 || t1 <= t0) {
      continue;
    }
    const perSecond = (n1 - n0) / (t1 - t0);
    const from = Math.max(0, Math.floor(t0 - first));
    const to = Math.min(bins - 1, Math.floor(t1 - first));
    for (let bin = from; bin <= to; bin++) {
      const overlap = Math.min(t1, first + bin + 1) - Math.max(t0, first + bin);
      if (overlap > 0) {
        out[bin] += perSecond * overlap;
      }
    }
  }
  return out;
}

/** How long the task has run, or ran (seconds); null before it started. */
export function duration(task: Task, now: number): number | null {
  if (!task.started) {
    return null;
  }
  return Math.max(0, (task.ended || now) - task.started);
}

export interface Filter { text: string; state: string; cell: string; group: string }

/** The tasks that pass the filter: running ones first, then the newest first. */
export function chosen(tasks: Iterable<Task>, filter: Filter): Task[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const out: Task[] = [];
  for (const task of tasks) {
    if (filter.state === 'waiting') {
      if (ended(task.state) || task.state === 'RUNNING') {
        continue;
      }
    } else if (filter.state && task.state !== filter.state) {
      continue;
    }
    if (filter.cell && String(task.scope) !== filter.cell) {
      continue;
    }
    if (filter.group && task.name !== filter.group) {
      continue;
    }
    if (words.length) {
      const hay = `${task.name} ${task.state} ${STATE_LABEL[task.state]} ${task.error_type} ${task.error} worker ${task.worker}`.toLowerCase();
      if (!words.every(word => hay.includes(word))) {
        continue;
      }
    }
    out.push(task);
  }
  const rank = (task: Task) => (task.state === 'RUNNING' ? 0 : 1);
  out.sort((a, b) => rank(a) - rank(b) || b.submitted - a.submitted);
  return out;
}

/**
 * CPU slots in use. A task that got what it waited for goes on at once, also when its slot was given
 * to another meanwhile; those are `resumed`, beyond the slots there are.
 */
export function slots(total: Record<string, number>, available: Record<string, number>): { whole: number; busy: number; resumed: number } {
  const whole = total.CPU ?? 0;
  const used = Math.max(0, whole - (available.CPU ?? 0));
  const round = (n: number) => +n.toFixed(2);
  return { whole: round(whole), busy: round(Math.min(used, whole)), resumed: round(Math.max(0, used - whole)) };
}
