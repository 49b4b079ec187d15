import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csv, json } from './export';
import { fitting, inSight, rowTop, tracks } from './grid';
import { firstDirection, sorted } from './sorting';

const columns = [
  { key: 'name', min: 90, grow: 2, priority: 1 }, { key: 'state', min: 100, grow: 0, priority: 1 },
  { key: 'time', min: 60, grow: 0, priority: 2 }, { key: 'cell', min: 50, grow: 0, priority: 4 }, { key: 'do', min: 60, grow: 0, priority: 3 }
];

test('columns go by priority, and keep their order', () => {
  const keys = (width: number) => fitting(columns, width, 10).map(column => column.key).join();
  assert.equal(keys(1000), 'name,state,time,cell,do');
  assert.equal(keys(340), 'name,state,time,do');
  assert.equal(keys(270), 'name,state,time');
  assert.equal(keys(100), 'name,state'); // the first ones are always there
  assert.equal(tracks(fitting(columns, 100)), 'minmax(90px, 2fr) 100px');
});

test('only the rows in sight are drawn, also below an open one', () => {
  assert.deepEqual(inSight(10000, 28, 0, 280, null, 2), [0, 12]);
  assert.deepEqual(inSight(10000, 28, 28 * 5000, 280, null, 2), [4998, 5012]);
  assert.deepEqual(inSight(5, 28, 0, 280, null, 2), [0, 5]);
  const open = { index: 3, height: 200 };
  assert.equal(rowTop(3, 28, open), 84);
  assert.equal(rowTop(4, 28, open), 4 * 28 + 200);
  const [first, last] = inSight(10000, 28, 84 + 28, 280, open, 0);
  assert.ok(first <= 3 && last >= 7);
  assert.deepEqual(inSight(0, 28, 500, 280, null), [0, 0]);
});

test('rows are sorted by numbers and texts; ties keep their order, what has no value is last', () => {
  const rows = [{ n: 2, t: 'b10' }, { n: Number.NaN, t: 'a' }, { n: 5, t: 'b2' }, { n: 2, t: '' }];
  const by = (key: 'n' | 't', down: boolean) => sorted(rows, row => row[key], down).map(row => rows.indexOf(row)).join();
  assert.equal(by('n', false), '0,3,2,1');
  assert.equal(by('n', true), '2,0,3,1');
  assert.equal(by('t', false), '1,2,0,3');
  assert.equal(by('t', true), '0,2,1,3');
  assert.deepEqual([firstDirection(3), firstDirection('a')], [true, false]);
});

test('a table is exported as CSV and JSON', () => {
  const out = [{ title: 'Name', value: (row: { n: string; s: number }) => row.n }, { title: 'Size', value: (row: { n: string; s: number }) => row.s }];
  const rows = [{ n: 'a,"b"', s: 3 }, { n: 'line\nbreak', s: Number.NaN }];
  assert.equal(csv(out, rows), 'Name,Size\r\n"a,""b""",3\r\n"line\nbreak",\r\n');
  assert.equal(csv(out, rows.slice(0, 1), '\t'), 'Name\tSize\r\n"a,""b"""\t3\r\n');
  assert.deepEqual(JSON.parse(json(out, rows.slice(0, 1))), [{ name: 'a,"b"', size: 3 }]);
});
