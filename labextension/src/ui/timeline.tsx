/** Timeline: who ran what when. Geometry is in lanes.ts, drawing in canvas.ts. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { AXIS, LANE, draw } from './canvas';
import { functionColour } from './colours';
import { count, counted, seconds } from './format';
import { PHASES, Phase, View, busiest, criticalPath, extent, headline, pathWords, spans, strips, taskAt, zoom } from './lanes';
import { Empty } from './parts';
import { Task, functionNumbers } from './picture';
import { TaskDetail } from './tasks';
import { ViewProps } from './view';
import { stateWords } from './words';

const FEW_LANES = 40;
const LEGEND_SHOWN = 6;

export const PHASE_WORDS: Record<Phase, string> = {
  queue: 'waiting', fetch: 'fetching inputs', run: 'running', store: 'storing results'
};

interface Hover { x: number; y: number; task: Task }

export function Timeline(props: ViewProps) {
  const { picture, now } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [own, setOwn] = useState<View | null>(null); // null: everything, and it moves on
  const [hover, setHover] = useState<Hover | null>(null);
  const [all, setAll] = useState(false);
  const [width, setWidth] = useState(Math.max(200, props.width - 2));
  const drag = useRef<{ x: number; view: View; moved: boolean } | null>(null);
  const found = useMemo(() => strips(picture.tasks.values()), [picture.turns.tasks]);
  const path = useMemo(() => criticalPath(found, picture.tasks), [found]);
  const functions = useMemo(() => busiest(found, now), [found]);
  const wanted = useMemo(() => new Set(path.map(task => task.id)), [path]);
  const numbers = useMemo(() => functionNumbers(picture.groups), [Object.keys(picture.groups).length]);
  const rows = all ? found : found.slice(0, FEW_LANES);
  const gutter = props.width < 420 ? 34 : 96;
  const undrawn = picture.submitted - picture.tasks.size;
  const whole = useMemo(() => extent(picture.tasks.values(), now, undrawn > 0), [picture.turns.tasks, Math.floor(now * 4)]);
  const view = own ?? whole;
  const chosen = props.remembered.open.timeline ?? '';
  const start = whole?.start ?? 0;
  const sentence = useMemo(() => (view ? headline(rows, view, now, start, undrawn > 0) : ''), [rows, view?.from, view?.to, Math.floor(now), undrawn > 0]);

  useEffect(() => {
    const node = canvas.current?.parentElement;
    if (!node) {
      return undefined;
    }
    const watch = new ResizeObserver(entries => setWidth(Math.max(180, entries[0].contentRect.width)));
    watch.observe(node);
    return () => watch.disconnect();
  }, [rows.length > 0]);
  useEffect(() => {
    if (canvas.current && view) {
      draw(canvas.current, { rows, view, now, width, gutter, origin: start, numbers, path, wanted, chosen, label });
    }
  }, [rows, view?.from, view?.to, width, chosen, props.redraw]);

  const label = (strip: { worker: number }) => {
    const actor = picture.actors.get(picture.workers.get(strip.worker)?.actor ?? '');
    const name = actor ? actor.name || actor.class_name : '';
    return gutter < 60 ? name || `w${strip.worker}` : name || `worker ${strip.worker}`;
  };
  const change = (to: View | null) => {
    setHover(null); // it would stay at a place that means something else now
    setOwn(to);
  };
  const wheel = (event: WheelEvent) => {
    if (!(event.ctrlKey || event.metaKey) || !view) {
      return; // a plain wheel scrolls the page
    }
    event.preventDefault();
    const at = view.from + ((event.offsetX - gutter) / (width - gutter)) * (view.to - view.from);
    change(zoom(view, event.deltaY > 0 ? 1.25 : 0.8, at));
  };
  useEffect(() => {
    const node = canvas.current;
    node?.addEventListener('wheel', wheel, { passive: false });
    return () => node?.removeEventListener('wheel', wheel);
  });

  if (!view || !rows.length) {
    return <Empty title="nothing has run yet">Each task that ran appears here: fetching its inputs, running, storing its results.</Empty>;
  }
  const middle = (view.from + view.to) / 2;
  const pan = (share: number) => {
    const by = (view.to - view.from) * share;
    change({ from: view.from + by, to: view.to + by });
  };
  const keys = (event: KeyboardEvent) => {
    const moves: Record<string, () => void> = {
      ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
      '+': () => change(zoom(view, 0.7, middle)), '=': () => change(zoom(view, 0.7, middle)),
      '-': () => change(zoom(view, 1.4, middle)), '0': () => change(null), Home: () => change(null)
    };
    if (moves[event.key]) {
      moves[event.key]();
      event.preventDefault();
      event.stopPropagation();
    }
  };
  const at = (event: PointerEvent): Task | null => {
    const strip = rows[Math.floor(event.offsetY / LANE)];
    if (!strip || event.offsetX < gutter) {
      return null;
    }
    const perPixel = (view.to - view.from) / (width - gutter);
    return taskAt(strip, view.from + (event.offsetX - gutter) * perPixel, 2 * perPixel, now);
  };
  const choose = (id: string) => {
    props.remembered.open.timeline = id;
    props.redraw();
  };
  const task = picture.tasks.get(chosen);
  return (
    <div class={`rn-timeline ${props.fill ? 'rn-column' : ''}`}>
      <div class="rn-filters">
        <button type="button" class="rn-button" onClick={() => change(zoom(view, 0.6, middle))} aria-label="Zoom in" title="Zoom in (+)">+</button>
        <button type="button" class="rn-button" onClick={() => change(zoom(view, 1.6, middle))} aria-label="Zoom out" title="Zoom out (−)">−</button>
        <button type="button" class="rn-button" onClick={() => pan(-0.3)} aria-label="Earlier" title="Earlier (←)">‹</button>
        <button type="button" class="rn-button" onClick={() => pan(0.3)} aria-label="Later" title="Later (→)">›</button>
        <button type="button" class="rn-button" aria-pressed={own === null} onClick={() => change(null)}>Everything</button>
        <button type="button" class="rn-button" onClick={() => change({ from: now - 10, to: now })}>Last 10 s</button>
      </div>
      <div class="rn-note rn-headline"><b>{sentence}.</b>{path.length > 1 ? <span>{pathWords(path)}</span> : null}</div>
      <div class="rn-canvas">
        <canvas ref={canvas} tabIndex={0} role="img" style={{ height: `${rows.length * LANE + AXIS}px` }}
          aria-label={`Timeline of ${counted(new Set(rows.map(strip => strip.worker)).size, 'worker')}. ${sentence}. ` +
            'Arrow keys move, plus and minus zoom, 0 shows everything.'}
          onKeyDown={keys}
          onPointerDown={event => {
            drag.current = { x: event.clientX, view, moved: false };
            (event.target as HTMLElement).setPointerCapture(event.pointerId);
          }}
          onPointerUp={event => {
            if (drag.current && !drag.current.moved) {
              choose(at(event)?.id ?? '');
            }
            drag.current = null;
          }}
          onPointerCancel={() => (drag.current = null)}
          onPointerLeave={() => setHover(null)}
          onPointerMove={event => {
            if (drag.current && Math.abs(event.clientX - drag.current.x) > 2) {
              const from = drag.current.view;
              drag.current.moved = true;
              const by = ((drag.current.x - event.clientX) / (width - gutter)) * (from.to - from.from);
              change({ from: from.from + by, to: from.to + by });
            } else {
              const under = at(event);
              setHover(under && { x: event.offsetX, y: event.offsetY, task: under });
            }
          }} />
        {hover ? <Tip {...props} hover={hover} canvas={width} /> : null}
      </div>
      {found.length > rows.length || all && found.length > FEW_LANES ? (
        <button type="button" class="rn-link rn-note" onClick={() => setAll(!all)}>
          {all ? `only the first ${FEW_LANES} lanes` : `${counted(found.length - rows.length, 'more lane')} not shown: show all`}
        </button>
      ) : null}
      <Legend numbers={numbers} functions={functions} />
      {undrawn > 0 ? <div class="rn-note">{count(picture.tasks.size)} of {counted(picture.submitted, 'task')} are known here; the older ones were forgotten, or their news is on the way.</div> : null}
      {task ? (
        <section class="rn-chosen" aria-label={`Task ${task.title || task.name}`}>
          <div class="rn-split">
            <b class="rn-name">{task.title || task.name}</b>
            <button type="button" class="rn-button rn-small" aria-label="Close the task" onClick={() => choose('')}>✕</button>
          </div>
          <TaskDetail key={task.id} {...props} task={task} />
        </section>
      ) : null}
    </div>
  );
}

function Legend(props: { numbers: ReadonlyMap<string, number>; functions: string[] }) {
  const shown = props.functions.slice(0, LEGEND_SHOWN);
  return (
    <div class="rn-legend rn-note">
      {shown.map(name => (
        <span key={name}><span class="rn-dot" aria-hidden="true" style={{ background: functionColour(props.numbers, name).fill }} />{name}</span>
      ))}
      {props.functions.length > shown.length ? <span>and {counted(props.functions.length - shown.length, 'more function')}</span> : null}
      <span><span class="rn-key rn-key-pale" aria-hidden="true" />fetching or storing</span>
      <span><span class="rn-key rn-key-failed" aria-hidden="true" />failed or cancelled</span>
      <span><span class="rn-key rn-key-path" aria-hidden="true" />critical path</span>
    </div>
  );
}

const TIP_WIDTH = 210;

/** What lies under the pointer: always whole within the view's width. */
function Tip(props: ViewProps & { hover: Hover; canvas: number }) {
  const { task, x, y } = props.hover;
  const left = Math.max(0, Math.min(x + 10, props.canvas - TIP_WIDTH));
  return (
    <div class="rn-tip" role="tooltip" style={{ top: `${y + 16}px`, left: `${left}px`, width: `${Math.min(TIP_WIDTH, props.canvas)}px` }}>
      <b class="rn-name">{task.title || task.name}</b>
      <div class="rn-dim">{[props.picture.cell(task.scope), `on worker ${task.worker}`, stateWords(task.state)].filter(Boolean).join(' · ')}</div>
      {spans(task, props.now).filter(span => PHASES.includes(span.phase)).map(span => (
        <div key={span.phase} class="rn-split">
          <span>{PHASE_WORDS[span.phase]}</span>
          <span class="rn-num">{seconds(span.to - span.from)}</span>
        </div>
      ))}
      {task.error_type ? <div class="rn-error">{task.error_type}</div> : null}
    </div>
  );
}
