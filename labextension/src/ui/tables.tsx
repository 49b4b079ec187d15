/** Actors, objects, workers, nodes. */

import { useMemo, useState } from 'preact/hooks';
import { bytes, count, seconds, shortId } from './format';
import { Inspect, StackButton } from './inspect';
import { Empty, Facts, StateLabel, Sure } from './parts';
import { Actor, Node, Obj, Picture, Worker } from './picture';
import { Sort } from './sorting';
import { Column, Table, TableProps } from './table';
import { ViewProps } from './view';
import { placeWords, stateWords } from './words';

const NONE = Number.NaN;

/** "#1f" of an object that has no name: its task's last digits, and which of its results. */
function objectId(id: string): string {
  const index = parseInt(id.slice(-8), 16);
  return `${shortId(id.slice(0, -8) || '0')}${index > 1 ? `.${index}` : ''}`;
}

/** What every table is given, from what the views remember under its name. */
export function kept(props: ViewProps, name: string): Pick<TableProps<unknown>, 'width' | 'fill' | 'open' | 'onOpen' | 'sort' | 'onSort'> {
  const { remembered, redraw } = props;
  return {
    width: props.width,
    fill: props.fill,
    open: remembered.open[name] ?? '',
    onOpen: id => { remembered.open[name] = id; redraw(); },
    sort: remembered.sort[name],
    onSort: (sort: Sort | undefined) => {
      if (sort) {
        remembered.sort[name] = sort;
      } else {
        delete remembered.sort[name];
      }
      redraw();
    }
  };
}

const restarts = (actor: Actor) =>
  `${actor.restarts}${actor.max_restarts < 0 ? ' of ∞' : actor.max_restarts ? ` of ${actor.max_restarts}` : ''}`;

export function Actors(props: ViewProps) {
  const { picture, act } = props;
  const rows = useMemo(() => {
    const rank = (actor: Actor) => (actor.state === 'DEAD' ? 1 : 0);
    return [...picture.actors.values()]
      .sort((a, b) => rank(a) - rank(b) || a.id.length - b.id.length || a.id.localeCompare(b.id));
  }, [picture.turns.actors]);
  if (!rows.length) {
    return <Empty title="no actors yet">Create one with <code>Class.remote()</code>, or a cell with <code>%%actor</code>.</Empty>;
  }
  const name = (actor: Actor) => (
    <span class="rn-name" title={actor.id}>{actor.class_name}{actor.name ? <b> {actor.name}</b> : null}</span>
  );
  const actions = (actor: Actor) => (actor.state === 'DEAD' ? null : (
    <span class="rn-act">
      {actor.max_restarts < 0 || actor.restarts < actor.max_restarts ? (
        <Sure label="Restart" title="End its process; it starts again with fresh state" onClick={() => act({ do: 'restart_actor', actor: actor.id })} />
      ) : null}
      <Sure label="Kill" title="Kill this actor for good" onClick={() => act({ do: 'kill_actor', actor: actor.id })} />
    </span>
  ));
  const columns: Column<Actor>[] = [
    { key: 'name', title: 'Actor', min: 90, grow: 2, priority: 1, value: actor => `${actor.class_name} ${actor.name}`, cell: name },
    { key: 'state', title: 'State', min: 96, grow: 0, priority: 1, value: actor => stateWords(actor.state), cell: actor => <StateLabel state={actor.state} /> },
    { key: 'pending', title: 'Pending', min: 60, grow: 0, priority: 3, right: true, value: actor => actor.pending, cell: actor => count(actor.pending) },
    { key: 'restarts', title: 'Restarts', min: 64, grow: 0, priority: 6, right: true, value: actor => actor.restarts, cell: actor => <span title="used of allowed">{restarts(actor)}</span> },
    { key: 'memory', title: 'Memory', min: 66, grow: 0, priority: 4, right: true, value: actor => actor.rss || NONE, cell: actor => (actor.rss ? bytes(actor.rss) : '') },
    { key: 'cell', title: 'Cell', min: 56, grow: 0, priority: 5, value: actor => picture.cell(actor.scope), cell: actor => picture.cell(actor.scope) },
    { key: 'do', title: '', min: 174, grow: 0, priority: 2, right: true, cell: actor => (
      <span class="rn-act">
        {actor.state === 'ALIVE' ? <StackButton view={props} table="actors" id={actor.id} name={actor.class_name} /> : null}
        {actions(actor)}
      </span>
    ) }
  ];
  return (
    <Table {...kept(props, 'actors')} what="actor" order="oldest first" label="Actors" columns={columns} rows={rows} id={actor => actor.id}
      lines={actor => ({
        title: name(actor), figure: actor.rss ? bytes(actor.rss) : '',
        about: <><StateLabel state={actor.state} /> {actor.state === 'DEAD' ? '' : `· ${count(actor.pending)} pending`}</>,
        actions: actions(actor)
      })}
      detail={actor => (
        <div class="rn-more">
          <Facts items={[
            ['id', <span class="rn-code">{actor.id}</span>], ['process', actor.pid || ''], ['worker', actor.worker || ''],
            ['namespace', actor.namespace], ['restarts', restarts(actor)], ['detached', actor.detached ? 'yes' : ''],
            ['created in', picture.cell(actor.scope)]
          ]} />
          {actor.state === 'ALIVE' ? <Inspect target={{ actor: actor.id }} view={props} id={actor.id} name={actor.class_name} /> : null}
          {actor.death_cause ? <pre class="rn-trace">{actor.death_cause}</pre> : <div class="rn-dim">It has not failed.</div>}
        </div>
      )} />
  );
}

export function Objects(props: ViewProps) {
  const { picture, act } = props;
  const [text, setText] = useState('');
  const maker = (object: Obj) => picture.tasks.get(object.task)?.name ?? (object.task ? 'a forgotten task' : 'put');
  const rows = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return [...picture.objects.values()]
      .filter(object => {
        const hay = `${object.names.join(' ')} ${object.id} ${object.held.join(' ')} ${object.stale && 'stale'} ${placeWords(object.where)} ${maker(object)}`.toLowerCase();
        return words.every(word => hay.includes(word));
      })
      .sort((a, b) => b.size - a.size || a.id.localeCompare(b.id));
  }, [picture.turns.objects, text]);
  if (!picture.objects.size) {
    return <Empty title="no objects yet">Results of tasks and values of <code>raynb.put()</code> are here while somebody holds a ref.</Empty>;
  }
  const stale = (object: Obj) => (object.stale ? <span class="rn-outdated" title={object.stale}> stale</span> : null);
  const name = (object: Obj) => (object.names.length
    ? <span class="rn-name" title={object.stale || object.id}>{object.names.join(', ')}{stale(object)}</span>
    : <span class="rn-dim rn-name" title={object.id}>unnamed <span class="rn-code">#{objectId(object.id)}</span>{stale(object)}</span>);
  const size = (object: Obj) => (object.where === 'pending' ? '' : bytes(object.size));
  const where = (object: Obj) => (object.error ? 'an error' : placeWords(object.where));
  const place = (object: Obj) => <span class={`rn-where rn-w-${object.where}`}>{where(object)}</span>;
  const holders = (object: Obj) => object.held.join(', ');
  const free = (object: Obj) => (object.where === 'pending' ? null : (
    <Sure label="Free" title="Free its bytes now; refs to it then raise ObjectFreedError" onClick={() => act({ do: 'free', object: object.id })} />
  ));
  const columns: Column<Obj>[] = [
    { key: 'name', title: 'Name', min: 90, grow: 1.4, priority: 1, value: object => object.names.join(', '), cell: name },
    { key: 'size', title: 'Size', min: 66, grow: 0, priority: 1, right: true, value: object => (object.where === 'pending' ? NONE : object.size), cell: size },
    { key: 'where', title: 'Where', min: 136, grow: 0, priority: 2, value: where, cell: place },
    { key: 'maker', title: 'Made by', min: 90, grow: 1, priority: 5, value: maker, cell: object => <span class="rn-name" title={maker(object)}>{maker(object)} <span class="rn-dim">{picture.cell(object.scope)}</span></span> },
    { key: 'held', title: 'Held by', min: 110, grow: 2, priority: 4, value: holders,
      cell: object => <span class="rn-name" title={object.held.join('\n')}>{holders(object) || <span class="rn-dim">nobody; it goes now</span>}</span> },
    { key: 'id', title: 'Id', min: 90, grow: 0, priority: 9, optional: true, value: object => object.id, cell: object => <span class="rn-code" title={object.id}>{objectId(object.id)}</span> },
    { key: 'do', title: '', min: 56, grow: 0, priority: 3, right: true, cell: free }
  ];
  const sum = rows.reduce((n, object) => n + object.size, 0);
  return (
    <div class={props.fill ? 'rn-column' : ''}>
      <div class="rn-filters" role="search">
        <input type="search" placeholder="Filter: name, id, holder…" aria-label="Filter objects" value={text}
          onInput={event => setText((event.target as HTMLInputElement).value)} />
        <span class="rn-dim">{bytes(sum)} in {count(rows.length)}</span>
      </div>
      {rows.length ? (
        <Table {...kept(props, 'objects')} what="object" order="largest first" label="Objects" columns={columns} rows={rows} all={picture.objects.size} id={object => object.id}
          lines={object => ({
            title: name(object), figure: size(object), actions: free(object),
            about: <>{where(object)} · {maker(object)}{holders(object) ? ` · held by ${holders(object)}` : ''}</>
          })}
          detail={object => (
            <div class="rn-more">
              <Facts items={[
                ['id', <span class="rn-code">{object.id}</span>], ['where', where(object)], ['made by', maker(object)],
                ['in', picture.cell(object.scope)], ['held by', holders(object) || 'nobody'],
                ...(object.stale ? [['stale', object.stale] as [string, string]] : [])
              ]} />
            </div>
          )} />
      ) : <Empty title="no object matches" />}
    </div>
  );
}

function doing(worker: Worker, picture: Picture): string {
  const actor = picture.actors.get(worker.actor);
  // What the worker's row names may have ended since; what runs is known exactly.
  const task = picture.running.has(worker.task) ? picture.tasks.get(worker.task) : undefined;
  const who = actor ? `${actor.class_name}${actor.name ? ' ' + actor.name : ''}` : '';
  return [who, task?.name].filter(Boolean).join(' · ');
}

export function Workers(props: ViewProps) {
  const { picture, now } = props;
  const rows = useMemo(
    () => [...picture.workers.values()].sort((a, b) => Number(!!a.exit) - Number(!!b.exit) || a.id - b.id),
    [picture.turns.workers]
  );
  if (!rows.length) {
    return <Empty title="no workers yet">The first task starts one.</Empty>;
  }
  const state = (worker: Worker) => <StateLabel state={worker.exit ? 'DEAD' : worker.state} label={worker.exit ? 'ended' : undefined} />;
  const does = (worker: Worker) => (worker.exit
    ? <span class="rn-error rn-name" title={worker.exit}>{worker.exit}</span>
    : <span class="rn-name" title={doing(worker, picture)}>{doing(worker, picture)}</span>);
  const node = (worker: Worker) => picture.nodes.find(one => one.id === worker.node)?.host ?? '';
  const columns: Column<Worker>[] = [
    { key: 'id', title: 'Worker', min: 52, grow: 0, priority: 1, value: worker => worker.id, cell: worker => worker.id },
    { key: 'state', title: 'State', min: 108, grow: 0, priority: 1, value: worker => (worker.exit ? 'ended' : stateWords(worker.state)), cell: state },
    { key: 'doing', title: 'Doing', min: 80, grow: 2, priority: 3, value: worker => worker.exit || doing(worker, picture), cell: does },
    { key: 'cpu', title: 'CPU', min: 92, grow: 0, priority: 4, value: worker => (worker.exit ? NONE : worker.cpu), cell: worker => (worker.exit ? '' : (
      <span class="rn-cpu">
        <span class="rn-track" aria-hidden="true"><span style={{ width: `${Math.min(100, worker.cpu * 100)}%` }} /></span>
        <span>{Math.round(worker.cpu * 100)} %</span>
      </span>
    )) },
    { key: 'memory', title: 'Memory', min: 66, grow: 0, priority: 2, right: true, value: worker => (worker.exit ? NONE : worker.rss), cell: worker => (worker.exit ? '' : bytes(worker.rss)) },
    { key: 'tasks', title: 'Tasks', min: 52, grow: 0, priority: 5, right: true, value: worker => worker.finished, cell: worker => count(worker.finished) },
    { key: 'pid', title: 'Process', min: 64, grow: 0, priority: 7, right: true, value: worker => worker.pid, cell: worker => worker.pid || '' },
    { key: 'age', title: 'Age', min: 76, grow: 0, priority: 6, right: true, value: worker => (worker.exit || !worker.started ? NONE : now - worker.started),
      cell: worker => (worker.exit || !worker.started ? '' : seconds(Math.max(0, now - worker.started))) },
    ...(picture.nodes.length ? [{ key: 'node', title: 'Node', min: 80, grow: 1, priority: 5, value: node, cell: node }] : [])
  ];
  return (
    <Table {...kept(props, 'workers')} what="worker" order="by number" label="Workers" columns={columns} rows={rows} id={worker => String(worker.id)}
      lines={worker => ({
        title: `worker ${worker.id}`, figure: worker.exit ? '' : bytes(worker.rss),
        about: <>{state(worker)} {worker.exit ? does(worker) : doing(worker, picture) ? `· ${doing(worker, picture)}` : ''}</>,
        actions: worker.exit ? '' : <span class="rn-dim">{Math.round(worker.cpu * 100)} %</span>
      })}
      detail={worker => (
        <div class="rn-more">
          <Facts items={[
            ['process', worker.pid || ''], ['CPU', worker.exit ? '' : `${Math.round(worker.cpu * 100)} % of a core`],
            ['memory', worker.exit ? '' : bytes(worker.rss)], ['tasks done', count(worker.finished)], ['node', node(worker)],
            ['age', worker.exit || !worker.started ? '' : seconds(Math.max(0, now - worker.started))]
          ]} />
          {worker.exit ? <pre class="rn-trace">{worker.exit}</pre>
            : <Inspect target={{ worker: worker.id }} view={props} id={String(worker.id)} name={`worker ${worker.id}`} />}
        </div>
      )} />
  );
}

export function Nodes(props: ViewProps) {
  const { picture } = props;
  const rows = picture.nodes;
  if (!rows.length) {
    return <Empty title="one machine">The runtime runs on this machine; nodes are those of a Ray cluster.</Empty>;
  }
  const name = (node: Node) => node.host || node.address || shortId(node.node_id);
  const state = (node: Node) => <StateLabel state={node.alive ? 'ALIVE' : 'DEAD'} />;
  const used = (value: number, whole: number) => (whole ? `${bytes(value)} of ${bytes(whole)}` : '');
  // A dead node has nothing in use: what it had says nothing any more.
  const cpus = (node: Node) => (node.alive ? `${+node.cpus_used.toFixed(1)} of ${+node.cpus.toFixed(1)}` : '');
  const memory = (node: Node) => (node.alive ? used(node.memory_used, node.memory) : '');
  const store = (node: Node) => (node.alive ? used(node.store_used, node.store) : '');
  const more = (node: Node) => [node.driver ? 'this kernel' : '', memory(node), node.alive ? '' : node.death_cause].filter(Boolean).join(' · ');
  const columns: Column<Node>[] = [
    { key: 'name', title: 'Node', min: 100, grow: 2, priority: 1, value: name, cell: node => <span class="rn-name" title={node.node_id}>{name(node)}{node.driver ? <span class="rn-dim"> this kernel</span> : null}</span> },
    { key: 'state', title: 'State', min: 72, grow: 0, priority: 1, value: node => (node.alive ? 'alive' : 'dead'), cell: state },
    { key: 'cpus', title: 'CPU slots', min: 76, grow: 0, priority: 2, right: true, value: node => (node.alive ? node.cpus_used : NONE), cell: cpus },
    { key: 'gpus', title: 'GPUs', min: 60, grow: 0, priority: 4, right: true, value: node => (node.alive ? node.gpus_used : NONE), cell: node => (node.alive && node.gpus ? `${node.gpus_used} of ${node.gpus}` : '') },
    { key: 'cpu', title: 'CPU', min: 54, grow: 0, priority: 5, right: true, value: node => node.cpu, cell: node => (node.alive ? `${Math.round(node.cpu * 100)} %` : '') },
    { key: 'memory', title: 'Memory', min: 130, grow: 0, priority: 3, right: true, value: node => node.memory_used, cell: memory },
    { key: 'store', title: 'Store', min: 130, grow: 0, priority: 6, right: true, value: node => node.store_used, cell: store },
    { key: 'spilled', title: 'On disk', min: 66, grow: 0, priority: 8, right: true, value: node => node.spilled, cell: node => (node.spilled ? bytes(node.spilled) : '') },
    { key: 'workers', title: 'Workers', min: 60, grow: 0, priority: 7, right: true, value: node => node.workers, cell: node => (node.alive ? count(node.workers) : '') }
  ];
  return (
    <Table {...kept(props, 'nodes')} what="node" order="as they joined" label="Nodes" columns={columns} rows={rows} id={node => String(node.id)}
      lines={node => ({
        title: name(node), figure: node.alive ? `${cpus(node)} CPU` : '',
        about: <>{state(node)} {more(node) ? `· ${more(node)}` : ''}</>
      })}
      detail={node => (
        <div class="rn-more">
          <Facts items={[
            ['id', <span class="rn-code">{node.node_id}</span>], ['address', node.address], ['head', node.head ? 'yes' : ''],
            ['memory', memory(node)], ['store', store(node)],
            ['on disk', node.spilled ? bytes(node.spilled) : ''],
            ['resources', Object.entries(node.resources).map(([what, amount]) => `${what}: ${amount}`).join(', ')],
            ['labels', Object.entries(node.labels).map(([what, value]) => `${what}=${value}`).join(', ')]
          ]} />
          {node.death_cause ? <pre class="rn-trace">{node.death_cause}</pre> : null}
        </div>
      )} />
  );
}
