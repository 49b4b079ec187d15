/** Tasks: by function, then one by one. */

import { useEffect, useMemo, useState } from 'preact/hooks';
import { ViewProps } from './app';
import { count, seconds } from './format';
import { Reply } from './link';
import { Counts, Filter, Picture, STATES, STATE_LABEL, Task, chosen, duration, ended } from './model';
import { Column, Empty, Rows, Shown, StackedBar, StateLabel } from './parts';

export type TaskFilter = Filter;
export const NO_FILTER: TaskFilter = { text: '', state: '', cell: '', group: '' };

type Props = ViewProps & { filter: TaskFilter; setFilter: (filter: TaskFilter) => void };

export function Tasks(props: Props) {
  const { picture, filter, setFilter, narrow, act, now } = props;
  const [open, setOpen] = useState('');
  const rows = useMemo(() => chosen(picture.tasks.values(), filter), [picture.turn, filter]);
  if (!Object.keys(picture.groups).length) {
    return <Empty title="No task has been submitted">Call a remote function, or run a cell with <code>%%remote</code>.</Empty>;
  }
  const columns: Column<Task>[] = [
    { title: 'Function', width: narrow ? 'minmax(50px, 2fr)' : 'minmax(90px, 2fr)', cell: task => <span class="rn-name" title={`${task.name}  ${task.id}`}>{task.name}</span> },
    { title: 'State', width: narrow ? '40px' : 'minmax(118px, 1fr)', cell: task => <StateLabel state={task.state} /> },
    { title: narrow ? 'Time' : 'Duration', width: narrow ? '62px' : '76px', right: true, cell: task => <span class="rn-num">{tell(duration(task, now))}</span> },
    { title: 'Worker', width: '62px', right: true, wide: true, cell: task => task.worker || '' },
    { title: 'Attempt', width: '62px', right: true, wide: true, cell: task => (task.started ? task.attempt + 1 : '') },
    { title: 'Cell', width: '74px', wide: true, cell: task => picture.cell(task.scope) },
    { title: 'Error', width: 'minmax(60px, 2fr)', wide: true, cell: task => <span class="rn-error" title={task.error}>{task.error_type || task.error}</span> },
    { title: '', width: narrow ? '62px' : '66px', right: true, cell: task => ended(task.state) ? '' : (
      <button type="button" class="rn-button rn-small" title={`Cancel this task of ${task.name}`} onClick={event => {
        event.stopPropagation();
        act({ do: 'cancel_task', task: task.id });
      }}>Cancel</button>
    ) }
  ];
  return (
    <div>
      <Groups {...props} />
      <Filters {...props} />
      {rows.length ? (
        <Rows label="Tasks" columns={columns} rows={rows} id={task => task.id} narrow={narrow} open={open}
          onOpen={setOpen} detail={task => <Detail task={task} {...props} />} height={360} />
      ) : <Empty title="No task matches">
        <button type="button" class="rn-button" onClick={() => setFilter(NO_FILTER)}>Show all</button>
      </Empty>}
      <Shown shown={rows.length} all={Object.values(picture.groups).reduce((n, c) => n + sum(c), 0)} what="task" />
    </div>
  );
}

const tell = (value: number | null) => (value === null ? '' : seconds(value));
const sum = (counts: Counts) => Object.values(counts).reduce((a, b) => a + b, 0);

function Groups({ picture, filter, setFilter, act }: Props) {
  const [all, setAll] = useState(false);
  const names = Object.keys(picture.groups);
  const live = (name: string) => Object.keys(picture.groups[name])
    .reduce((n, state) => n + (ended(state) ? 0 : picture.groups[name][state]), 0);
  names.sort((a, b) => live(b) - live(a) || sum(picture.groups[b]) - sum(picture.groups[a]) || a.localeCompare(b));
  const shown = all ? names : names.slice(0, 6);
  return (
    <section class="rn-groups" aria-label="Tasks by function">
      {shown.map(name => {
        const counts = picture.groups[name];
        const unfinished = live(name);
        return (
          <div key={name} class={`rn-group ${filter.group === name ? 'rn-open' : ''}`}>
            <button type="button" class="rn-link rn-name" aria-pressed={filter.group === name} title={`Show only ${name}`}
              onClick={() => setFilter({ ...filter, group: filter.group === name ? '' : name })}>{name}</button>
            <StackedBar counts={counts} />
            <span class="rn-num">{count(sum(counts))}</span>
            <span class="rn-act">
              {unfinished ? (
                <button type="button" class="rn-button rn-small" title={`Cancel the unfinished tasks of ${name}`}
                  onClick={() => act({ do: 'cancel_group', name })}>Cancel {count(unfinished)}</button>
              ) : null}
            </span>
          </div>
        );
      })}
      {names.length > 6 ? (
        <button type="button" class="rn-link rn-note" onClick={() => setAll(!all)}>
          {all ? 'fewer functions' : `${names.length - 6} more functions`}
        </button>
      ) : null}
    </section>
  );
}

function Filters({ picture, filter, setFilter, act }: Props) {
  const cells = cellsOf(picture);
  const busy = filter.cell && [...picture.tasks.values()].some(task => String(task.scope) === filter.cell && !ended(task.state));
  return (
    <div class="rn-filters" role="search">
      <input type="search" placeholder="Filter: name, error, worker…" aria-label="Filter tasks" value={filter.text}
        onInput={event => setFilter({ ...filter, text: (event.target as HTMLInputElement).value })} />
      <select aria-label="State" value={filter.state} onChange={event => setFilter({ ...filter, state: (event.target as HTMLSelectElement).value })}>
        <option value="">every state</option>
        <option value="waiting">waiting</option>
        {STATES.map(state => <option key={state} value={state}>{STATE_LABEL[state]}</option>)}
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

function cellsOf(picture: Picture): number[] {
  const scopes = new Set<number>();
  for (const task of picture.tasks.values()) {
    if (task.scope) {
      scopes.add(task.scope);
    }
  }
  return [...scopes].sort((a, b) => b - a);
}

/** A closer look, in place: the whole error, what was printed, what happened when. */
function Detail(props: { task: Task } & Props) {
  const { task, ask, now } = props;
  const [detail, setDetail] = useState<Reply | null>(null);
  useEffect(() => {
    let gone = false;
    ask({ do: 'detail', task: task.id }).then(reply => {
      if (!gone) {
        setDetail(reply);
      }
    });
    return () => { gone = true; };
  }, [task.id, task.state]);
  const phases = [
    ['queued', task.submitted, task.started], ['inputs', task.started, task.fetched],
    ['ran', task.fetched, task.ran], ['stored', task.ran, task.ended]
  ].filter(([, from, to]) => from && to) as [string, number, number][];
  return (
    <div class="rn-more">
      <div class="rn-note">
        <span class="rn-code">{task.id}</span>
        {task.pid ? <span>process {task.pid}</span> : null}
        {phases.map(([what, from, to]) => <span key={what}>{what} {seconds(to - from)}</span>)}
        {!ended(task.state) && task.submitted ? <span>{seconds(Math.max(0, now - task.submitted))} since it was submitted</span> : null}
      </div>
      {detail === null ? <div class="rn-dim">Fetching…</div> : null}
      {detail && !detail.ok ? <div class="rn-error">{detail.text}</div> : null}
      {detail?.error || (!detail && task.error) ? <pre class="rn-trace">{detail?.error || task.error}</pre> : null}
      {detail?.log ? <pre>{detail.cut ? `… ${count(detail.cut)} characters before this\n` : ''}{detail.log}</pre> : null}
      {detail?.ok && !detail.error && !detail.log ? <div class="rn-dim">It has printed nothing.</div> : null}
      {detail?.story?.length ? (
        <ol class="rn-story">
          {detail.story.map(([when, what]: [number, string], i: number) => (
            <li key={i}><span class="rn-num">{task.submitted ? `+${seconds(Math.max(0, when - task.submitted))}` : ''}</span> {what}</li>
          ))}
        </ol>
      ) : null}
    </div>
  );
}
