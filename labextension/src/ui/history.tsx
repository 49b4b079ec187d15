/** Over time: CPU, memory, store and tasks a second, for the life of the runtime. */

import { useEffect, useState } from 'preact/hooks';
import { bytes, clock, rate, seconds } from './format';
import { HistoryReply } from './messages';
import { Empty, Looking } from './parts';
import { ViewProps } from './view';

const ASK_MS = 5000;
const WIDE = 300;
const HIGH = 64;

export function History(props: ViewProps) {
  const { ask, picture } = props;
  const [reply, setReply] = useState<HistoryReply | null>(null);
  const [answered, setAnswered] = useState(false);
  useEffect(() => {
    let gone = false;
    const look = () => void ask<HistoryReply>({ do: 'history' }).then(found => {
      if (!gone) {
        setAnswered(true);
        setReply(before => (found.ok ? found : before));
      }
    });
    look();
    const timer = setInterval(look, ASK_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, []);
  if (!answered) {
    return <Looking />;
  }
  if (!reply || reply.times.length < 2) {
    return <Empty title="no history yet">A point is taken every second; older ones are kept at a lower resolution.</Empty>;
  }
  const { times, wall } = reply;
  const from = times[0];
  const to = times[times.length - 1];
  const chart = (title: string, lines: [string, string, number[]][], top: number, words: (value: number) => string) => (
    <Chart key={title} title={title} times={times} lines={lines} top={top} words={words} wall={wall} />
  );
  const limit = reply.memory_limit || Math.max(1, ...reply.memory);
  return (
    <div class="rn-history">
      <div class="rn-note rn-split">
        <span>{clock(wall + from)} – {clock(wall + to)} ({seconds(to - from)})</span>
      </div>
      <div class="rn-cards">
        {chart('CPU', [['machine', 'rn-c-1', reply.cpu], ['workers', 'rn-c-2', reply.workers_cpu]], 1, value => `${Math.round(value * 100)} %`)}
        {chart('Memory', [['machine', 'rn-c-1', reply.memory], ['workers', 'rn-c-2', reply.workers_memory]], limit, bytes)}
        {chart('Object store', [['used', 'rn-c-1', reply.store], ['on disk', 'rn-c-3', reply.spilled]], Math.max(1, ...reply.store, ...reply.spilled), bytes)}
        {chart('Throughput', [['tasks/s', 'rn-c-1', reply.rate]], Math.max(1, ...reply.rate), value => `${rate(value)}/s`)}
        {chart('Busy CPU slots', [['slots', 'rn-c-2', reply.busy]], Math.max(1, picture.total.CPU ?? 1), value => rate(value))}
      </div>
    </div>
  );
}

function Chart(props: {
  title: string; times: number[]; lines: [string, string, number[]][]; top: number; words: (value: number) => string; wall: number;
}) {
  const { times, lines, top, words } = props;
  const from = times[0];
  const span = Math.max(times[times.length - 1] - from, 1e-9);
  const point = (value: number, i: number) =>
    `${(((times[i] - from) / span) * WIDE).toFixed(1)},${(HIGH - 2 - (HIGH - 4) * Math.min(1, value / top)).toFixed(1)}`;
  const latest = (values: number[]) => words(values[values.length - 1]);
  const label = lines.map(([name, , values]) => `${name} ${latest(values)}, at most ${words(Math.max(...values))}`).join('; ');
  return (
    <section class="rn-card" aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        <div class="rn-value">{latest(lines[0][2])}</div>
      </header>
      <svg class="rn-chart" viewBox={`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" role="img" aria-label={`${props.title}: ${label}`}>
        {lines.map(([name, style, values]) => (
          <polyline key={name} class={`rn-line ${style}`} points={values.map(point).join(' ')} />
        ))}
      </svg>
      <div class="rn-legend">
        {lines.map(([name, style, values]) => (
          <span key={name}><span class={`rn-dot ${style}`} aria-hidden="true" />{name} <b>{latest(values)}</b> <span class="rn-dim">≤ {words(Math.max(...values))}</span></span>
        ))}
      </div>
    </section>
  );
}
