/** Small pieces that several views use. */

import { ComponentChildren, JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { counted, count } from './format';
import { Counts, STATES, STATE_LABEL } from './model';

export function StateDot(props: { state: string }) {
  return <span class={`rn-dot rn-s-${props.state}`} aria-hidden="true" />;
}

export function StateLabel(props: { state: string; label?: string }) {
  return (
    <span class="rn-state" title={props.state}>
      <StateDot state={props.state} />
      {props.label ?? STATE_LABEL[props.state] ?? props.state.toLowerCase().replace(/_/g, ' ')}
    </span>
  );
}

/** Tasks by state as one bar; the text for screen readers says the same. */
export function StackedBar(props: { counts: Counts; thin?: boolean }) {
  const present = STATES.filter(state => props.counts[state]);
  const sum = present.reduce((n, state) => n + props.counts[state], 0);
  const text = present.map(state => `${count(props.counts[state])} ${STATE_LABEL[state]}`).join(', ');
  return (
    <div class={`rn-stack ${props.thin ? 'rn-thin' : ''}`} role="img" aria-label={text || 'no tasks'} title={text}>
      {present.map(state => (
        <span key={state} class={`rn-s-${state}`} style={{ flexGrow: props.counts[state] / sum }} />
      ))}
    </div>
  );
}

/** A bar of parts of a whole, such as the store's use. */
export function Meter(props: { parts: { class: string; value: number; label: string }[]; whole: number; label: string }) {
  const whole = props.whole || 1;
  return (
    <div class="rn-meter" role="img" aria-label={props.label} title={props.label}>
      {props.parts.map(part => (
        <span key={part.label} class={part.class} style={{ width: `${Math.min(100, (100 * part.value) / whole)}%` }} />
      ))}
    </div>
  );
}

export function Empty(props: { title: string; children?: ComponentChildren }) {
  return (
    <div class="rn-empty">
      <div class="rn-empty-title">{props.title}</div>
      {props.children ? <div>{props.children}</div> : null}
    </div>
  );
}

/** A button that asks once more before it does what cannot be undone. */
export function Sure(props: { label: string; title: string; onClick: () => void; disabled?: boolean; tabIndex?: number }) {
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (!asked) {
      return undefined;
    }
    const timer = setTimeout(() => setAsked(false), 4000);
    return () => clearTimeout(timer);
  }, [asked]);
  const click = (event: Event) => {
    event.stopPropagation();
    if (asked) {
      setAsked(false);
      props.onClick();
    } else {
      setAsked(true);
    }
  };
  return (
    <button type="button" class={`rn-button rn-small ${asked ? 'rn-danger' : ''}`} title={props.title}
      disabled={props.disabled} onClick={click} onBlur={() => setAsked(false)} tabIndex={props.tabIndex}>
      {asked ? `${props.label}: sure?` : props.label}
    </button>
  );
}

export interface Column<R> {
  title: string;
  /** A grid track, such as "2fr" or "80px". */
  width: string;
  cell: (row: R) => ComponentChildren;
  right?: boolean;
  /** Left out where there is little room. */
  wide?: boolean;
}

const ROW = 30;
const DETAIL = 190;

/**
 * A table that draws only the rows in sight, so that ten thousand cost as much as twenty.
 * Arrows, Home, End and Page keys move; Enter opens the row's detail; Escape closes it.
 */
export function Rows<R>(props: {
  label: string;
  columns: Column<R>[];
  rows: R[];
  id: (row: R) => string;
  detail?: (row: R) => ComponentChildren;
  open?: string;
  onOpen?: (id: string) => void;
  narrow: boolean;
  height?: number;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [at, setAt] = useState('');
  const moved = useRef(false);
  const columns = props.columns.filter(column => !(props.narrow && column.wide));
  const tracks = columns.map(column => column.width).join(' ');
  const height = props.height ?? 400;
  const openIndex = props.open ? props.rows.findIndex(row => props.id(row) === props.open) : -1;
  const extra = (index: number) => (openIndex >= 0 && index > openIndex ? DETAIL : 0);
  const whole = props.rows.length * ROW + (openIndex >= 0 ? DETAIL : 0);
  const first = Math.max(0, Math.floor((top - (openIndex >= 0 ? DETAIL : 0)) / ROW) - 4);
  const last = Math.min(props.rows.length, Math.ceil((top + height) / ROW) + 4);
  const atIndex = Math.max(0, props.rows.findIndex(row => props.id(row) === at));

  useLayoutEffect(() => {
    if (!moved.current) {
      return;
    }
    moved.current = false;
    (box.current?.querySelector('[data-at="true"]') as HTMLElement | null)?.focus({ preventScroll: true });
  });

  const move = (index: number) => {
    const to = Math.max(0, Math.min(props.rows.length - 1, index));
    const y = to * ROW + extra(to);
    const node = box.current!;
    if (y < node.scrollTop) {
      node.scrollTop = y;
    } else if (y + ROW > node.scrollTop + node.clientHeight) {
      node.scrollTop = y + ROW - node.clientHeight;
    }
    moved.current = true;
    setTop(node.scrollTop);
    setAt(props.id(props.rows[to]));
  };

  const keys = (event: KeyboardEvent) => {
    if ((event.target as HTMLElement).getAttribute('role') !== 'row' || !props.rows.length) {
      return;
    }
    const page = Math.max(1, Math.floor(height / ROW) - 1);
    const steps: Record<string, number> = {
      ArrowDown: atIndex + 1, ArrowUp: atIndex - 1, PageDown: atIndex + page, PageUp: atIndex - page,
      Home: 0, End: props.rows.length - 1
    };
    if (event.key in steps) {
      move(steps[event.key]);
    } else if ((event.key === 'Enter' || event.key === ' ') && props.onOpen) {
      const id = props.id(props.rows[atIndex]);
      props.onOpen(id === props.open ? '' : id);
    } else if (event.key === 'Escape' && props.open && props.onOpen) {
      props.onOpen('');
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const visible = props.rows.slice(first, last);
  return (
    <div class="rn-table" role="table" aria-label={props.label} aria-rowcount={props.rows.length + 1}>
      <div class="rn-row rn-head" role="row" style={{ gridTemplateColumns: tracks }}>
        {columns.map(column => (
          <span key={column.title} role="columnheader" class={column.right ? 'rn-right' : ''}>{column.title}</span>
        ))}
      </div>
      <div class="rn-body" ref={box} style={{ maxHeight: `${height}px` }} onKeyDown={keys}
        onScroll={event => setTop((event.currentTarget as HTMLElement).scrollTop)} role="rowgroup">
        <div style={{ height: `${whole}px`, position: 'relative' }} role="presentation">
          {visible.map((row, offset) => {
            const index = first + offset;
            const id = props.id(row);
            const open = index === openIndex;
            const focus = index === atIndex;
            return (
              <div key={id} role="presentation" style={{ position: 'absolute', top: `${index * ROW + extra(index)}px`, left: 0, right: 0 }}>
                <div class={`rn-row ${open ? 'rn-open' : ''} ${props.onOpen ? 'rn-can' : ''}`} role="row"
                  aria-rowindex={index + 2} aria-expanded={props.onOpen ? open : undefined}
                  tabIndex={focus ? 0 : -1} data-at={focus} data-id={id}
                  style={{ gridTemplateColumns: tracks, height: `${ROW}px` }}
                  onFocus={() => setAt(id)}
                  onClick={() => props.onOpen?.(open ? '' : id)}>
                  {columns.map(column => (
                    <span key={column.title} role="cell" class={column.right ? 'rn-right' : ''}>{column.cell(row)}</span>
                  ))}
                </div>
                {open && props.detail ? (
                  <div class="rn-detail" style={{ height: `${DETAIL}px` }}>{props.detail(row)}</div>
                ) : null}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

/** The line under a table that says how much of it is shown. */
export function Shown(props: { shown: number; all: number; what: string }) {
  return (
    <div class="rn-note" aria-live="off">
      {props.shown === props.all
        ? counted(props.all, props.what)
        : `${count(props.shown)} of ${counted(props.all, props.what)}`}
    </div>
  );
}
