/** What people call states and places: one spelling for every view. Ray's own names are in tooltips. */

/** Task states in the order in which stacked bars and legends show them. */
export const STATES = [
  'FINISHED', 'RUNNING', 'SUBMITTED_TO_WORKER', 'PENDING_NODE_ASSIGNMENT',
  'PENDING_ARGS_AVAIL', 'CANCELLED', 'FAILED'
] as const;

const WORDS: Record<string, string> = {
  FINISHED: 'finished',
  RUNNING: 'running',
  SUBMITTED_TO_WORKER: 'sent to worker',
  PENDING_NODE_ASSIGNMENT: 'queued',
  PENDING_ARGS_AVAIL: 'waiting for inputs',
  CANCELLED: 'cancelled',
  FAILED: 'failed',
  DEPENDENCIES_UNREADY: 'waiting for inputs',
  PENDING_CREATION: 'starting',
  ALIVE: 'alive',
  RESTARTING: 'restarting',
  DEAD: 'dead',
  STARTING: 'starting',
  IDLE: 'idle',
  BUSY: 'busy',
  BLOCKED: 'waiting in get',
  ACTOR: 'actor',
  EXITED: 'ended',
  BREAKPOINT: 'at a breakpoint'
};

/** "waiting for inputs" for PENDING_ARGS_AVAIL. */
export function stateWords(state: string): string {
  return WORDS[state] ?? state.toLowerCase().replace(/_/g, ' ');
}

/** What is shown as the state of a task: a running one may be at a breakpoint. */
export function stateOf(task: { id: string; state: string }, paused: ReadonlySet<string>): string {
  return task.state === 'RUNNING' && paused.has(task.id) ? 'BREAKPOINT' : task.state;
}

const PLACES: Record<string, string> = {
  pending: 'not made yet', memory: 'in memory', shared: 'in shared memory', spilled: 'on disk', lost: 'lost'
};

/** "on disk" for an object that was spilled. */
export function placeWords(where: string): string {
  return PLACES[where] ?? where;
}
