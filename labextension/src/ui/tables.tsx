/** Actors, objects, workers. */

import { useMemo, useState } from 'preact/hooks';
import { ViewProps } from './app';
import { bytes, count, seconds } from './format';
import { Actor, Obj, Worker } from './model';
import { Column, Empty, Rows, Shown, StateLabel, Sure } from './parts';

export function Actors({ picture, narrow, act }: ViewProps) {
  const [open, setOpen] = useState('');
  const rows = useMemo(() => {
    const all = [...picture.actors.values()];
    const rank = (actor: Actor) => (actor.state === 'DEAD' ? 1 : 0);
    return all.sort((a, b) => rank(a) - rank(b) || a.id.length - b.id.length || a.id.localeCompare(b.id));
  }, [picture.turn]);
  if (!rows.length) {
    return <Empty title="No actor lives">Create one with <code>Class.remote()</code>, or a cell with <code>%%actor</code>.</Empty>;
  }
  const columns: Column<Actor>[] = [
    { title: 'Actor', width: 'minmax(60px, 2fr)', cell: actor => (
      <span class="rn-name" title={actor.id}>{actor.class_name}{actor.name ? <b> {actor.name}</b> : null}</span>
    ) },
    { title: 'State', width: narrow ? '40px' : 'minmax(96px, 1fr)', cell: actor => <StateLabel state={actor.state} /> },
    { title: 'Pending', width: narrow ? '52px' : '66px', right: true, cell: actor => count(actor.pending) },
    { title: 'Restarts', width: '76px', right: true, wide: true, cell: actor => (
      <span title="used of allowed">{actor.restarts}{actor.max_restarts < 0 ? ' of ∞' : actor.max_restarts ? ` of ${actor.max_restarts}` : ''}</span>
    ) },
    { title: 'Memory', width: '80px', right: true, wide: true, cell: actor => (actor.rss ? bytes(actor.rss) : '') },
    { title: 'Cell', width: '74px', wide: true, cell: actor => picture.cell(actor.scope) },
    { title: '', width: narrow ? '72px' : '190px', right: true, cell: actor => actor.state === 'DEAD' ? '' : (
      <span class="rn-act">
        {!narrow && (actor.max_restarts < 0 || actor.restarts < actor.max_restarts) ? (
          <Sure label="Restart" title="End its process; it starts again with fresh state" onClick={() => act({ do: 'restart_actor', actor: actor.id })} />
        ) : null}
        <Sure label="Kill" title="Kill this actor for good" onClick={() => act({ do: 'kill_actor', actor: actor.id })} />
      </span>
    ) }
  ];
  return (
    <div>
      <Rows label="Actors" columns={columns} rows={rows} id={actor => actor.id} narrow={narrow} open={open} onOpen={setOpen}
        detail={actor => (
          <div class="rn-more">
            <div class="rn-note">
              <span class="rn-code">{actor.id}</span>
              {actor.pid ? <span>process {actor.pid}</span> : null}
              {actor.namespace ? <span>namespace {actor.namespace}</span> : null}
              {actor.detached ? <span>detached</span> : null}
            </div>
            {actor.death_cause ? <pre class="rn-trace">{actor.death_cause}</pre> : <div class="rn-dim">It has not failed.</div>}
          </div>
        )} />
      <Shown shown={rows.length} all={rows.length} what="actor" />
    </div>
  );
}

const WHERE: Record<string, string> = {
  pending: 'being made', memory: 'in messages', shared: 'shared memory', spilled: 'on disk', lost: 'lost'
};

export function Objects({ picture, narrow, act }: ViewProps) {
  const [text, setText] = useState('');
  const rows = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...picture.objects.values()].filter(object => {
      const hay = `${object.names.join(' ')} ${object.held.join(' ')} ${object.where} ${picture.tasks.get(object.task)?.name ?? ''}`.toLowerCase();
      return words.every(word => hay.includes(word));
    });
    return all.sort((a, b) => b.size - a.size || a.id.localeCompare(b.id));
  }, [picture.turn, text]);
  if (!picture.objects.size) {
    return <Empty title="The store is empty">Results of tasks and values of <code>raynb.put()</code> live here while somebody holds a ref.</Empty>;
  }
  const maker = (object: Obj) => picture.tasks.get(object.task)?.name ?? (object.task ? 'a forgotten task' : 'put');
  const columns: Column<Obj>[] = [
    { title: 'Name', width: 'minmax(60px, 1.4fr)', cell: object => object.names.length
      ? <span class="rn-name" title={object.id}>{object.names.join(', ')}</span>
      : <span class="rn-dim" title={object.id}>unnamed</span> },
    { title: 'Size', width: narrow ? '62px' : '78px', right: true, cell: object => <span class="rn-num">{object.where === 'pending' ? '' : bytes(object.size)}</span> },
    { title: 'Where', width: narrow ? 'minmax(30px, 1fr)' : '110px', cell: object => (
      <span class={`rn-where rn-w-${object.where}`}>{object.error ? 'an error' : WHERE[object.where] ?? object.where}</span>
    ) },
    { title: 'Made by', width: 'minmax(80px, 1fr)', wide: true, cell: object => <span class="rn-name" title={maker(object)}>{maker(object)} <span class="rn-dim">{picture.cell(object.scope)}</span></span> },
    { title: 'Held by', width: 'minmax(90px, 2fr)', wide: true, cell: object => (
      <span class="rn-name" title={object.held.join('\n')}>{object.held.join(', ') || <span class="rn-dim">nobody; it goes now</span>}</span>
    ) },
    { title: '', width: narrow ? '72px' : '84px', right: true, cell: object => object.where === 'pending' ? '' : (
      <Sure label="Free" title="Free its bytes now; refs to it then raise ObjectFreedError" onClick={() => act({ do: 'free', object: object.id })} />
    ) }
  ];
  const size = rows.reduce((n, object) => n + object.size, 0);
  return (
    <div>
      <div class="rn-filters" role="search">
        <input type="search" placeholder="Filter: name, holder, maker…" aria-label="Filter objects" value={text}
          onInput={event => setText((event.target as HTMLInputElement).value)} />
        <span class="rn-note">{bytes(size)} in {count(rows.length)}</span>
      </div>
      {rows.length
        ? <Rows label="Objects" columns={columns} rows={rows} id={object => object.id} narrow={narrow} height={420} />
        : <Empty title="No object matches" />}
      <Shown shown={rows.length} all={picture.objects.size} what="object" />
    </div>
  );
}

export function Workers({ picture, narrow, now }: ViewProps) {
  const rows = useMemo(() => [...picture.workers.values()].sort((a, b) => Number(!!a.exit) - Number(!!b.exit) || a.id - b.id), [picture.turn]);
  if (!rows.length) {
    return <Empty title="No worker has started">The first task starts one.</Empty>;
  }
  const doing = (worker: Worker) => {
    const actor = picture.actors.get(worker.actor);
    const task = picture.tasks.get(worker.task);
    const who = actor ? `${actor.class_name}${actor.name ? ' ' + actor.name : ''}` : '';
    return [who, task?.name].filter(Boolean).join(' · ');
  };
  const columns: Column<Worker>[] = [
    { title: 'Worker', width: narrow ? '44px' : '60px', cell: worker => worker.id },
    { title: 'Process', width: '72px', wide: true, cell: worker => <span class="rn-num">{worker.pid || ''}</span> },
    { title: 'State', width: narrow ? '40px' : 'minmax(80px, 1fr)', cell: worker => worker.exit ? <StateLabel state="DEAD" label="ended" /> : <StateLabel state={worker.state} /> },
    { title: 'Doing', width: narrow ? 'minmax(50px, 2fr)' : 'minmax(80px, 2fr)', cell: worker => worker.exit
      ? <span class="rn-error" title={worker.exit}>{worker.exit}</span>
      : <span class="rn-name" title={doing(worker)}>{doing(worker)}</span> },
    { title: 'CPU', width: '96px', wide: true, cell: worker => worker.exit ? '' : (
      <span class="rn-cpu" aria-label={`${Math.round(worker.cpu * 100)} % of a core`}>
        <span class="rn-track"><span style={{ width: `${Math.min(100, worker.cpu * 100)}%` }} /></span>
        {Math.round(worker.cpu * 100)} %
      </span>
    ) },
    { title: 'Memory', width: narrow ? '64px' : '80px', right: true, cell: worker => (worker.exit ? '' : bytes(worker.rss)) },
    { title: 'Tasks', width: '64px', right: true, wide: true, cell: worker => count(worker.finished) },
    { title: 'Age', width: '92px', right: true, wide: true, cell: worker => (worker.exit || !worker.started ? '' : seconds(Math.max(0, now - worker.started))) }
  ];
  return (
    <div>
      <Rows label="Workers" columns={columns} rows={rows} id={worker => String(worker.id)} narrow={narrow} height={420} />
      <Shown shown={rows.length} all={rows.length} what="worker" />
    </div>
  );
}
