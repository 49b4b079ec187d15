import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, counted, rate, seconds, shortId } from './format';
import { Link, Requests } from './link';
import { KernelMessage, ReplyMessage, VERSION } from './messages';
import { Session } from './session';

type Sent = Parameters<Link['send']>[0] & { n: number };

function wired(lateAfter = 5) {
  const sent: Sent[] = [];
  return { sent, requests: new Requests({ send: message => sent.push(message as Sent) }, lateAfter) };
}

const reply = (n: number, text = ''): ReplyMessage => ({ v: VERSION, kind: 'reply', n, do: '', ok: true, text });

test('a reply reaches the one who asked', async () => {
  const { sent, requests } = wired();
  const first = requests.ask({ do: 'cancel_all' });
  const second = requests.ask({ do: 'history' });
  assert.equal(requests.answered(reply(sent[1].n, 'two')), true);
  requests.answered(reply(sent[0].n, 'one'));
  assert.equal((await first).text, 'one');
  assert.equal((await second).text, 'two');
  assert.equal(requests.pending, 0);
  assert.equal(requests.answered(reply(99)), false);
});

test('a request names the runtime that is seen when it is made', () => {
  const sent: Sent[] = [];
  let runtime = '';
  const requests = new Requests({ send: message => sent.push(message as Sent) }, 5, () => runtime);
  void requests.ask({ do: 'cancel_all' });
  runtime = 'ab';
  void requests.ask({ do: 'cancel_all' });
  assert.deepEqual(sent, [{ do: 'cancel_all', n: 1 }, { do: 'cancel_all', n: 2, runtime: 'ab' }]);
});

test('one that is not answered is called late, and can still be answered', async () => {
  const { sent, requests } = wired();
  let answer: Promise<{ text: string }> | undefined;
  await new Promise<void>(late => {
    answer = requests.ask({ do: 'cancel_all' }, late);
  });
  requests.answered(reply(sent[0].n, 'at last'));
  assert.equal((await answer!).text, 'at last');
});

test('those who wait for a kernel that is gone are told', async () => {
  const { requests } = wired();
  const waiting = requests.ask({ do: 'cancel_all' }, () => assert.fail('not late: abandoned'));
  requests.abandon('The kernel is restarting');
  assert.deepEqual(await waiting, { ok: false, text: 'The kernel is restarting' });
});

test('numbers are written as people read them', () => {
  assert.deepEqual([0, 999, 1000, 1536, 100000, 3e9, 5e12].map(bytes), ['0 B', '999 B', '1.0 KB', '1.5 KB', '100 KB', '3.0 GB', '5.0 TB']);
  assert.deepEqual([0, 0.00002, 0.0024, 0.0123, 0.5, 4.2, 42, 60, 185, 7800].map(seconds),
    ['0 s', '20 µs', '2.4 ms', '12 ms', '500 ms', '4.2 s', '42 s', '1 min', '3 min 5 s', '2 h 10 min']);
  assert.deepEqual([0, 0.34, 12.3, 1234].map(rate), ['0', '0.3', '12', '1,234']);
  assert.deepEqual([counted(1, 'task'), counted(1234, 'task'), counted(2, 'process', 'processes')],
    ['1 task', '1,234 tasks', '2 processes']);
  assert.deepEqual([shortId('1f'), shortId('0123456789abcdef')], ['1f', '…89abcdef']);
});

test('who shares a comm takes only its own answers; ids of one runtime open nothing in the next', async () => {
  const sent: { n: number }[] = [];
  const link = { send: (message: unknown) => sent.push(message as { n: number }) };
  const [one, other] = [new Session(link), new Session(link)];
  const first = one.requests.ask({ do: 'history' });
  const second = other.requests.ask({ do: 'graph' });
  for (const session of [one, other]) {
    session.receive(reply(sent[1].n, 'graph'));
    session.receive(reply(sent[0].n, 'history'));
  }
  assert.deepEqual([(await first).text, (await second).text], ['history', 'graph']);
  const none = { tasks: [], actors: [], objects: [], workers: [], nodes: [], running: [], paused: [], columns: {}, groups: {}, gone: {} };
  const filled = (runtime: string) => ({ v: VERSION, kind: 'full', runtime, ...none }) as unknown as KernelMessage;
  one.receive(filled('a'));
  Object.assign(one.remembered, { open: { tasks: '1' }, filter: { text: 'f', state: '', cell: '3', group: '' } });
  one.receive(filled('a'));
  assert.equal(one.remembered.open.tasks, '1');
  one.receive(filled('b'));
  assert.deepEqual([one.remembered.open, one.remembered.filter], [{}, { text: 'f', state: '', cell: '', group: '' }]);
});
