import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelMessage, PictureMessage, VERSION } from './messages';
import { NO_FILTER, Picture, Task, chosen, duration, rates, slots, unfinished } from './picture';
import { stateWords } from './words';

const COLUMNS = {
  tasks: ['id', 'name', 'state', 'scope', 'worker', 'submitted', 'started', 'ended', 'error_type', 'error', 'parent'],
  actors: ['id', 'class_name'], objects: ['id', 'size', 'names'], workers: ['id', 'rss'], nodes: ['id', 'host']
};

function message(change: object): PictureMessage {
  return {
    v: VERSION, kind: 'change', runtime: 'r', version: 2, since: 1, now: 10, wall: 0, columns: COLUMNS, tasks: [], actors: [],
    objects: [], workers: [], nodes: [], running: [], store: { limit: 10, used: 1 }, total: { CPU: 2 }, available: { CPU: 1 },
    groups: {}, cells: {}, gone: {}, ...change
  } as unknown as PictureMessage;
}

const row = (id: string, name: string, state: string, more: Record<string, unknown> = {}) => [
  id, name, state, more.scope ?? 0, more.worker ?? 0, more.submitted ?? 0, more.started ?? 0, more.ended ?? 0,
  more.error_type ?? '', more.error ?? '', more.parent ?? ''
];

function running(): Picture {
  const picture = new Picture();
  picture.apply(message({ kind: 'full', tasks: [row('1', 'f', 'RUNNING'), row('2', 'f', 'FINISHED')], running: ['1'] }), 5);
  return picture;
}

test('a full picture replaces, a change is laid over', () => {
  const picture = running();
  assert.equal(picture.life, 'running');
  picture.apply(message({ tasks: [row('1', 'f', 'FINISHED')], workers: [[3, 7]] }), 6);
  assert.equal(picture.tasks.get('1')!.state, 'FINISHED');
  assert.equal(picture.tasks.size, 2);
  picture.apply(message({ kind: 'full', tasks: [row('9', 'g', 'RUNNING')], running: ['9'] }), 7);
  assert.deepEqual([...picture.tasks.keys()], ['9']);
  assert.equal(picture.workers.size, 0);
});

test('a full picture of the same runtime keeps the throughput of the minute before it', () => {
  const picture = running();
  picture.apply(message({ now: 11, groups: { f: { FINISHED: 7 } } }), 6);
  picture.apply(message({ kind: 'full', now: 12, groups: { f: { FINISHED: 9 } } }), 7);
  assert.deepEqual(picture.history, [[10, 0], [11, 7], [12, 9]]);
  picture.apply(message({ kind: 'full', runtime: 'other', now: 3 }), 8);
  assert.deepEqual(picture.history, [[3, 0]]);
});

test('what is shown as running is what the kernel names, though rows are left out', () => {
  const picture = running();
  picture.apply(message({ tasks: [row('3', 'f', 'RUNNING')], running: ['3'], groups: { f: { FINISHED: 2, RUNNING: 1 } } }), 6);
  assert.deepEqual([...picture.running], ['3']);
  // its row says RUNNING and its news is on the way: nothing is shown rather than something false
  assert.equal(picture.tasks.has('1'), false);
  picture.apply(message({ tasks: [row('1', 'f', 'FAILED')], running: ['3'] }), 7);
  assert.equal(picture.tasks.get('1')!.state, 'FAILED');
  assert.equal([...picture.tasks.values()].filter(task => task.state === 'RUNNING').length, picture.running.size);
});

test('counts by cell and children keep step with the rows', () => {
  const picture = new Picture();
  picture.apply(message({
    kind: 'full', running: ['1'],
    tasks: [row('1', 'f', 'RUNNING', { scope: 3 }), row('2', 'g', 'FINISHED', { scope: 3, parent: '1' }), row('3', 'g', 'FINISHED', { parent: '1' })]
  }), 1);
  assert.deepEqual(picture.scopes.get(3), [2, 1]);
  assert.deepEqual([...picture.children.get('1')!], ['2', '3']);
  picture.apply(message({ tasks: [row('1', 'f', 'FINISHED', { scope: 3 })], gone: { tasks: ['2'] } }), 2);
  assert.deepEqual(picture.scopes.get(3), [1, 0]);
  assert.deepEqual([...picture.children.get('1')!], ['3']);
});

test('what is gone is taken out, of every kind', () => {
  const picture = running();
  picture.apply(message({ objects: [['a', 5, ['x']]], workers: [[3, 7]], nodes: [[1, 'h']], running: ['1'] }), 6);
  assert.equal(picture.nodes[0].host, 'h');
  picture.apply(message({ gone: { tasks: ['2'], objects: ['a'], workers: [3] }, running: ['1'] }), 7);
  assert.deepEqual([...picture.tasks.keys()], ['1']);
  assert.equal(picture.objects.size + picture.workers.size + picture.nodes.length, 0);
});

test('a change before the full picture is not laid over nothing', () => {
  const picture = new Picture();
  assert.equal(picture.apply(message({ tasks: [row('1', 'f', 'RUNNING')] }), 1), true);
  assert.equal(picture.life, 'waiting');
  assert.equal(picture.tasks.size, 0);
});

test('another version of the messages is told, not guessed at', () => {
  const picture = new Picture();
  assert.equal(picture.apply({ v: VERSION + 1, kind: 'full' } as unknown as KernelMessage, 1), false);
  assert.equal(picture.life, 'failed');
  assert.match(picture.why, new RegExp(`version ${VERSION + 1}`));
  assert.equal(new Picture().apply({ hello: 1 } as unknown as KernelMessage, 1), false);
});

test('a stopped runtime leaves nothing behind', () => {
  const picture = running();
  picture.apply({ v: VERSION, kind: 'status', state: 'stopped', why: '' }, 8);
  assert.equal(picture.life, 'stopped');
  assert.equal(picture.tasks.size + picture.running.size, 0);
});

test("the kernel's clock goes on between messages", () => {
  const picture = running();
  assert.equal(picture.now(5), 10);
  assert.equal(picture.now(7.5), 12.5);
  picture.apply({ v: VERSION, kind: 'beat' }, 9);
  assert.equal(picture.now(9), 14);
});

test('in a flood the clock stands still between messages: what took 2 ms is not shown as running for seconds', () => {
  const picture = running();
  const many = Array.from({ length: 100 }, (_, i) => row(String(i + 10), 'f', 'FINISHED'));
  picture.apply(message({ now: 11, tasks: many, running: ['1'] }), 6);
  assert.equal(picture.now(9), 11);
  picture.apply(message({ now: 12, tasks: many.slice(0, 3), running: ['1'] }), 10);
  assert.equal(picture.now(12), 14);
  picture.apply(message({ now: 13, tasks: many, running: ['1'] }), 13);
  picture.apply({ v: VERSION, kind: 'beat' }, 18);
  assert.equal(picture.now(18), 18);
});

test('rates spread what ended between two points over the seconds between', () => {
  assert.deepEqual(rates([[0, 0], [2, 10]], 4, 4), [5, 5, 0, 0]);
  assert.deepEqual(rates([[0.5, 0], [1, 3]], 2, 2), [3, 0]);
  assert.deepEqual(rates([], 4, 2), [0, 0]);
  // a runtime that started anew counts from zero again
  assert.deepEqual(rates([[0, 9], [1, 0], [2, 4]], 2, 2), [0, 4]);
});

test('throughput counts what ran to an end, not what was cancelled', () => {
  const picture = running();
  picture.apply(message({ groups: { f: { FINISHED: 3, FAILED: 1, CANCELLED: 50, RUNNING: 2 } } }), 6);
  assert.deepEqual(picture.history[picture.history.length - 1], [10, 4]);
  assert.equal(unfinished(picture.states), 2);
});

test('durations run for what runs, and stand for what ended', () => {
  const task = { started: 4, ended: 0 } as Task;
  assert.equal(duration(task, 9), 5);
  assert.equal(duration({ ...task, ended: 6 }, 9), 2);
  assert.equal(duration({ ...task, started: 0 }, 9), null);
});

test('the filter takes words, an id, a state, a cell, a function', () => {
  const picture = new Picture();
  picture.apply(message({
    kind: 'full', running: ['c3'],
    tasks: [
      row('a1', 'load', 'FINISHED', { scope: 3 }), row('b2', 'load', 'FAILED', { scope: 4, error_type: 'ValueError' }),
      row('c3', 'train', 'RUNNING', { scope: 4 }), row('d4', 'train', 'PENDING_ARGS_AVAIL', { scope: 4 })
    ]
  }), 1);
  const ids = (filter: object) => chosen(picture.tasks.values(), { ...NO_FILTER, ...filter }, stateWords).map(task => task.id).join();
  assert.equal(ids({}), 'a1,b2,c3,d4');
  assert.equal(ids({ text: 'valueerror load' }), 'b2');
  assert.equal(ids({ text: 'c3' }), 'c3');
  assert.equal(ids({ text: 'waiting for inputs' }), 'd4');
  assert.equal(ids({ state: 'RUNNING' }), 'c3');
  assert.equal(ids({ state: 'waiting' }), 'd4');
  assert.equal(ids({ cell: '4', group: 'train' }), 'c3,d4');
  assert.equal(ids({ text: 'nothing' }), '');
});

test('slots in use never exceed those there are; tasks that resumed are told apart', () => {
  assert.deepEqual(slots({ CPU: 2 }, { CPU: 0.5 }), { whole: 2, busy: 1.5, resumed: 0 });
  assert.deepEqual(slots({ CPU: 2 }, { CPU: -1 }), { whole: 2, busy: 2, resumed: 1 });
  assert.deepEqual(slots({}, {}), { whole: 0, busy: 0, resumed: 0 });
});
