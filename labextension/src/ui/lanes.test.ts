import assert from 'node:assert/strict';
import { test } from 'node:test';
import cases from './lanes.cases.json';
import { busiest, criticalPath, extent, firstAfter, headline, pathWords, spans, strips, taskAt, ticks, zoom } from './lanes';
import { Task } from './picture';

const task = (change: Partial<Task>): Task =>
  ({ id: 'x', name: 'f', worker: 1, submitted: 1, started: 2, fetched: 3, ran: 6, ended: 7, after: '', ...change }) as Task;
const told = (t: Task, now = 10) => spans(t, now).map(s => `${s.phase} ${s.from}-${s.to}`).join(' ');

// The timeline of a saved notebook lays its tasks out the same way: tests/jupyter/test_timeline.py reads these, too.
for (const one of cases.spans) {
  test(one.what, () => assert.equal(told(task(one.task)), one.spans));
}

for (const one of cases.strips) {
  test(one.what, () => {
    const found = strips(one.tasks.map(task)).map(s => `${s.worker}/${s.part} ${s.tasks.map(t => t.id).join()}`);
    assert.deepEqual(found, one.strips);
  });
}

test('small tasks that the kernel hears of together share a strip, and their worker is not storing meanwhile', () => {
  const own = Array.from({ length: 4 }, (_, i) => task({ id: String(i), started: i + 1, fetched: i + 1, ran: i + 1.5, ended: 5 }));
  const rows = strips(own);
  assert.equal(rows.length, 1);
  assert.equal(headline(rows, { from: 1, to: 5 }, 9, 1), '1 worker in 4.0 s: 50 % running, 50 % storing results, 0 % idle');
  assert.equal(taskAt(rows[0], 3.2, 0.01, 9)!.id, '2');
});

test('a task is found by its time without looking at all', () => {
  const own = Array.from({ length: 1000 }, (_, i) => task({ id: String(i), started: i, fetched: i, ran: i + 0.5, ended: i + 0.5 }));
  const strip = { worker: 1, part: 0, tasks: own };
  assert.equal(firstAfter(own, 500.2, 2000), 500);
  assert.equal(taskAt(strip, 500.2, 0.01, 2000)!.id, '500');
  assert.equal(taskAt(strip, 500.8, 0.01, 2000), null);
  assert.equal(taskAt(strip, 500.8, 0.25, 2000)!.id, '501');
  assert.equal(taskAt(strip, 5000, 1, 2000), null);
});

test('the extent is that of what ran', () => {
  assert.equal(extent([task({ started: 0 })], 10), null);
  const view = extent([task({}), task({ submitted: 4, started: 5, ended: 0 })], 11)!;
  assert.equal(view.start, 1);
  assert.ok(view.from < 1 && view.to > 11);
  assert.equal(extent([task({}), task({ submitted: 4, started: 5, ended: 0 })], 11, true)!.start, 2);
});

test('zooming keeps the point under the pointer', () => {
  assert.deepEqual(zoom({ from: 0, to: 10 }, 0.5, 2), { from: 1, to: 6 });
  const least = zoom({ from: 0, to: 1e-4 }, 0.1, 0);
  assert.ok(least.to - least.from >= 1e-4);
});

test('the headline adds up to all the time of the workers', () => {
  const rows = strips([
    task({ id: 'a', name: 'load', started: 0.001, fetched: 0.001, ran: 4, ended: 4 }),
    task({ id: 'b', name: 'train', worker: 2, started: 0.001, fetched: 1, ran: 6, ended: 7 })
  ]);
  const sentence = headline(rows, { from: 0, to: 10 }, 10, 0);
  assert.equal(sentence, '2 workers in 10 s: 45 % running (train 25 %, load 20 %), 5 % fetching inputs, 5 % storing results, 45 % idle');
  const shares = [...sentence.replace(/\(.*\)/, '').matchAll(/(\d+) %/g)].map(found => Number(found[1]));
  assert.equal(shares.reduce((a, b) => a + b), 100);
  assert.match(headline(rows, { from: 0, to: 10 }, 10, 0, true), /45 % idle or not known here$/);
  assert.equal(headline(rows, { from: 20, to: 30 }, 10, 0), 'Nothing ran in this stretch');
});

test('the functions that took most time come first', () => {
  const rows = strips([
    task({ id: 'a', name: 'small' }), task({ id: 'b', name: 'running', worker: 2, started: 1, ran: 0, ended: 0 }), task({ id: 'c', name: 'small', worker: 3 })
  ]);
  assert.deepEqual(busiest(rows, 10), ['running', 'small']);
  assert.deepEqual(busiest(rows, 5), ['small', 'running']);
});

test('the critical path goes over what each task waited for: its last input, or its worker', () => {
  const tasks = [
    task({ id: 'load', name: 'load', worker: 1, submitted: 0.1, started: 0.2, ran: 3, ended: 3 }),
    task({ id: 'other', name: 'other', worker: 2, submitted: 0.1, started: 0.2, ran: 5, ended: 5 }),
    task({ id: 'train', name: 'train', worker: 2, submitted: 0.1, started: 5, ran: 8, ended: 8, after: 'load' }),
    task({ id: 'score', name: 'score', worker: 1, submitted: 0.1, started: 8, ran: 9, ended: 9, after: 'train' })
  ];
  const rows = strips(tasks);
  const path = criticalPath(rows, new Map(tasks.map(one => [one.id, one])));
  // train's input was there at 3, its worker came free at 5
  assert.deepEqual(path.map(one => one.id), ['other', 'train', 'score']);
  assert.equal(pathWords(path), 'critical path 8.9 s: other → train → score');
  assert.equal(pathWords(path.slice(2)), '');
  assert.match(pathWords([...Array(3)].map(() => tasks[0])), /load ×3/);
});

test('marks are round, counted from the origin; over a minute in minutes', () => {
  assert.deepEqual(ticks({ from: 3, to: 8.2 }, 5, 3), [3, 5, 7]);
  assert.deepEqual(ticks({ from: 100.05, to: 101.05 }, 4, 100), [100.5, 101]);
  assert.deepEqual(ticks({ from: 0, to: 400 }, 6, 0), [0, 120, 240, 360]);
});
