/** Overview: is it busy, with what, how fast, and is there room? */

import { ComponentChildren } from 'preact';
import { bytes, count, counted, rate, seconds } from './format';
import { Do, Empty, Meter, StackedBar, StateDot, Sure } from './parts';
import { Picture, duration, rates, slots, unfinished } from './picture';
import { ViewProps, workerWords } from './view';
import { STATES, stateWords } from './words';

const BINS = 60;
const MOST_SLOTS = 64;
const RUNNING_SHOWN = 6;
const WORKERS_SHOWN = 8;

export function Overview(props: ViewProps) {
  return (
    <div class="rn-cards">
      <Cpus {...props} />
      <TaskStates {...props} />
      <Throughput picture={props.picture} now={props.now} />
      <StoreCard picture={props.picture} />
      <Running {...props} />
      <Memory {...props} />
    </div>
  );
}

function Card(props: { title: string; value?: string; unit?: string; wide?: boolean; children: ComponentChildren }) {
  return (
    <section class={`rn-card ${props.wide ? 'rn-wide' : ''}`} aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        {props.value !== undefined ? (
          <div class="rn-value">{props.value}<small>{props.unit}</small></div>
        ) : null}
      </header>
      {props.children}
    </section>
  );
}

/** More slots, fewer, a new runtime, or none. */
function RuntimeButtons({ picture, act }: ViewProps) {
  const { whole } = slots(picture.total, picture.available);
  const scale = (cpus: number) => void act({ do: 'scale', cpus });
  return (
    <span class="rn-act rn-runtime">
      {picture.nodes.length ? null : (
        <>
          <button type="button" class="rn-button rn-small" title="One CPU slot fewer" aria-label="One CPU slot fewer" disabled={whole <= 1}
            onClick={() => scale(Math.max(1, Math.ceil(whole) - 1))}>−</button>
          <button type="button" class="rn-button rn-small" title="One CPU slot more" aria-label="One CPU slot more"
            onClick={() => scale(Math.floor(whole) + 1)}>+</button>
        </>
      )}
      <Sure label="Restart" title="Stop the runtime and start it anew; what runs is cancelled and refs are gone" onClick={() => void act({ do: 'restart' })} />
      <Sure label="Stop" title="Stop the runtime; what runs is cancelled and refs are gone" onClick={() => void act({ do: 'stop' })} />
    </span>
  );
}

function Cpus(props: ViewProps) {
  const { picture } = props;
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
      <RuntimeButtons {...props} />
      {others.map(name => (
        <div class="rn-note" key={name}>
          {name}: {+((picture.total[name] ?? 0) - (picture.available[name] ?? 0)).toFixed(2)} of {+picture.total[name].toFixed(2)} in use
        </div>
      ))}
    </Card>
  );
}

function TaskStates({ picture, show }: ViewProps) {
  return (
    <Card title="Tasks" value={count(picture.submitted)} unit=" submitted">
      <StackedBar counts={picture.states} />
      <ul class="rn-legend">
        {STATES.filter(state => picture.states[state]).map(state => (
          <li key={state}>
            <button type="button" class="rn-link" title={`Show the tasks that are ${stateWords(state)}`} onClick={() => show('tasks', { state })}>
              <StateDot state={state} />{stateWords(state)} <b>{count(picture.states[state])}</b>
            </button>
          </li>
        ))}
        {picture.submitted === 0 ? <li class="rn-dim">no tasks yet</li> : null}
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
        aria-label={`${rate(latest)} tasks per second ran to an end now; peak of the last minute ${rate(peak)}`}>
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
  const text = `${bytes(store.used)} of ${bytes(store.limit)} used, ${bytes(pinned)} of it pinned, ${bytes(store.spilled)} on disk`;
  return (
    <Card title="Object store" value={bytes(store.used)} unit={` of ${bytes(store.limit)}`}>
      <Meter whole={store.limit} label={text} parts={[
        { class: 'rn-m-pinned', value: pinned, label: 'pinned' },
        { class: 'rn-m-used', value: store.used - pinned, label: 'used' }
      ]} />
      <ul class="rn-legend">
        <li><span class="rn-dot rn-m-pinned" aria-hidden="true" />pinned <b>{bytes(pinned)}</b></li>
        <li><span class="rn-dot rn-m-used" aria-hidden="true" />unpinned <b>{bytes(store.used - pinned)}</b></li>
        <li><span class="rn-dot rn-m-spilled" aria-hidden="true" />on disk <b>{bytes(store.spilled)}</b></li>
        <li class="rn-dim">{counted(store.objects, 'object')}</li>
      </ul>
    </Card>
  );
}

function Running({ picture, now, width, act, show }: ViewProps) {
  const rows = [...picture.running].flatMap(id => picture.tasks.get(id) ?? []);
  rows.sort((a, b) => a.started - b.started);
  const shown = rows.slice(0, RUNNING_SHOWN);
  // Room for what the slots may run next: in a flood of short tasks the cards below stay where they are.
  const room = Math.min(RUNNING_SHOWN, slots(picture.total, picture.available).whole, unfinished(picture.states));
  return (
    <Card title="Running now" value={count(picture.running.size)} unit={picture.running.size === 1 ? ' task' : ' tasks'} wide>
      {shown.length === 0 ? <div class="rn-now" style={{ '--rn-rows': room }}><Empty title="nothing is running" /></div> : (
        <ul class="rn-now" style={{ '--rn-rows': room }}>
          {shown.map(task => (
            <li key={task.id}>
              <span class="rn-lines">
                <span class="rn-name" title={task.title || task.name}>{task.title || task.name}</span>
                <span class="rn-dim rn-name">{[picture.paused.has(task.id) ? 'at a breakpoint' : '', picture.cell(task.scope), workerWords(task.worker, width)].filter(Boolean).join(' · ')}</span>
              </span>
              <span class="rn-num">{seconds(duration(task, now) ?? 0)}</span>
              <Do label="Cancel" title={`Cancel this task of ${task.name}`} onClick={() => act({ do: 'cancel_task', task: task.id })} />
            </li>
          ))}
        </ul>
      )}
      {picture.running.size > shown.length ? (
        <button type="button" class="rn-link rn-note" onClick={() => show('tasks', { state: 'RUNNING' })}>
          and {counted(picture.running.size - shown.length, 'more task')}
        </button>
      ) : null}
    </Card>
  );
}

function Memory({ picture, show }: ViewProps) {
  const workers = [...picture.workers.values()].filter(worker => !worker.exit);
  workers.sort((a, b) => b.rss - a.rss);
  const top = Math.max(1, ...workers.map(worker => worker.rss));
  const sum = workers.reduce((n, worker) => n + worker.rss, 0);
  const shown = workers.slice(0, WORKERS_SHOWN);
  return (
    <Card title="Worker memory" value={bytes(sum)} unit={` in ${counted(workers.length, 'process', 'processes')}`} wide>
      {shown.length === 0 ? <Empty title="no workers yet" /> : (
        <ul class="rn-memory">
          {shown.map(worker => {
            const actor = picture.actors.get(worker.actor);
            const who = actor ? actor.name || actor.class_name : `worker ${worker.id}`;
            return (
              <li key={worker.id}>
                <span class="rn-name" title={`process ${worker.pid}`}>{who}</span>
                <span class="rn-track" aria-hidden="true"><span style={{ width: `${(100 * worker.rss) / top}%` }} /></span>
                <span class="rn-num">{bytes(worker.rss)}</span>
              </li>
            );
          })}
        </ul>
      )}
      {workers.length > shown.length ? (
        <button type="button" class="rn-link rn-note" onClick={() => show('workers')}>and {counted(workers.length - shown.length, 'smaller one')}</button>
      ) : null}
    </Card>
  );
}
