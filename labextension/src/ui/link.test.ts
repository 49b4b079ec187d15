import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, counted, rate, seconds } from './format';
import { Requests } from './link';

function wired(lateAfter = 5) {
  const sent: any[] = [];
  return { sent, requests: new Requests({ send: message => sent.push(message) }, lateAfter) };
}

test('a reply reaches the one who asked', async () => {
  const { sent, requests } = wired();
  const first = requests.ask({ do: 'a' });
  const second = requests.ask({ do: 'b' });
  assert.equal(requests.answered({ kind: 'reply', n: sent[1].n, ok: true, text: 'two' }), true);
  requests.answered({ kind: 'reply', n: sent[0].n, ok: true, text: 'one' });
  assert.equal((await first).text, 'one');
  assert.equal((await second).text, 'two');
  assert.equal(requests.pending, 0);
  assert.equal(requests.answered({ kind: 'reply', n: 99 }), false);
});

test('one that is not answered is called late, and can still be answered', async () => {
  const { sent, requests } = wired();
  let reply: Promise<any> | undefined;
  await new Promise<void>(late => {
    reply = requests.ask({ do: 'a' }, late);
  });
  requests.answered({ kind: 'reply', n: sent[0].n, ok: true, text: 'at last' });
  assert.equal((await reply!).text, 'at last');
});

test('those who wait for a kernel that is gone are told', async () => {
  const { requests } = wired();
  const waiting = requests.ask({ do: 'a' }, () => assert.fail('not late: abandoned'));
  requests.abandon('The kernel is restarting');
  assert.deepEqual(await waiting, { ok: false, text: 'The kernel is restarting' });
});

test('numbers are written as people read them', () => {
  assert.deepEqual([0, 999, 1000, 1536, 100000, 3e9, 5e12].map(bytes), ['0 B', '999 B', '1.0 KB', '1.5 KB', '100 KB', '3.0 GB', '5.0 TB']);
  assert.deepEqual([0.00002, 0.0123, 0.5, 4.2, 42, 185, 7800].map(seconds),
    ['20 µs', '12.3 ms', '500 ms', '4.20 s', '42.0 s', '3 min 05 s', '2 h 10 min']);
  assert.deepEqual([0, 0.34, 12.3, 1234, 12345].map(rate), ['0', '0.3', '12', '1.2k', '12k']);
  assert.deepEqual([counted(1, 'task'), counted(1234, 'task'), counted(2, 'process', 'processes')],
    ['1 task', '1,234 tasks', '2 processes']);
});
