/** Tasks: by function, then one by one. */

import { useEffect, useMemo, useState } from 'preact/hooks';
import { bytes, clock, count, counted, seconds, shortId } from './format';
import { Inspect, StackButton } from './inspect';
import { DetailReply } from './messages';
import { Do, Empty, Facts, Hint, StackedBar, StateLabel } from './parts';
import { Counts, Filter, NO_FILTER, Picture, Task, chosen, duration, ended } from './picture';
import { Column, Table } from './table';
import { ViewProps, workerWords } from './view';
import { STATES, stateOf, stateWords } from './words';

type Props = ViewProps & { filter: Filter; setFilter: (filter: Filter) => void };

const GROUPS_SHOWN = 6;

export function Tasks(props: Omit<Props, 'filter' | 'setFilter'>) {
  const { picture, remembered, now, act } = props;
  const { filter } = remembered;
  const setFilter = (to: Filter) => {
    remembered.filter = to;
    props.redraw();
  };
  const rows = useMemo(() => inOrder(chosen(picture.tasks.values(), filter, stateWords)), [picture.turns.tasks, filter]);
  const columns = useMemo(() => columnsOf(props), [picture, Math.floor(now)]);
  if (!picture.submitted) {
    return <Empty title="no tasks yet">Call a remote function, or run a cell with <code>%%remote</code>.</Empty>;
  }
  const full: Props = { ...props, filter, setFilter };
  return (
    <div class={props.fill ? 'rn-column' : ''}>
      <Groups {...full} />
      <Filters {...full} />
      {rows.length ? (
        <Table what="task" order="newest first" label="Tasks" columns={columns} rows={rows} all={picture.submitted} id={task => task.id}
          width={props.width} fill={props.fill} open={remembered.open.tasks ?? ''}
          onOpen={id => { remembered.open.tasks = id; props.redraw(); }}
          sort={remembered.sort.tasks} onSort={sort => {
            if (sort) {
              remembered.sort.tasks = sort;
            } else {
              delete remembered.sort.tasks;
            }
            props.redraw();
          }}
          lines={task => ({
            title: <span title={task.id}>{task.title || task.name}</span>,
            figure: time(task, now),
            about: <><StateLabel state={stateOf(task, picture.paused)} /> {about(task, picture, props.width)}</>,
            actions: <Cancel task={task} act={act} />
          })}
          detail={task => <TaskDetail {...props} task={task} />} />
      ) : (
        <Empty title="no task matches">
          <button type="button" class="rn-button" onClick={() => setFilter(NO_FILTER)}>Show all</button>
        </Empty>
      )}
    </div>
  );
}

/** Running ones first, then the newest first. */
function inOrder(tasks: Task[]): Task[] {
  const rank = (task: Task) => (task.state === 'RUNNING' ? 0 : 1);
  return tasks.sort((a, b) => rank(a) - rank(b) || b.submitted - a.submitted);
}

const time = (task: Task, now: number) => {
  const value = duration(task, now);
  return value === null ? '' : seconds(value);
};

function about(task: Task, picture: Picture, width: number): string {
  const where = [picture.cell(task.scope), task.worker ? workerWords(task.worker, width) : '', task.error_type];
  return where.filter(Boolean).map(one => `· ${one}`).join(' ');
}

function Cancel(props: { task: Task; act: ViewProps['act'] }) {
  const { task, act } = props;
  return ended(task.state) ? null : (
    <Do label="Cancel" title={`Cancel this task of ${task.name}`} onClick={() => act({ do: 'cancel_task', task: task.id })} />
  );
}

const NONE = Number.NaN;
const MEMORY = 'What its worker had more at most than before, sampled four times a second';

function columnsOf(props: ViewProps): Column<Task>[] {
  const { picture, now, act } = props;
  const parent = (task: Task) => picture.tasks.get(task.parent)?.name ?? '';
  return [
    { key: 'name', title: 'Function', min: 96, grow: 2, priority: 1, value: task => task.title || task.name,
      cell: task => <span class="rn-name" title={`${task.title || task.name}  ${task.id}`}>{task.title || task.name}</span> },
    { key: 'state', title: 'State', min: 136, grow: 0, priority: 1, value: task => stateWords(stateOf(task, picture.paused)),
      cell: task => <StateLabel state={stateOf(task, picture.paused)} /> },
    { key: 'duration', title: 'Duration', min: 84, grow: 0, priority: 2, right: true,
      value: task => duration(task, now) ?? NONE, cell: task => time(task, now) },
    { key: 'cell', title: 'Cell', min: 56, grow: 0, priority: 4, value: task => picture.cell(task.scope), cell: task => picture.cell(task.scope) },
    { key: 'worker', title: 'Worker', min: 56, grow: 0, priority: 5, right: true, value: task => task.worker || NONE, cell: task => task.worker || '' },
    { key: 'started', title: 'Start', min: 64, grow: 0, priority: 7, right: true,
      value: task => task.started || NONE, cell: task => (task.started ? clock(picture.wall + task.started) : '') },
    { key: 'attempt', title: 'Attempt', min: 58, grow: 0, priority: 9, right: true,
      value: task => (task.started ? task.attempt + 1 : NONE), cell: task => (task.started ? task.attempt + 1 : '') },
    { key: 'size', title: 'Result', min: 66, grow: 0, priority: 8, right: true, value: task => task.size || NONE, cell: task => (task.size ? bytes(task.size) : '') },
    { key: 'peak', title: 'Peak memory', min: 88, grow: 0, priority: 10, right: true, value: task => task.peak || NONE,
      cell: task => (task.peak ? <span title={MEMORY}>+{bytes(task.peak)}</span> : '') },
    { key: 'inputs', title: 'Inputs', min: 52, grow: 0, priority: 11, right: true, optional: true, value: task => task.inputs, cell: task => task.inputs || '' },
    { key: 'parent', title: 'Parent', min: 80, grow: 1, priority: 12, optional: true, value: parent, cell: task => <span class="rn-name">{parent(task)}</span> },
    { key: 'id', title: 'Id', min: 90, grow: 0, priority: 13, optional: true, value: task => task.id, cell: task => <span class="rn-code" title={task.id}>{shortId(task.id)}</span> },
    { key: 'error', title: 'Error', min: 90, grow: 2, priority: 6, value: task => task.error_type,
      cell: task => <span class="rn-error rn-name" title={task.error}>{task.error_type || task.error}</span> },
    { key: 'do', title: '', min: 112, grow: 0, priority: 3, right: true, cell: task => (
      <span class="rn-act">
        {task.state === 'RUNNING' ? <StackButton view={props} table="tasks" id={task.id} name={task.name} /> : null}
        <Cancel task={task} act={act} />
      </span>
    ) }
  ];
}

const sum = (counts: Counts) => Object.values(counts).reduce((a, b) => a + b, 0);
const live = (counts: Counts) => Object.keys(counts).reduce((n, state) => n + (ended(state) ? 0 : counts[state]), 0);

function Groups({ picture, filter, setFilter, act, width }: Props) {
  const [all, setAll] = useState(false);
  const names = Object.keys(picture.groups);
  const { groups } = picture;
  // Those with unfinished tasks keep the order in which they were first seen: a flood must not move buttons about.
  const busy = (name: string) => Number(live(groups[name]) > 0);
  names.sort((a, b) => busy(b) - busy(a) || (busy(a) ? 0 : sum(groups[b]) - sum(groups[a]) || a.localeCompare(b)));
  const shown = all ? names : names.slice(0, width < 420 ? 4 : GROUPS_SHOWN);
  return (
    <section class="rn-groups" aria-label="Tasks by function">
      {shown.map(name => {
        const unfinished = live(groups[name]);
        return (
          <div key={name} class={`rn-group ${filter.group === name ? 'rn-open' : ''}`}>
            <button type="button" class="rn-link rn-name" aria-pressed={filter.group === name} title={`Show only ${name}`}
              onClick={() => setFilter({ ...filter, group: filter.group === name ? '' : name })}>{name}</button>
            <StackedBar counts={groups[name]} />
            <span class="rn-num">{count(sum(groups[name]))}</span>
            <span class="rn-act">
              {unfinished ? (
                <Do label={width < 420 ? 'Cancel' : `Cancel ${count(unfinished)}`} title={`Cancel the ${counted(unfinished, 'unfinished task')} of ${name}`}
                  onClick={() => act({ do: 'cancel_group', name })} />
              ) : null}
            </span>
          </div>
        );
      })}
      {names.length > shown.length || all ? (
        <button type="button" class="rn-link rn-note" onClick={() => setAll(!all)}>
          {all ? 'fewer functions' : `${counted(names.length - shown.length, 'more function')}`}
        </button>
      ) : null}
    </section>
  );
}

function Filters({ picture, filter, setFilter, act }: Props) {
  const cells = [...picture.scopes.keys()].sort((a, b) => b - a);
  const busy = filter.cell && (picture.scopes.get(Number(filter.cell))?.[1] ?? 0) > 0;
  return (
    <div class="rn-filters" role="search">
      <input type="search" placeholder="Filter: name, id, error…" aria-label="Filter tasks" value={filter.text}
        onInput={event => setFilter({ ...filter, text: (event.target as HTMLInputElement).value })} />
      <select aria-label="State" value={filter.state} onChange={event => setFilter({ ...filter, state: (event.target as HTMLSelectElement).value })}>
        <option value="">every state</option>
        <option value="waiting">not started</option>
        {STATES.map(state => <option key={state} value={state}>{stateWords(state)}</option>)}
      </select>
      {cells.length ? (
        <select aria-label="Cell" value={filter.cell} onChange={event => setFilter({ ...filter, cell: (event.target as HTMLSelectElement).value })}>
          <option value="">every cell</option>
          {cells.map(scope => <option key={scope} value={String(scope)}>{picture.cell(scope)}</option>)}
        </select>
      ) : null}
      {busy ? (
        <button type="button" class="rn-button" onClick={() => act({ do: 'cancel_cell', scope: Number(filter.cell) })}>
          Cancel {picture.cell(Number(filter.cell))}
        </button>
      ) : null}
    </div>
  );
}

const CHILDREN_SHOWN = 12;
const ASK_MS = 2000;

/** A closer look, in place: the whole error, what was printed, why it waits, what happened when. */
export function TaskDetail(props: ViewProps & { task: Task }) {
  const { task, ask, now, picture } = props;
  const [detail, setDetail] = useState<DetailReply | null>(null);
  useEffect(() => {
    let gone = false;
    let asking = false;
    const look = () => {
      if (asking) {
        return; // the kernel is busy
      }
      asking = true;
      void ask<DetailReply>({ do: 'detail', task: task.id }).then(reply => {
        asking = false;
        if (!gone) {
          setDetail(reply);
        }
      });
    };
    look();
    // What it prints, and why it waits, changes until it has ended.
    const timer = ended(task.state) ? undefined : setInterval(look, ASK_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [task.id, task.state]);
  const phases: [string, number, number][] = [
    ['waited', task.submitted, task.started], ['fetched inputs', task.started, task.fetched],
    ['ran', task.fetched, task.ran], ['stored results', task.ran, task.ended]
  ];
  const children = [...(picture.children.get(task.id) ?? [])];
  const link = (id: string) => {
    const other = picture.tasks.get(id);
    return (
      <button type="button" class="rn-link rn-underlined" title={id} onClick={() => {
        props.remembered.open.tasks = id;
        props.show('tasks', {});
      }}>{other ? other.title || other.name : 'task'} <span class="rn-code">{shortId(id)}</span></button>
    );
  };
  return (
    <div class="rn-more">
      <Facts items={[
        ['id', <span class="rn-code">{task.id}</span>],
        ['process', task.pid || ''],
        ['peak memory', task.peak ? `+${bytes(task.peak)}` : ''],
        ...phases.filter(([, from, to]) => from && to >= from).map(([what, from, to]): [string, string] => [what, seconds(to - from)]),
        ['submitted', !ended(task.state) && task.submitted ? `${seconds(Math.max(0, now - task.submitted))} ago` : ''],
        ['waited for', task.after ? link(task.after) : ''],
        ['parent', task.parent ? link(task.parent) : ''],
        ['children', children.length ? (
          <>{children.slice(0, CHILDREN_SHOWN).map(id => <span key={id}>{link(id)} </span>)}
            {children.length > CHILDREN_SHOWN ? `and ${count(children.length - CHILDREN_SHOWN)} more` : ''}</>
        ) : '']
      ]} />
      {picture.paused.has(task.id) ? <div><b>At a breakpoint.</b> <Hint text="%raynb debug opens its prompt." /></div> : null}
      {task.state === 'RUNNING' ? <Inspect target={{ task: task.id }} view={props} id={task.id} name={task.name} /> : null}
      {detail === null ? <div class="rn-dim">Fetching…</div> : null}
      {detail && !detail.ok ? <div class="rn-error">{detail.text}</div> : null}
      {detail?.why ? <div><b>Why it waits.</b> {detail.why}</div> : null}
      {detail?.error || (!detail && task.error) ? <pre class="rn-trace">{detail?.error || task.error}</pre> : null}
      {detail?.log ? <pre>{detail.cut ? `… ${count(detail.cut)} characters before this\n` : ''}{detail.log}</pre> : null}
      {detail?.ok && !detail.error && !detail.log ? <div class="rn-dim">It has printed nothing.</div> : null}
      {detail?.story?.length ? (
        <ol class="rn-story">
          {(detail.story as unknown as [number, string][]).map(([when, what], i) => (
            <li key={i}><span class="rn-num">{task.submitted ? `+${seconds(Math.max(0, when - task.submitted))}` : ''}</span> {told(what)}</li>
          ))}
        </ol>
      ) : null}
    </div>
  );
}

/** A line of the story with the states in words: "task RUNNING" → "running". */
function told(what: string): string {
  return what.replace(/^task /, '').replace(/\b[A-Z]{2,}(_[A-Z]+)*\b/, state => stateWords(state));
}
