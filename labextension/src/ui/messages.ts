/**
 * The messages between the kernel and the views.
 * Written by scripts/make_messages.py from raynb/jupyter/views/messages.py: don't edit.
 */

export const VERSION = 3;

export type TaskState = 'PENDING_ARGS_AVAIL' | 'PENDING_NODE_ASSIGNMENT' | 'SUBMITTED_TO_WORKER' | 'RUNNING' | 'FINISHED' | 'FAILED' | 'CANCELLED';

export type StatusState = 'stopped' | 'starting' | 'failed';

export type KernelMessage = PictureMessage | StatusMessage | BeatMessage | ReplyMessage;

export type Request = CancelTask | CancelGroup | CancelCell | CancelAll | KillActor | Free | Detail | History | Graph | Displays | Outputs | Stack | ProfileFor | Runtime | StopKernel | Scale;

/** A task. ``after``: the task whose result it waited for last; ``peak``: the most bytes of its worker. */
export interface Task {
  id: string;
  name: string;
  kind: string;
  state: TaskState;
  worker: number;
  pid: number;
  attempt: number;
  scope: number;
  actor: string;
  parent: string;
  submitted: number;
  started: number;
  fetched: number;
  ran: number;
  ended: number;
  error_type: string;
  error: string;
  size: number;
  inputs: number;
  after: string;
  peak: number;
  title: string;
}

/** An actor. ``rss`` is its worker's memory in bytes. */
export interface Actor {
  id: string;
  class_name: string;
  name: string;
  namespace: string;
  state: string;
  worker: number;
  pid: number;
  pending: number;
  restarts: number;
  max_restarts: number;
  rss: number;
  death_cause: string;
  scope: number;
  detached: boolean;
}

/** An object. ``held`` says what keeps it, the notebook's ``names`` first. */
export interface Obj {
  id: string;
  size: number;
  where: string;
  task: string;
  scope: number;
  names: string[];
  held: string[];
  error: boolean;
  stale: string;
}

/** A worker process. ``cpu`` is its share of one core; ``exit`` says how it ended, empty while it lives. */
export interface Worker {
  id: number;
  pid: number;
  state: string;
  task: string;
  actor: string;
  rss: number;
  cpu: number;
  started: number;
  finished: number;
  exit: string;
  node: number;
}

/** A machine of a Ray cluster. Figures that Ray does not report are 0. */
export interface Node {
  id: number;
  node_id: string;
  host: string;
  address: string;
  alive: boolean;
  head: boolean;
  driver: boolean;
  cpus: number;
  cpus_used: number;
  gpus: number;
  gpus_used: number;
  cpu: number;
  memory: number;
  memory_used: number;
  store: number;
  store_used: number;
  spilled: number;
  workers: number;
  resources: Record<string, number>;
  labels: Record<string, string>;
  death_cause: string;
}

/** The object store, in bytes; ``objects`` counts them, ``inline`` is what the kernel keeps in its own memory. */
export interface Store {
  limit: number;
  used: number;
  spilled: number;
  pinned: number;
  inline: number;
  objects: number;
  resident: number;
}

/** The order of each row's fields. */
export interface Columns {
  tasks: string[];
  actors: string[];
  objects: string[];
  workers: string[];
  nodes: string[];
}

/** Ids of rows that are no longer kept. */
export interface Gone {
  tasks?: string[];
  actors?: string[];
  objects?: string[];
  workers?: number[];
}

/** The whole picture ("full"), or rows to lay over the one that is there ("change"). ``running`` names every task that runs at ``now``, whatever rows were left out; ``nodes`` are always all. ``groups`` counts every task by function and state, ``cells`` says what scopes are called. */
export interface PictureMessage {
  v: number;
  kind: 'full' | 'change';
  runtime: string;
  version: number;
  since: number;
  now: number;
  wall: number;
  columns: Columns;
  tasks: Task[];
  actors: Actor[];
  objects: Obj[];
  workers: Worker[];
  nodes: Node[];
  running: string[];
  paused: string[];
  store: Store;
  total: Record<string, number>;
  available: Record<string, number>;
  groups: Record<string, Record<string, number>>;
  cells: Record<string, string>;
  graph: number;
  gone: Gone;
}

/** There is nothing to show; ``why`` is a sentence to show as it is. */
export interface StatusMessage {
  v: number;
  kind: 'status';
  state: StatusState;
  why: string;
}

/** Nothing has changed; the kernel lives. */
export interface BeatMessage { v: number; kind: 'beat' }

/** The answer to request number ``n``; some have more fields (see the requests). */
export interface ReplyMessage {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
}

/** One thing that has happened to a task. */
export interface StoryLine { when: number; what: string }

/** A closer look at a task: why it waits, its whole error, the end of its output, what happened when. */
export interface DetailReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  task: string;
  why: string;
  error: string;
  log: string;
  cut: number;
  story: StoryLine[];
}

/** The life of the runtime: one value per time (seconds of the kernel's clock) in every list. ``cpu`` is the machine's share of busy cores (0..1), ``workers_cpu`` the workers' part of it; ``rate`` counts tasks that ran to an end per second. */
export interface HistoryReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  wall: number;
  memory_limit: number;
  times: number[];
  cpu: number[];
  workers_cpu: number[];
  memory: number[];
  workers_memory: number[];
  store: number[];
  spilled: number[];
  busy: number[];
  rate: number[];
}

/** Which cell took what from which: markup with an SVG, whose boxes have ``data-cell`` (the front end's id). */
export interface GraphReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  markup: string;
}

/** The stacks of a process, as text. */
export interface StackReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  stack: string;
}

/** A frame of a profile and what it called. Times are seconds. */
export interface FlameNode {
  label: string;
  kind: 'user' | 'library' | 'other';
  wall: number;
  cpu: number;
  children: FlameNode[];
}

/** A profile; ``text`` of the reply is its verdict. */
export interface ProfileReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  summary: string;
  root: FlameNode;
}

/** A runtime of this user on this machine. ``kernel``: Jupyter's id. ``cpus`` are the slots that it may use now, ``base`` those of its own; ``started`` is seconds since the epoch. */
export interface KernelInfo {
  key: string;
  name: string;
  kernel: string;
  own: boolean;
  pid: number;
  cpus: number;
  base: number;
  busy: number;
  unfinished: number;
  memory: number;
  store: number;
  store_used: number;
  spilled: number;
  share: string;
  started: number;
}

/** Every runtime of this user on this machine, and what the machine has. */
export interface KernelsReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  kernels: KernelInfo[];
  cores: number;
  memory_total: number;
  memory_available: number;
}

/** A display of raynb's that changes: a bar, a ref, a handle, a line that a task draws over and over. ``live``: it may change. ``gone`` is what it says once its kernel is gone. A bar has ``share`` (0..1) and ``failed``, a ref or handle its ``kind``, ``state`` (Ray's) and ``code``. */
export interface Live {
  id?: string;
  live?: boolean;
  text?: string;
  gone?: string;
  share?: number;
  failed?: boolean;
  kind?: string;
  state?: string;
  code?: string;
}

/** What displays say now, as mime bundles; those that are missing are of a kernel that is gone. */
export interface DisplaysReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  displays: Record<string, Record<string, unknown>>;
}

/** What a run of a cell has shown: ``length`` outputs, of which those are given that a page doesn't know. ``request`` and ``session`` (a page's) name the run; ``count``: its prompt number; ``first``: when it showed something first, seconds since the epoch, 0: not yet; not ``whole``: raynb was loaded in the middle of it. Each output is as in a notebook's file, with ``updated``: it has changed since it was shown. */
export interface CellOutputs {
  request: string;
  session: string;
  count: number;
  whole: boolean;
  running: boolean;
  first: number;
  version: number;
  length: number;
  outputs: Record<string, Record<string, unknown>>;
}

/** Id of a cell → what it has shown; ``more``: ask again for the rest. */
export interface OutputsReply {
  v: number;
  kind: 'reply';
  n: number | null;
  do: string | null;
  ok: boolean;
  text: string;
  cells: Record<string, CellOutputs>;
  more: boolean;
}

/** Send me the picture ("hello"); I still look ("ping"); I don't any more ("bye"). ``page`` names one of those who share a comm: windows of one notebook, and consoles of its kernel. */
export interface Hello { do: 'hello' | 'ping' | 'bye'; page: string }

/** What a person has set in the front end; ``"kernel"`` leaves it to the kernel's settings. */
export interface Configure { do: 'configure'; progress: 'kernel' | 'on' | 'off' }

/** ``force`` kills the worker instead of interrupting it. */
export interface CancelTask {
  force?: boolean;
  do: 'cancel_task';
  task: string;
}

/** Cancel every unfinished task of this function. */
export interface CancelGroup { do: 'cancel_group'; name: string }

/** Cancel every unfinished task of this cell. */
export interface CancelCell { do: 'cancel_cell'; scope: number }

/** Cancel every unfinished task. */
export interface CancelAll { do: 'cancel_all' }

/** End this actor, or its process only, so that it restarts. */
export interface KillActor { do: 'kill_actor' | 'restart_actor'; actor: string }

/** Free this object, whoever still names it. */
export interface Free { do: 'free'; object: string }

/** Look closer at this task (`DetailReply`). */
export interface Detail { do: 'detail'; task: string }

/** What was the load so far (`HistoryReply`)? */
export interface History { do: 'history' }

/** Draw which cell took what from which (`GraphReply`). */
export interface Graph { do: 'graph' }

/** What do these displays say now? Their ids are in their marks (`Live`). */
export interface Displays { do: 'displays'; ids: string[] }

/** What have cells shown? ``seen``: id of a cell → [``request``, ``version``], as it is known here. */
export interface Outputs { do: 'outputs'; seen: Record<string, unknown[]> }

/** What is executed right now (`StackReply`)? */
export interface Stack {
  task?: string;
  actor?: string;
  worker?: number;
  kernel?: boolean;
  do: 'stack';
}

/** Sample what runs for some seconds. */
export interface ProfileFor {
  task?: string;
  actor?: string;
  worker?: number;
  kernel?: boolean;
  do: 'profile';
  seconds: number;
}

/** Start the runtime, stop it, or both; or which runtimes there are on this machine. */
export interface Runtime { do: 'start' | 'stop' | 'restart' | 'kernels' }

/** Stop another runtime of this user, by its `KernelInfo.key`. */
export interface StopKernel { do: 'stop_kernel'; key: string }

/** Let the runtime use so many slots. */
export interface Scale { do: 'scale'; cpus: number }
