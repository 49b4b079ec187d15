import assert from 'node:assert/strict';
import { test } from 'node:test';
import { breakdown, extent, lanes, spans, ticks, zoom } from './lanes';
import { Task } from './model';

const task = (change: Partial<Task>): Task => ({ worker: 1, submitted: 1, started: 2, fetched: 3, ran: 6, ended: 7, ...change }) as Task;
const told = (t: Task, now = 10) => spans(t, now).map(s => `${s.phase} ${s.from}-${s.to}`).join(' ');

test('an ended task has four phases', () => {
  assert.equal(told(task({})), 'queue 1-2 fetch 2-3 run 3-6 store 6-7');
});

test('what has not ended reaches to now', () => {
  assert.equal(told(task({ ran: 0, ended: 0 })), 'queue 1-2 fetch 2-3 run 3-10');
  assert.equal(told(task({ fetched: 0, ran: 0, ended: 0 })), 'queue 1-2 fetch 2-2 run 2-10');
  assert.equal(told(task({ started: 0, fetched: 0, ran: 0, ended: 0 })), 'queue 1-10');
  assert.equal(told(task({ started: 0, fetched: 0, ran: 0, ended: 5 })), 'queue 1-5');
});

test('a task that died while it ran has run until its end', () => {
  assert.equal(told(task({ ran: 0 })), 'queue 1-2 fetch 2-3 run 3-7');
});

test('one lane a worker, in order; tasks that never started have none', () => {
  const found = lanes([task({ id: 'b', worker: 2 }), task({ id: 'a', worker: 1, started: 4 }), task({ id: 'c', worker: 1 }),
    task({ id: 'd', started: 0 })]);
  assert.deepEqual(found.map(l => [l.worker, l.tasks.map(t => t.id).join()]), [[1, 'c,a'], [2, 'b']]);
});

test('the extent is that of what ran', () => {
  assert.equal(extent([task({ started: 0 })], 10), null);
  const view = extent([task({}), task({ submitted: 4, started: 5, ended: 0 })], 11)!;
  assert.equal(view.start, 1);
  assert.ok(view.from < 1 && view.to > 11);
});

test('zooming keeps the point under the pointer', () => {
  const view = zoom({ from: 0, to: 10 }, 0.5, 2);
  assert.deepEqual(view, { from: 1, to: 6 });
  const least = zoom({ from: 0, to: 1e-4 }, 0.1, 0);
  assert.ok(least.to - least.from >= 1e-4);
});

test('the breakdown counts only what lies in view', () => {
  assert.deepEqual(breakdown([task({})], { from: 2.5, to: 6.5 }, 10), { queue: 0, fetch: 0.5, run: 3, store: 0.5 });
});

test('marks are round, counted from the origin', () => {
  assert.deepEqual(ticks({ from: 3, to: 8.2 }, 5, 3), [3, 5, 7]);
  assert.deepEqual(ticks({ from: 100.05, to: 101.05 }, 4, 100), [100.5, 101]);
});
