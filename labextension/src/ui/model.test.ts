import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Message, Picture, Task, chosen, duration, rates, total, ended, slots } from './model';

const COLUMNS = {
  tasks: ['id', 'name', 'state', 'scope', 'worker', 'submitted', 'started', 'ended', 'error_type', 'error'],
  actors: ['id', 'class_name'], objects: ['id', 'size', 'names'], workers: ['id', 'rss']
};

function message(change: Partial<Message>): Message {
  return {
    v: 1, kind: 'change', version: 2, since: 1, now: 10, wall: 0, columns: COLUMNS, tasks: [], actors: [],
    objects: [], workers: [], store: { limit: 10, used: 1 }, total: { CPU: 2 }, available: { CPU: 1 },
    groups: {}, cells: {}, gone: {}, ...change
  };
}

const row = (id: string, name: string, state: string, more: Partial<Record<string, any>> = {}) => [
  id, name, state, more.scope ?? 0, more.worker ?? 0, more.submitted ?? 0, more.started ?? 0, more.ended ?? 0,
  more.error_type ?? '', more.error ?? ''
];

function running(): Picture {
  const picture = new Picture();
  picture.apply(message({ kind: 'full', tasks: [row('1', 'f', 'RUNNING'), row('2', 'f', 'FINISHED')] }), 5);
  return picture;
}

test('a full picture replaces, a change is laid over', () => {
  const picture = running();
  assert.equal(picture.life, 'running');
  picture.apply(message({ tasks: [row('1', 'f', 'FINISHED')], workers: [[3, 7]] }), 6);
  assert.equal(picture.tasks.get('1')!.state, 'FINISHED');
  assert.equal(picture.tasks.size, 2);
  picture.apply(message({ kind: 'full', tasks: [row('9', 'g', 'RUNNING')] }), 7);
  assert.deepEqual([...picture.tasks.keys()], ['9']);
  assert.equal(picture.workers.size, 0);
});

test('what is gone is taken out, of every kind', () => {
  const picture = running();
  picture.apply(message({ objects: [['a', 5, ['x']]], workers: [[3, 7]] }), 6);
  picture.apply(message({ gone: { tasks: ['2'], objects: ['a'], workers: [3] } }), 7);
  assert.deepEqual([...picture.tasks.keys()], ['1']);
  assert.equal(picture.objects.size + picture.workers.size, 0);
});

test('a change before the full picture is not laid over nothing', () => {
  const picture = new Picture();
  assert.equal(picture.apply(message({ tasks: [row('1', 'f', 'RUNNING')] }), 1), true);
  assert.equal(picture.life, 'waiting');
  assert.equal(picture.tasks.size, 0);
});

test('another version of the messages is told, not guessed at', () => {
  const picture = new Picture();
  assert.equal(picture.apply({ v: 2, kind: 'full' }, 1), false);
  assert.equal(picture.life, 'failed');
  assert.match(picture.why, /version 2/);
  assert.equal(new Picture().apply({ hello: 1 }, 1), false);
});

test('a stopped runtime leaves nothing behind', () => {
  const picture = running();
  picture.apply({ v: 1, kind: 'status', state: 'stopped', why: '' }, 8);
  assert.equal(picture.life, 'stopped');
  assert.equal(picture.tasks.size, 0);
});

test("the kernel's clock goes on between messages", () => {
  const picture = running();
  assert.equal(picture.now(5), 10);
  assert.equal(picture.now(7.5), 12.5);
  picture.apply({ v: 1, kind: 'beat' }, 9);
  assert.equal(picture.now(9), 14);
});

test('rates spread what ended between two points over the seconds between', () => {
  assert.deepEqual(rates([[0, 0], [2, 10]], 4, 4), [5, 5, 0, 0]);
  assert.deepEqual(rates([[0.5, 0], [1, 3]], 2, 2), [3, 0]);
  assert.deepEqual(rates([], 4, 2), [0, 0]);
  // a runtime that started anew counts from zero again
  assert.deepEqual(rates([[0, 9], [1, 0], [2, 4]], 2, 2), [0, 4]);
});

test('totals count only the wanted states', () => {
  const groups = { f: { FINISHED: 3, RUNNING: 1 }, g: { FAILED: 2, PENDING_ARGS_AVAIL: 7 } };
  assert.equal(total(groups, ended), 5);
});

test('durations run for what runs, and stand for what ended', () => {
  const task = { started: 4, ended: 0 } as Task;
  assert.equal(duration(task, 9), 5);
  assert.equal(duration({ ...task, ended: 6 }, 9), 2);
  assert.equal(duration({ ...task, started: 0 }, 9), null);
});

test('the filter takes words, a state, a cell, a function; running ones come first', () => {
  const picture = new Picture();
  picture.apply(message({
    kind: 'full',
    tasks: [
      row('1', 'load', 'FINISHED', { scope: 3, submitted: 1 }),
      row('2', 'load', 'FAILED', { scope: 4, submitted: 2, error_type: 'ValueError' }),
      row('3', 'train', 'RUNNING', { scope: 4, submitted: 0 }),
      row('4', 'train', 'PENDING_ARGS_AVAIL', { scope: 4, submitted: 3 })
    ]
  }), 1);
  const none = { text: '', state: '', cell: '', group: '' };
  const ids = (filter: object) => chosen(picture.tasks.values(), { ...none, ...filter }).map(task => task.id).join();
  assert.equal(ids({}), '3,4,2,1');
  assert.equal(ids({ text: 'valueerror load' }), '2');
  assert.equal(ids({ state: 'RUNNING' }), '3');
  assert.equal(ids({ state: 'waiting' }), '4');
  assert.equal(ids({ cell: '4', group: 'train' }), '3,4');
  assert.equal(ids({ text: 'nothing' }), '');
});

test('slots in use never exceed those there are; tasks that resumed are told apart', () => {
  assert.deepEqual(slots({ CPU: 2 }, { CPU: 0.5 }), { whole: 2, busy: 1.5, resumed: 0 });
  assert.deepEqual(slots({ CPU: 2 }, { CPU: -1 }), { whole: 2, busy: 2, resumed: 1 });
  assert.deepEqual(slots({}, {}), { whole: 0, busy: 0, resumed: 0 });
});
