import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CellOutputs } from '../ui/messages';
import { Output, compare, plain } from './shown';

const run = (more: Partial<CellOutputs> = {}): CellOutputs =>
  ({ request: 'r', session: 's', count: 3, whole: true, running: false, first: 100, version: 1, length: 0, outputs: {}, ...more });
const printed = (text: string, name = 'stdout'): Output => ({ output_type: 'stream', name, text });
const display = (text: string, more: object = {}): Output => ({ output_type: 'display_data', data: { 'text/plain': text }, metadata: {}, ...more });

test('a cell that shows the beginning is behind, one that shows all is not, anything else nobody can tell', () => {
  const all = [printed('one\ntwo\n'), display('figure'), printed('three\n')];
  const found = (shown: Output[]) => compare(shown, all, run(), 3, NaN);
  assert.equal(found(all), 'same');
  assert.equal(found([printed('one\n')]), 'behind');
  assert.equal(found(all.slice(0, 2)), 'behind');
  assert.equal(found([printed('two\n')]), 'other');
  assert.equal(found([printed('one\n'), display('figure')]), 'other');
  assert.equal(found([printed('one\n', 'stderr')]), 'other');
  assert.equal(found([...all, display('more')]), 'other');
});

test('a cell without outputs is behind unless somebody may have taken them away', () => {
  const all = [printed('one\n')];
  assert.equal(compare([], all, run(), 3, NaN), 'behind');
  assert.equal(compare([], all, run({ running: true }), null, NaN), 'behind');
  assert.equal(compare([], all, run(), null, 99), 'behind');
  assert.equal(compare([], all, run(), null, 101), 'other');
  assert.equal(compare([], all, run(), null, NaN), 'other');
  assert.equal(compare([], [], run(), null, NaN), 'same');
});

test('lines as a file splits them are the same; what was updated or drawn over is behind', () => {
  assert.equal(plain({ output_type: 'stream', name: 'stdout', text: ['a\n', 'b'] }), plain(printed('a\nb')));
  assert.equal(plain({ output_type: 'display_data', metadata: {}, data: { 'text/plain': ['x', 'y'] } }), plain(display('xy')));
  assert.notEqual(plain({ output_type: 'error', ename: 'E', evalue: 'e', traceback: ['x', 'y'] }),
    plain({ output_type: 'error', ename: 'E', evalue: 'e', traceback: ['xy'] }));
  assert.equal(compare([display('1 of 2')], [display('2 of 2', { updated: true })], run(), 3, NaN), 'behind');
  assert.equal(compare([display('1 of 2')], [display('2 of 2')], run(), 3, NaN), 'other');
  assert.equal(compare([printed('start\n 10%\r 50%')], [printed('start\n100%\ndone')], run(), 3, NaN), 'behind');
});
