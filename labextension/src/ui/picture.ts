/**
 * The picture of the runtime: the one store that every view of a kernel reads. Full pictures replace
 * it, changes are laid over it, and what views count is kept up to date row by row. No DOM and no
 * clock: the time of arrival is given (seconds, any origin).
 */

import {
  Actor, KernelMessage, Node, Obj, PictureMessage, StatusMessage, Store, Task, TaskState, VERSION, Worker
} from './messages';

export type { Actor, Node, Obj, Store, Task, Worker } from './messages';
export type Counts = Record<string, number>;
export type Life = 'waiting' | 'running' | StatusMessage['state'];

export const ended = (state: string) => state === 'FINISHED' || state === 'FAILED' || state === 'CANCELLED';

/** Ended tasks kept here; the engine forgets on its own, this only bounds what it doesn't tell. */
const KEEP = 20000;

/** Changed tasks in one message from which on news is on its way all the time. */
const FLOOD = 100;

/** Seconds of the throughput's history. */
const MEMORY = 120;

type Kind = 'tasks' | 'actors' | 'objects' | 'workers' | 'nodes';

export class Picture {
  life: Life = 'waiting';
  why = '';
  /** Names one start of the runtime. */
  runtime = '';
  version = -1;
  readonly tasks = new Map<string, Task>();
  readonly actors = new Map<string, Actor>();
  readonly objects = new Map<string, Obj>();
  readonly workers = new Map<number, Worker>();
  /** The machines of a cluster; none on one machine. */
  nodes: Node[] = [];
  /** Ids of the tasks that run: exact, whatever rows were left out. */
  running = new Set<string>();
  /** Ids of the tasks at a breakpoint. */
  paused = new Set<string>();
  /** Scope → (rows of it, unfinished ones). */
  readonly scopes = new Map<number, [number, number]>();
  /** Task → the tasks that it submitted. */
  readonly children = new Map<string, Set<string>>();
  store: Store = { limit: 0, used: 0, spilled: 0, pinned: 0, inline: 0, objects: 0, resident: 0 };
  total: Counts = {};
  available: Counts = {};
  groups: Record<string, Counts> = {};
  /** State → count over all functions, and their sum. */
  states: Counts = {};
  submitted = 0;
  cells: Record<string, string> = {};
  /** Counts the changes of the graph of cells; 0: there is none. */
  graph = 0;
  /** (kernel's clock, tasks that had run to an end until then), for the throughput. */
  history: [number, number][] = [];
  /** Wall-clock seconds at the kernel's monotonic zero. */
  wall = 0;
  /** Grow with each change of the whole and of each kind, so that views know what they may keep. */
  turn = 0;
  readonly turns: Record<Kind, number> = { tasks: 0, actors: 0, objects: 0, workers: 0, nodes: 0 };
  heard = 0;
  private kernelNow = 0;
  private heardClock = 0;
  private flooded = false;

  /** Takes in one message. Returns false for one that is no view message of this version. */
  apply(message: KernelMessage, at: number): boolean {
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
        this.why = message.why;
        this.clear();
        break;
      case 'full': {
        const { history } = this;
        this.clear();
        if (message.runtime === this.runtime) {
          this.history = history; // a whole picture after a flood says nothing of the minute before it
        }
        this.lay(message);
        break;
      }
      case 'change':
        if (this.life !== 'running') {
          return true; // a full picture is on its way
        }
        this.lay(message);
        break;
      case 'beat':
        this.flooded = false;
        break;
      default:
        return false;
    }
    this.turn++;
    return true;
  }

  /** Forgets everything: the kernel has lost it. */
  reset(): void {
    this.life = 'waiting';
    this.why = '';
    this.heard = 0;
    this.clear();
    this.turn++;
  }

  /**
   * The kernel's clock now. In a flood it stands still between two messages: what ran when the last one was written
   * has ended since, as the next one says.
   */
  now(at: number): number {
    return this.kernelNow + (this.flooded ? 0 : Math.max(0, at - this.heardClock));
  }

  /** What a scope is called: "In[3]". */
  cell(scope: number): string {
    return scope ? this.cells[scope] ?? `cell ${scope}` : '';
  }

  private clear(): void {
    for (const map of [this.tasks, this.actors, this.objects, this.workers, this.scopes, this.children]) {
      map.clear();
    }
    this.running = new Set();
    this.paused = new Set();
    this.nodes = [];
    this.groups = {};
    this.states = {};
    this.submitted = 0;
    this.cells = {};
    this.graph = 0;
    this.history = [];
    for (const kind of Object.keys(this.turns) as Kind[]) {
      this.turns[kind]++;
    }
  }

  private lay(message: PictureMessage): void {
    this.life = 'running';
    this.why = '';
    this.runtime = message.runtime;
    this.version = message.version;
    this.wall = message.wall;
    this.kernelNow = message.now;
    this.heardClock = this.heard;
    this.flooded = message.kind === 'change' && message.tasks.length >= FLOOD;
    this.rows<Task>(message, 'tasks', task => this.putTask(task));
    this.rows<Actor>(message, 'actors', actor => this.actors.set(actor.id, actor));
    this.rows<Obj>(message, 'objects', object => this.objects.set(object.id, object));
    this.rows<Worker>(message, 'workers', worker => this.workers.set(worker.id, worker));
    this.nodes = [];
    this.rows<Node>(message, 'nodes', node => this.nodes.push(node));
    this.store = message.store;
    this.total = message.total;
    this.available = message.available;
    this.groups = message.groups;
    Object.assign(this.cells, message.cells);
    this.graph = message.graph;
    this.drop(message);
    this.settleRunning(message.running);
    this.paused = new Set(message.paused);
    if (this.tasks.size > KEEP) {
      this.trim();
    }
    this.states = byState(this.groups);
    this.submitted = Object.values(this.states).reduce((a, b) => a + b, 0);
    this.history.push([message.now, (this.states.FINISHED ?? 0) + (this.states.FAILED ?? 0)]);
    while (this.history.length > 2 && this.history[1][0] < message.now - MEMORY) {
      this.history.shift();
    }
  }

  private rows<R>(message: PictureMessage, kind: Kind, put: (row: R) => void): void {
    const columns = message.columns[kind];
    const rows = message[kind] as unknown as unknown[][];
    for (const values of rows) {
      const row: Record<string, unknown> = {};
      for (let i = 0; i < columns.length; i++) {
        row[columns[i]] = values[i];
      }
      put(row as R);
    }
    if (rows.length) {
      this.turns[kind]++;
    }
  }

  private putTask(task: Task): void {
    this.count(this.tasks.get(task.id), -1);
    this.tasks.set(task.id, task);
    this.count(task, 1);
  }

  private dropTask(id: string): void {
    const task = this.tasks.get(id);
    if (task) {
      this.count(task, -1);
      this.tasks.delete(id);
    }
  }

  /** Keeps the counts by cell and the tree of parents in step with a row that comes or goes. */
  private count(task: Task | undefined, by: 1 | -1): void {
    if (!task) {
      return;
    }
    if (task.scope) {
      const entry = this.scopes.get(task.scope) ?? [0, 0];
      entry[0] += by;
      entry[1] += ended(task.state) ? 0 : by;
      if (entry[0]) {
        this.scopes.set(task.scope, entry);
      } else {
        this.scopes.delete(task.scope);
      }
    }
    if (task.parent) {
      const own = this.children.get(task.parent) ?? new Set();
      if (by > 0) {
        this.children.set(task.parent, own.add(task.id));
      } else {
        own.delete(task.id);
      }
    }
  }

  private drop(message: PictureMessage): void {
    const { gone } = message;
    for (const id of gone.tasks ?? []) {
      this.dropTask(id);
    }
    for (const id of gone.actors ?? []) {
      this.actors.delete(id);
    }
    for (const id of gone.objects ?? []) {
      this.objects.delete(id);
    }
    for (const id of gone.workers ?? []) {
      this.workers.delete(id);
    }
    for (const kind of Object.keys(gone) as Kind[]) {
      this.turns[kind]++;
    }
  }

  /**
   * A task shown as running that the kernel doesn't name has ended, and its row waits behind others:
   * until that comes nothing is shown of it, rather than something false.
   */
  private settleRunning(ids: string[]): void {
    const running = new Set(ids);
    for (const id of this.running) {
      if (!running.has(id) && this.tasks.get(id)?.state === 'RUNNING') {
        this.dropTask(id);
        this.turns.tasks++;
      }
    }
    this.running = running;
  }

  private trim(): void {
    for (const [id, task] of this.tasks) {
      if (this.tasks.size <= KEEP * 0.9) {
        return;
      }
      if (ended(task.state)) {
        this.dropTask(id);
      }
    }
  }
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

/** How many tasks are neither finished nor failed nor cancelled. */
export function unfinished(states: Counts): number {
  return Object.keys(states).reduce((n, state) => n + (ended(state) ? 0 : states[state]), 0);
}

/**
 * Tasks that ran to an end per second in each of the last `bins` seconds before `now`, oldest first.
 * Between two points of the history the rate is taken as even; after the last one as zero.
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
  return task.started ? Math.max(0, (task.ended || now) - task.started) : null;
}

export interface Filter { text: string; state: string; cell: string; group: string }
export const NO_FILTER: Filter = { text: '', state: '', cell: '', group: '' };

/** The tasks that pass the filter, in no order. Words match name, id, state, error and worker. */
export function chosen(tasks: Iterable<Task>, filter: Filter, words: (state: TaskState) => string): Task[] {
  const wanted = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
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
    if (wanted.length) {
      const hay = `${task.title || task.name} ${task.id} ${task.state} ${words(task.state)} ${task.error_type} ${task.error} worker ${task.worker}`
        .toLowerCase();
      if (!wanted.every(word => hay.includes(word))) {
        continue;
      }
    }
    out.push(task);
  }
  return out;
}

/**
 * CPU slots in use. A task that got what it waited for goes on at once, also when its slot was given
 * to another meanwhile; those are `resumed`, beyond the slots there are.
 */
export function slots(total: Counts, available: Counts): { whole: number; busy: number; resumed: number } {
  const whole = total.CPU ?? 0;
  const used = Math.max(0, whole - (available.CPU ?? 0));
  const round = (n: number) => +n.toFixed(2);
  return { whole: round(whole), busy: round(Math.min(used, whole)), resumed: round(Math.max(0, used - whole)) };
}

/** Function → its number, in the order in which functions were first seen: a colour for life. */
export function functionNumbers(groups: Record<string, Counts>): Map<string, number> {
  return new Map(Object.keys(groups).map((name, index) => [name, index]));
}
