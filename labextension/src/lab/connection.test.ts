import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Connection, State } from './connection';
import { Sessions } from './sessions';

/** A kernel connection as JupyterLab's, as far as the connection uses it. */
class FakeKernel {
  targets = new Map<string, (comm: FakeComm) => void>();
  known: string[] = [];
  isDisposed = false;
  info = Promise.resolve({});
  statusChanged = new FakeSignal<string>();
  connectionStatusChanged = new FakeSignal<string>();
  disposed = new FakeSignal<void>();
  registerCommTarget(name: string, callback: (comm: FakeComm) => void) { this.targets.set(name, callback); }
  removeCommTarget(name: string) { this.targets.delete(name); }
  sendControlMessage(message: { header: { msg_type: string }; content: { data: unknown } }) {
    if (message.header.msg_type === 'comm_msg') {
      this.sent.push(message.content.data);
    }
    return { done: this.requestCommInfo() };
  }
  sent: unknown[] = [];
  clientId = 'page';
  username = '';
  iopubMessage = new FakeSignal<unknown>();
  async requestCommInfo() {
    return { content: { status: 'ok', comms: Object.fromEntries(this.known.map(id => [id, {}])) } };
  }
  createComm(_: string, id: string) { return new FakeComm(id); }
  interrupt() { return Promise.resolve(); }
}

class FakeSignal<T> {
  private slots: [(sender: unknown, args: T) => void, unknown][] = [];
  connect(slot: (sender: unknown, args: T) => void, self?: unknown) { this.slots.push([slot, self]); return true; }
  disconnect(slot: (sender: unknown, args: T) => void) { this.slots = this.slots.filter(([one]) => one !== slot); return true; }
  emit(args: T) { this.slots.forEach(([slot, self]) => slot.call(self, null, args)); }
  get count() { return this.slots.length; }
}

class FakeComm {
  sent: unknown[] = [];
  isDisposed = false;
  onMsg: (message: unknown) => void = () => undefined;
  onClose: (message: unknown) => void = () => undefined;
  constructor(readonly commId: string) {}
  send(data: unknown) { this.sent.push(data); }
  dispose() { this.isDisposed = true; }
}

function connected(kernel = new FakeKernel()) {
  const states: State[] = [];
  const messages: unknown[] = [];
  const connection = new Connection(kernel as never, { message: message => messages.push(message), state: state => states.push(state) });
  return { kernel, connection, states, messages };
}

const settled = () => new Promise(resolve => setTimeout(resolve, 0));

test('a kernel without raynb has none; its comm is taken when it opens', async () => {
  const { kernel, connection, states, messages } = connected();
  await settled();
  assert.deepEqual(states, ['none']);
  const comm = new FakeComm('c');
  kernel.targets.get('raynb')!(comm);
  assert.deepEqual(states, ['none', 'open']);
  comm.onMsg({ content: { data: { kind: 'beat' } } });
  assert.deepEqual(messages, [{ kind: 'beat' }]);
  connection.send({ do: 'hello' });
  assert.deepEqual(kernel.sent, [{ do: 'hello' }]);
  connection.dispose();
});

test('a page that comes later finds the comm by its target', async () => {
  const kernel = new FakeKernel();
  kernel.known = ['old', 'new'];
  const { states, connection } = connected(kernel);
  await settled();
  assert.deepEqual(states, ['open']);
  assert.equal(connection.open, true);
});

test('after a restart the comm is looked for again', async () => {
  const { kernel, states } = connected();
  await settled();
  kernel.targets.get('raynb')!(new FakeComm('c'));
  kernel.statusChanged.emit('restarting');
  kernel.statusChanged.emit('idle');
  await settled();
  assert.deepEqual(states, ['none', 'open', 'restarting', 'none']);
});

test('a restart by another page is noticed by the other name of the process', async () => {
  const { kernel, states, connection } = connected();
  await settled();
  kernel.iopubMessage.emit({ header: { session: 'first' } });
  kernel.targets.get('raynb')!(new FakeComm('c'));
  kernel.iopubMessage.emit({ header: { session: 'first' } });
  assert.deepEqual(states, ['none', 'open']);
  kernel.iopubMessage.emit({ header: { session: 'second' } });
  await settled();
  assert.deepEqual(states, ['none', 'open', 'restarting', 'none']);
  connection.dispose();
});

test('a broken connection is told, and mended when it is back', async () => {
  const kernel = new FakeKernel();
  kernel.known = ['c'];
  const { states } = connected(kernel);
  await settled();
  kernel.connectionStatusChanged.emit('connecting');
  kernel.connectionStatusChanged.emit('connected');
  await settled();
  assert.deepEqual(states, ['open', 'disconnected', 'open']);
});

test('a kernel that is silent is asked by both channels; a late answer by the first counts', () => {
  mock.timers.enable(); // without options, which Node takes in another form before 20.11
  const { kernel, connection, states } = connected();
  const comm = new FakeComm('c');
  kernel.targets.get('raynb')!(comm);
  connection.send({ do: 'hello' });
  mock.timers.tick(4000);
  mock.timers.reset();
  const [byControl, byShell] = [kernel.sent[1], comm.sent[0]] as { n: number }[];
  const answer = (asked: { n: number }) => comm.onMsg({ content: { data: { kind: 'reply', n: asked.n } } });
  answer(byShell);
  assert.deepEqual(states, ['open', 'open']); // which says hello again
  connection.send({ do: 'hello' });
  assert.deepEqual(comm.sent[1], { do: 'hello' });
  answer(byControl);
  connection.send({ do: 'ping' });
  assert.deepEqual(kernel.sent[2], { do: 'ping' });
  answer(byShell);
  assert.deepEqual(states, ['open', 'open']);
  connection.dispose();
});

test('who leaves listens no more, and does not close the comm for others', async () => {
  const { kernel, connection, states, messages } = connected();
  await settled();
  const comm = new FakeComm('c');
  kernel.targets.get('raynb')!(comm);
  connection.dispose();
  assert.deepEqual(kernel.sent, []);
  assert.equal(comm.isDisposed, true);
  comm.onMsg({ content: { data: {} } });
  kernel.statusChanged.emit('dead');
  assert.deepEqual([states, messages], [['none', 'open'], []]);
  assert.equal(kernel.statusChanged.count + kernel.connectionStatusChanged.count, 0);
});

test('all views of a kernel share one session, which ends with the kernel', async () => {
  const doc = { addEventListener: () => undefined, removeEventListener: () => undefined, hidden: false };
  Object.assign(globalThis, { document: doc });
  const kernel = new FakeKernel();
  const sessions = new Sessions();
  const session = sessions.of(kernel as never);
  assert.equal(sessions.of(kernel as never), session);
  await settled();
  assert.match(session.outside.title, /not loaded/);
  const comm = new FakeComm('c');
  const first = session.look();
  kernel.targets.get('raynb')!(comm);
  const second = session.look();
  const { page } = session;
  assert.deepEqual(kernel.sent, [{ do: 'hello', page }]); // one hello for both views
  first();
  first();
  assert.deepEqual(kernel.sent, [{ do: 'hello', page }]);
  second();
  assert.deepEqual(kernel.sent, [{ do: 'hello', page }, { do: 'bye', page }]);
  kernel.disposed.emit();
  assert.deepEqual(sessions.all(), []);
});
