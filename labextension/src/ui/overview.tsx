/** Overview: is it busy, with what, how fast, and is there room? */

import { ViewProps } from './app';
import { bytes, count, counted, rate, seconds } from './format';
import { Counts, Picture, STATES, STATE_LABEL, byState, duration, ended, rates, slots } from './model';
import { Empty, Meter, StackedBar, StateDot } from './parts';

const BINS = 60;
const MOST_SLOTS = 64;

export function Overview(props: ViewProps) {
  return (
    <div class="rn-cards">
      <Cpus {...props} />
      <TaskStates {...props} />
      <Throughput picture={props.picture} now={props.now} />
      <StoreCard picture={props.picture} />
      <Running {...props} />
      <Memory picture={props.picture} />
    </div>
  );
}

function Card(props: { title: string; value?: string; unit?: string; wide?: boolean; children: any }) {
  return (
    <section class={`rn-card ${props.wide ? 'rn-wide' : ''}`} aria-label={props.title}>
      <header>
        <h3>{props.title}</h3>
        {props.value !== undefined ? (
          <div class="rn-value">{props.value}<small>{props.unit}</small></div>
        ) : null}
      </header>
      {props.children}
    </section>
  );
}

function Cpus({ picture }: ViewProps) {
  const { whole, busy, resumed } = slots(picture.total, picture.available);
  const boxes = Math.ceil(whole);
  const more = resumed ? `, ${resumed} more resumed` : '';
  const text = `${busy} of ${whole} CPU slots busy${more}`;
  const others = Object.keys(picture.total).filter(name => name !== 'CPU' && name !== 'memory' &&
    name !== 'object_store_memory' && !name.startsWith('node:'));
  return (
    <Card title="CPU slots" value={String(busy)} unit={` of ${whole} busy${more}`}>
      {boxes <= MOST_SLOTS ? (
        <div class="rn-slots" role="img" aria-label={text}>
          {Array.from({ length: boxes }, (_, i) => (
            <span key={i} class="rn-slot">
              <span style={{ width: `${100 * Math.max(0, Math.min(1, busy - i))}%` }} />
            </span>
          ))}
        </div>
      ) : (
        <Meter parts={[{ class: 'rn-s-RUNNING', value: busy, label: 'busy' }]} whole={whole} label={text} />
      )}
      {others.map(name => (
        <div class="rn-note" key={name}>
          {name}: {+((picture.total[name] ?? 0) - (picture.available[name] ?? 0)).toFixed(2)} of {+picture.total[name].toFixed(2)} in use
        </div>
      ))}
    </Card>
  );
}

function TaskStates({ picture, show }: ViewProps) {
  const counts: Counts = byState(picture.groups);
  const all = Object.values(counts).reduce((a, b) => a + b, 0);
  return (
    <Card title="Tasks" value={count(all)} unit={all === 1 ? ' submitted' : ' submitted'}>
      <StackedBar counts={counts} />
      <ul class="rn-legend">
        {STATES.filter(state => counts[state]).map(state => (
          <li key={state}>
            <button type="button" class="rn-link" onClick={() => show('tasks', { state })}>
              <StateDot state={state} />{STATE_LABEL[state]} <b>{count(counts[state])}</b>
            </button>
          </li>
        ))}
        {all === 0 ? <li class="rn-dim">nothing submitted yet</li> : null}
      </ul>
    </Card>
  );
}

function Throughput(props: { picture: Picture; now: number }) {
  const values = rates(props.picture.history, props.now, BINS);
  const latest = Math.max(values[BINS - 1], values[BINS - 2] ?? 0);
  const peak = Math.max(...values);
  const top = peak || 1;
  const step = 100 / (BINS - 1);
  const points = values.map((v, i) => `${(i * step).toFixed(2)},${(38 - (34 * v) / top).toFixed(2)}`);
  return (
    <Card title="Throughput" value={rate(latest)} unit=" tasks/s">
      <svg class="rn-spark" viewBox="0 0 100 40" preserveAspectRatio="none" role="img"
        aria-label={`${rate(latest)} tasks per second now; peak of the last minute ${rate(peak)}`}>
        <path class="rn-area" d={`M0,40 L${points.join(' L')} L100,40 Z`} />
        <polyline class="rn-line" points={points.join(' ')} />
      </svg>
      <div class="rn-note rn-split"><span>last minute</span><span>peak {rate(peak)}/s</span></div>
    </Card>
  );
}

function StoreCard({ picture }: { picture: Picture }) {
  const { store } = picture;
  const pinned = Math.min(store.pinned, store.used);
  const text = `${bytes(store.used)} of ${bytes(store.limit)} used, ${bytes(pinned)} of it pinned, ${bytes(store.spilled)} spilled to disk`;
  return (
    <Card title="Object store" value={bytes(store.used)} unit={` of ${bytes(store.limit)}`}>
      <Meter whole={store.limit} label={text} parts={[
        { class: 'rn-m-pinned', value: pinned, label: 'pinned' },
        { class: 'rn-m-used', value: store.used - pinned, label: 'used' }
      ]} />
      <ul class="rn-legend">
        <li><span class="rn-dot rn-m-pinned" />pinned <b>{bytes(pinned)}</b></li>
        <li><span class="rn-dot rn-m-used" />unpinned <b>{bytes(store.used - pinned)}</b></li>
        <li><span class="rn-dot rn-m-spilled" />on disk <b>{bytes(store.spilled)}</b></li>
        <li class="rn-dim">{counted(store.objects, 'object')}</li>
      </ul>
    </Card>
  );
}

function Running({ picture, now, act, show }: ViewProps) {
  const running = [...picture.tasks.values()].filter(task => task.state === 'RUNNING');
  running.sort((a, b) => a.started - b.started);
  const shown = running.slice(0, 6);
  return (
    <Card title="Running now" wide>
      {shown.length === 0 ? <Empty title="Nothing is running" /> : (
        <ul class="rn-now">
          {shown.map(task => (
            <li key={task.id}>
              <StateDot state="RUNNING" />
              <span class="rn-name" title={task.name}>{task.name}</span>
              <span class="rn-dim">{picture.cell(task.scope)}</span>
              <span class="rn-dim">worker {task.worker}</span>
              <span class="rn-num">{seconds(duration(task, now) ?? 0)}</span>
              <button type="button" class="rn-button rn-small" title={`Cancel this task of ${task.name}`}
                onClick={() => act({ do: 'cancel_task', task: task.id })}>Cancel</button>
            </li>
          ))}
        </ul>
      )}
      {running.length > shown.length ? (
        <button type="button" class="rn-link rn-note" onClick={() => show('tasks', { state: 'RUNNING' })}>
          and {counted(running.length - shown.length, 'more task')}
        </button>
      ) : null}
    </Card>
  );
}

function Memory({ picture }: { picture: Picture }) {
  const workers = [...picture.workers.values()].filter(worker => !worker.exit);
  workers.sort((a, b) => b.rss - a.rss);
  const top = Math.max(1, ...workers.map(worker => worker.rss));
  const sum = workers.reduce((n, worker) => n + worker.rss, 0);
  const shown = workers.slice(0, 8);
  return (
    <Card title="Worker memory" value={bytes(sum)} unit={` in ${counted(workers.length, 'process', 'processes')}`} wide>
      <ul class="rn-memory">
        {shown.map(worker => {
          const actor = picture.actors.get(worker.actor);
          const who = actor ? actor.name || actor.class_name : `worker ${worker.id}`;
          return (
            <li key={worker.id} aria-label={`${who}, process ${worker.pid}: ${bytes(worker.rss)}`}>
              <span class="rn-name" title={`process ${worker.pid}`}>{who}</span>
              <span class="rn-track"><span style={{ width: `${(100 * worker.rss) / top}%` }} /></span>
              <span class="rn-num">{bytes(worker.rss)}</span>
            </li>
          );
        })}
      </ul>
      {workers.length > shown.length ? <div class="rn-note">and {counted(workers.length - shown.length, 'smaller one')}</div> : null}
    </Card>
  );
}

/** How many tasks are neither finished nor failed nor cancelled. */
export function unfinished(groups: Record<string, Counts>): number {
  const counts = byState(groups);
  return Object.keys(counts).filter(state => !ended(state)).reduce((n, state) => n + counts[state], 0);
}
