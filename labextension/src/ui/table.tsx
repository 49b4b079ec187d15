/**
 * A table that draws only the rows in sight, so that ten thousand cost as much as twenty. Columns go
 * by priority where there is little room; under `COMPACT` px each row is two lines instead. Arrows,
 * Home, End and Page keys move; Enter opens the row's detail, Tab goes into it, Escape closes it.
 */

import { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { copy, csv, download, json } from './export';
import { count, counted } from './format';
import { GAP, Opened, Track, fitting, inSight, rowTop, tracks } from './grid';
import { Menu, useKeptFocus } from './parts';
import { Key, Sort, firstDirection, sorted } from './sorting';

export interface Column<R> extends Track {
  title: string;
  cell: (row: R) => ComponentChildren;
  /** What the column is sorted by and exported as. */
  value?: (row: R) => Key;
  right?: boolean;
  /** Left out until somebody chooses it. */
  optional?: boolean;
}

/** A row as two lines: what a narrow panel shows. */
export interface TwoLines { title: ComponentChildren; figure?: ComponentChildren; about: ComponentChildren; actions?: ComponentChildren }

export interface TableProps<R> {
  /** What the rows are, in the singular: "task". */
  what: string;
  label: string;
  columns: Column<R>[];
  rows: readonly R[];
  id: (row: R) => string;
  lines: (row: R) => TwoLines;
  detail?: (row: R) => ComponentChildren;
  width: number;
  fill: boolean;
  /** How many rows there are before any filter. */
  all?: number;
  open: string;
  onOpen: (id: string) => void;
  /** The order that the rows come in: "newest first". */
  order: string;
  sort: Sort | undefined;
  onSort: (sort: Sort | undefined) => void;
}

const ROW = 28;
const TWO_LINES = 46;
const HEAD = 26;
const COMPACT = 460;
/** Height of a table in a notebook's cell; in a panel it takes the room there is. */
const CELL_HEIGHT = 420;
const EDGE = 30; // padding and scroll bar
/** What a table in a panel keeps of its height, however little room there is. */
const LEAST = 200;

export function Table<R>(props: TableProps<R>): JSX.Element {
  const [chosen, setChosen] = useState<Record<string, boolean>>({});
  const compact = props.width < COMPACT;
  const shown = props.columns.filter(column => chosen[column.key] ?? !column.optional);
  const columns = useMemo(() => (compact ? [] : fitting(shown, props.width - EDGE)), [compact, props.width, props.columns, chosen]);
  const { sort } = props;
  const by = sort && props.columns.find(column => column.key === sort.by);
  const rows = useMemo(
    () => (by?.value && sort ? sorted(props.rows, by.value, sort.down) : props.rows),
    [props.rows, sort?.by, sort?.down]
  );
  const least = Math.min(LEAST, rows.length * (compact ? TWO_LINES : ROW) + (compact ? 0 : HEAD) + 2);
  return (
    <div class={`rn-tablebox ${props.fill ? 'rn-fills' : ''}`}>
      <Tools {...props} rows={rows} chosen={chosen} setChosen={setChosen} compact={compact} />
      <div class="rn-table" style={props.fill ? { minHeight: `${least}px` } : {}} role="treegrid" aria-label={props.label} aria-rowcount={rows.length + (compact ? 0 : 1)}>
        <Body {...props} rows={rows} columns={columns} compact={compact} />
      </div>
    </div>
  );
}

/** The order after a click on a column: its natural direction, the other one, then none. */
function nextSort<R>(column: Column<R>, sort: Sort | undefined, sample: R | undefined): Sort | undefined {
  const first = sample !== undefined && column.value ? firstDirection(column.value(sample)) : false;
  if (!sort || sort.by !== column.key) {
    return { by: column.key, down: first };
  }
  return sort.down === first ? { by: column.key, down: !first } : undefined;
}

function Head<R>(props: TableProps<R> & { columns: Column<R>[] }) {
  const { sort } = props;
  return (
    <div class="rn-headbox" role="rowgroup">
      <div class="rn-row rn-head" role="row" style={{ gridTemplateColumns: tracks(props.columns), gap: `${GAP}px` }}>
        {props.columns.map(column => {
          const sorting = sort?.by === column.key ? (sort.down ? 'descending' : 'ascending') : undefined;
          return (
            <span key={column.key} role="columnheader" class={column.right ? 'rn-right' : ''} aria-sort={sorting}>
              {column.value ? (
                <button type="button" class="rn-link" title={`Sort by ${column.title.toLowerCase()}`}
                  onClick={() => props.onSort(nextSort(column, sort, props.rows[0]))}>
                  {column.title}{sorting ? <span aria-hidden="true">{sort!.down ? ' ↓' : ' ↑'}</span> : null}
                </button>
              ) : column.title || <span class="rn-hidden">Actions</span>}
            </span>
          );
        })}
      </div>
    </div>
  );
}

function Tools<R>(props: TableProps<R> & {
  compact: boolean; chosen: Record<string, boolean>; setChosen: (chosen: Record<string, boolean>) => void;
}) {
  const { rows, sort } = props;
  const sortable = props.columns.filter(column => column.value);
  const all = props.all ?? rows.length;
  const exported = sortable.map(column => ({ title: column.title, value: column.value! }));
  const name = `raynb-${props.what}s`;
  return (
    <div class="rn-tools">
      <span class="rn-dim">
        {all === rows.length ? counted(all, props.what) : `${count(rows.length)} of ${counted(all, props.what)}`}
      </span>
      <Menu label="⋯" title={`Order, columns and export of the ${props.what}s`}>
        {close => (
          <>
            <label class="rn-menu-line">Sort by{' '}
              <select aria-label="Sort by" value={sort?.by ?? ''} onChange={event => {
                const column = sortable.find(one => one.key === (event.target as HTMLSelectElement).value);
                props.onSort(column && nextSort(column, undefined, rows[0]));
              }}>
                <option value="">{props.order}</option>
                {sortable.map(column => <option key={column.key} value={column.key}>{column.title.toLowerCase()}</option>)}
              </select>
              {sort ? (
                <button type="button" class="rn-button rn-small" onClick={() => props.onSort({ ...sort, down: !sort.down })}>
                  {sort.down ? '↓ reverse' : '↑ reverse'}
                </button>
              ) : null}
            </label>
            {props.compact ? null : (
              <fieldset class="rn-menu-line"><legend>Columns</legend>
                {props.columns.filter(column => column.title && column.priority > 1).map(column => (
                  <label key={column.key}>
                    <input type="checkbox" checked={props.chosen[column.key] ?? !column.optional}
                      onChange={event => props.setChosen({ ...props.chosen, [column.key]: (event.target as HTMLInputElement).checked })} />
                    {column.title}
                  </label>
                ))}
              </fieldset>
            )}
            <div class="rn-menu-line rn-act">
              <button type="button" class="rn-button rn-small" onClick={() => { download(`${name}.csv`, csv(exported, rows)); close(); }}>CSV</button>
              <button type="button" class="rn-button rn-small" onClick={() => { download(`${name}.json`, json(exported, rows)); close(); }}>JSON</button>
              <button type="button" class="rn-button rn-small" onClick={() => { copy(csv(exported, rows, '\t')); close(); }}>Copy</button>
            </div>
          </>
        )}
      </Menu>
    </div>
  );
}

function Body<R>(props: TableProps<R> & { rows: readonly R[]; columns: Column<R>[]; compact: boolean }) {
  const { rows, columns, compact, fill } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(CELL_HEIGHT);
  const [detailHeight, setDetailHeight] = useState(120);
  const [at, setAt] = useState('');
  const moved = useRef(false);
  const row = compact ? TWO_LINES : ROW;
  const openIndex = props.open ? rows.findIndex(one => props.id(one) === props.open) : -1;
  const open: Opened | null = openIndex >= 0 && props.detail ? { index: openIndex, height: detailHeight } : null;
  const whole = rows.length * row + (open ? open.height : 0);
  const [first, last] = inSight(rows.length, row, top, height, open);
  const atIndex = Math.max(0, rows.findIndex(one => props.id(one) === at));

  useEffect(() => {
    const watch = new ResizeObserver(entries => setHeight(entries[0].contentRect.height || CELL_HEIGHT));
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  const current = () => box.current?.querySelector<HTMLElement>('[data-at="true"]');
  useKeptFocus(box, current);
  useLayoutEffect(() => {
    if (moved.current) {
      moved.current = false;
      current()?.focus({ preventScroll: true });
    }
  });

  const move = (index: number) => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    const y = rowTop(to, row, open);
    const node = box.current!;
    const room = node.clientHeight - (compact ? 0 : HEAD); // the header covers the rest
    if (y < node.scrollTop) {
      node.scrollTop = y;
    } else if (y + row > node.scrollTop + room) {
      node.scrollTop = y + row - room;
    }
    moved.current = true;
    setTop(node.scrollTop);
    setAt(props.id(rows[to]));
  };
  const keys = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (event.key === 'Escape' && props.open) {
      props.onOpen('');
      move(openIndex);
    } else if (target.dataset.at === undefined || !rows.length) {
      return;
    } else {
      const page = Math.max(1, Math.floor(height / row) - 1);
      const steps: Record<string, number> = {
        ArrowDown: atIndex + 1, ArrowUp: atIndex - 1, PageDown: atIndex + page, PageUp: atIndex - page,
        Home: 0, End: rows.length - 1
      };
      if (event.key in steps) {
        move(steps[event.key]);
      } else if ((event.key === 'Enter' || event.key === ' ') && props.detail) {
        const id = props.id(rows[atIndex]);
        props.onOpen(id === props.open ? '' : id);
      } else {
        return;
      }
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div class="rn-body" ref={box} style={fill ? {} : { maxHeight: `${CELL_HEIGHT}px` }} onKeyDown={keys}
      onScroll={event => setTop((event.currentTarget as HTMLElement).scrollTop)} role="presentation">
      {compact ? null : <Head {...props} columns={columns} />}
      <div style={{ height: `${whole}px`, position: 'relative' }} role="rowgroup">
        {rows.slice(first, last).map((one, offset) => {
          const index = first + offset;
          const id = props.id(one);
          const isOpen = index === openIndex;
          return (
            <div key={id} role="presentation" class="rn-at" style={{ top: `${rowTop(index, row, open)}px` }}>
              <div class={`rn-row ${isOpen ? 'rn-open' : ''} ${props.detail ? 'rn-can' : ''} ${compact ? 'rn-two' : ''}`} role="row"
                aria-rowindex={index + (compact ? 1 : 2)} aria-expanded={props.detail ? isOpen : undefined} aria-level={1}
                tabIndex={index === atIndex ? 0 : -1} data-at={index === atIndex} data-id={id}
                style={{ height: `${row}px`, ...(compact ? {} : { gridTemplateColumns: tracks(columns), gap: `${GAP}px` }) }}
                onFocus={() => setAt(id)} onClick={() => props.detail && props.onOpen(isOpen ? '' : id)}>
                {compact ? <Lines {...props.lines(one)} /> : columns.map(column => (
                  <span key={column.key} role="gridcell" class={column.right ? 'rn-right' : ''}>{column.cell(one)}</span>
                ))}
              </div>
              {isOpen && props.detail ? <Detail onHeight={setDetailHeight}>{props.detail(one)}</Detail> : null}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Lines(props: TwoLines) {
  return (
    <span role="gridcell" class="rn-lines">
      <span class="rn-line-one"><span class="rn-name">{props.title}</span><span class="rn-num">{props.figure}</span></span>
      <span class="rn-line-two"><span class="rn-name">{props.about}</span><span class="rn-act">{props.actions}</span></span>
    </span>
  );
}

/** A row's detail, as high as what is in it. */
function Detail(props: { children: ComponentChildren; onHeight: (height: number) => void }) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const tell = () => props.onHeight(box.current?.offsetHeight ?? 0);
    tell();
    const watch = new ResizeObserver(tell);
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  return (
    <div class="rn-detail" ref={box} role="row" aria-level={2}>
      <div role="gridcell">{props.children}</div>
    </div>
  );
}
