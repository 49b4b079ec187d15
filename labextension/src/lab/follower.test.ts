import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Session } from '../ui/session';
import { ActiveFollower } from './follower';

class Signal {
  private slots: [() => void, unknown][] = [];
  connect(slot: () => void, self?: unknown) { this.slots.push([slot, self]); }
  disconnect(slot: () => void) { this.slots = this.slots.filter(([one]) => one !== slot); }
  emit() { this.slots.forEach(([slot, self]) => slot.call(self)); }
  get count() { return this.slots.length; }
}

/** A notebook or console with a kernel, as far as the follower uses it. */
function document(label: string, kernel: object | null = {}) {
  return {
    isDisposed: false, disposed: new Signal(), title: { label, changed: new Signal() },
    sessionContext: { session: { kernel }, kernelChanged: new Signal() }
  };
}

function tracker() {
  return { currentWidget: null as unknown, currentChanged: new Signal(), activeCellChanged: new Signal() };
}

function followed() {
  const sessions = { of: (kernel: object) => ({ kernel }) as unknown as Session };
  const notebooks = tracker();
  const consoles = tracker();
  const seen: [unknown, string][] = [];
  const follower = new ActiveFollower(sessions as never, notebooks as never, consoles as never, (session, title) => {
    seen.push([(session as unknown as { kernel?: object }).kernel ?? session.outside.title, title]);
  });
  return { follower, notebooks, consoles, seen, last: () => seen[seen.length - 1] };
}

test('the active notebook or console is followed, whichever came last', () => {
  const { notebooks, consoles, last } = followed();
  assert.deepEqual(last(), ['No notebook is open', '']);
  const first = document('a.ipynb');
  notebooks.currentWidget = first;
  notebooks.currentChanged.emit();
  assert.deepEqual(last(), [first.sessionContext.session.kernel, 'a.ipynb']);
  const terminal = document('Console 1');
  consoles.currentWidget = terminal;
  consoles.currentChanged.emit();
  assert.deepEqual(last(), [terminal.sessionContext.session.kernel, 'Console 1']);
  notebooks.activeCellChanged.emit(); // a click into the notebook, which was its tracker's current one all along
  assert.equal(last()[1], 'a.ipynb');
});

test('a change of the kernel is followed, and what was left is listened to no more', () => {
  const { notebooks, last } = followed();
  const first = document('a.ipynb', null);
  notebooks.currentWidget = first;
  notebooks.currentChanged.emit();
  assert.deepEqual(last(), ['There is no kernel', 'a.ipynb']);
  const kernel = {};
  first.sessionContext.session = { kernel };
  first.sessionContext.kernelChanged.emit();
  assert.deepEqual(last(), [kernel, 'a.ipynb']);
  notebooks.currentWidget = document('b.ipynb');
  notebooks.currentChanged.emit();
  assert.equal(first.sessionContext.kernelChanged.count + first.title.changed.count + first.disposed.count, 0);
});

test('a pinned panel stays with its notebook until that is closed', () => {
  const { follower, notebooks, last } = followed();
  const first = document('a.ipynb');
  notebooks.currentWidget = first;
  notebooks.currentChanged.emit();
  follower.pinned = true;
  notebooks.currentWidget = document('b.ipynb');
  notebooks.currentChanged.emit();
  assert.equal(last()[1], 'a.ipynb');
  first.isDisposed = true;
  first.disposed.emit();
  notebooks.currentChanged.emit();
  assert.equal(last()[1], 'b.ipynb');
});
