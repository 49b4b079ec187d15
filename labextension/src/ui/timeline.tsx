/** Timeline: who ran what when, drawn on a canvas. Geometry is in lanes.ts. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ViewProps } from './app';
import { seconds } from './format';
import { Lane, PHASES, Phase, Span, View, breakdown, extent, lanes, spans, ticks, zoom } from './lanes';
import { Empty } from './parts';

const LANE = 26;
const AXIS = 22;
const MOST_LANES = 40;

const PHASE_LABEL: Record<Phase, string> = {
  queue: 'waiting', fetch: 'fetching inputs', run: 'running', store: 'storing results'
};

interface Hit { x: number; y: number; span: Span }

export function Timeline(props: ViewProps) {
  const { picture, now, narrow } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [own, setOwn] = useState<View | null>(null); // null: everything, and it moves on
  const [hover, setHover] = useState<Hit | null>(null);
  const [width, setWidth] = useState(600);
  const drag = useRef<{ x: number; view: View } | null>(null);
  const rows = useMemo(() => lanes(picture.tasks.values()).slice(0, MOST_LANES), [picture.turn]);
  const gutter = narrow ? 58 : 110;
  const all = extent(picture.tasks.values(), now);

  useEffect(() => {
    const node = canvas.current?.parentElement;
    if (!node) {
      return undefined;
    }
    const watch = new ResizeObserver(entries => setWidth(Math.max(200, entries[0].contentRect.width)));
    watch.observe(node);
    return () => watch.disconnect();
  }, [rows.length > 0]);

  const view = own ?? all;
  const hits = useRef<(x: number, y: number) => Hit | null>(() => null);
  useEffect(() => {
    if (canvas.current && view) {
      hits.current = draw(canvas.current, rows, view, now, width, gutter, picture, all?.start ?? view.from);
    }
  });

  const wheel = (event: WheelEvent) => {
    if (!(event.ctrlKey || event.metaKey) || !view) {
      return; // a plain wheel scrolls the page
    }
    event.preventDefault();
    const at = view.from + ((event.offsetX - gutter) / (width - gutter)) * (view.to - view.from);
    setOwn(zoom(view, event.deltaY > 0 ? 1.25 : 0.8, at));
  };
  useEffect(() => {
    const node = canvas.current;
    node?.addEventListener('wheel', wheel, { passive: false });
    return () => node?.removeEventListener('wheel', wheel);
  });

  if (!view || !rows.length) {
    return <Empty title="Nothing has run yet">Each task that ran appears here: waiting, fetching its inputs, running, storing its results.</Empty>;
  }
  const middle = (view.from + view.to) / 2;
  const pan = (share: number) => {
    const by = (view.to - view.from) * share;
    setOwn({ from: view.from + by, to: view.to + by });
  };
  const keys = (event: KeyboardEvent) => {
    const moves: Record<string, () => void> = {
      ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
      '+': () => setOwn(zoom(view, 0.7, middle)), '=': () => setOwn(zoom(view, 0.7, middle)),
      '-': () => setOwn(zoom(view, 1.4, middle)), '0': () => setOwn(null), Home: () => setOwn(null)
    };
    if (moves[event.key]) {
      moves[event.key]();
      event.preventDefault();
      event.stopPropagation();
    }
  };
  const sums = breakdown(picture.tasks.values(), view, now);
  const work = sums.fetch + sums.run + sums.store;
  const shares = PHASES.filter(phase => phase !== 'queue' && work)
    .map(phase => `${Math.round((100 * sums[phase]) / work)} % ${PHASE_LABEL[phase]}`).join(', ');
  const verdict = work ? `${seconds(work)} of workers’ time: ${shares}; tasks waited ${seconds(sums.queue)} in all` : 'Nothing ran in this stretch';
  return (
    <div class="rn-timeline">
      <div class="rn-filters">
        <button type="button" class="rn-button" onClick={() => setOwn(zoom(view, 0.6, middle))} aria-label="Zoom in">+</button>
        <button type="button" class="rn-button" onClick={() => setOwn(zoom(view, 1.6, middle))} aria-label="Zoom out">−</button>
        <button type="button" class="rn-button" onClick={() => pan(-0.3)} aria-label="Earlier">‹</button>
        <button type="button" class="rn-button" onClick={() => pan(0.3)} aria-label="Later">›</button>
        <button type="button" class="rn-button" aria-pressed={own === null} onClick={() => setOwn(null)}>Everything</button>
        <button type="button" class="rn-button" onClick={() => setOwn({ from: now - 10, to: now })}>Last 10 s</button>
        <span class="rn-legend">
          {PHASES.map(phase => <span key={phase}><span class={`rn-dot rn-p-${phase}`} />{PHASE_LABEL[phase]}</span>)}
          <span><span class="rn-dot rn-s-FAILED" />failed</span>
        </span>
      </div>
      <div class="rn-canvas">
        <canvas ref={canvas} tabIndex={0} role="img" style={{ height: `${rows.length * LANE + AXIS}px` }}
          aria-label={`Timeline of ${rows.length} workers. ${verdict}. Arrow keys move, plus and minus zoom, 0 shows everything.`}
          onKeyDown={keys}
          onPointerDown={event => {
            drag.current = { x: event.clientX, view };
            (event.target as HTMLElement).setPointerCapture(event.pointerId);
          }}
          onPointerUp={() => { drag.current = null; }}
          onPointerLeave={() => setHover(null)}
          onPointerMove={event => {
            if (drag.current && Math.abs(event.clientX - drag.current.x) > 2) {
              const start = drag.current.view;
              const by = ((drag.current.x - event.clientX) / (width - gutter)) * (start.to - start.from);
              setOwn({ from: start.from + by, to: start.to + by });
              setHover(null);
            } else {
              setHover(hits.current(event.offsetX, event.offsetY));
            }
          }} />
        {hover ? <Tip {...props} hit={hover} width={width} /> : null}
      </div>
      <div class="rn-note">{verdict}.</div>
    </div>
  );
}

function Tip(props: ViewProps & { hit: Hit; width: number }) {
  const { task } = props.hit.span;
  const right = props.hit.x > props.width / 2;
  return (
    <div class="rn-tip" style={{ top: `${props.hit.y + 14}px`, ...(right ? { right: `${props.width - props.hit.x}px` } : { left: `${props.hit.x}px` }) }}>
      <b>{task.name}</b> <span class="rn-dim">{props.picture.cell(task.scope)}</span>
      {spans(task, props.now).map(span => (
        <div key={span.phase} class="rn-split">
          <span><span class={`rn-dot rn-p-${span.phase}`} />{PHASE_LABEL[span.phase]}</span>
          <span class="rn-num">{seconds(span.to - span.from)}</span>
        </div>
      ))}
      {task.error_type ? <div class="rn-error">{task.error_type}</div> : null}
    </div>
  );
}

/** Draws everything; returns a function that finds the span under a point. */
function draw(
  canvas: HTMLCanvasElement, rows: Lane[], view: View, now: number, width: number, gutter: number,
  picture: ViewProps['picture'], origin: number
): (x: number, y: number) => Hit | null {
  const height = rows.length * LANE + AXIS;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  const context = canvas.getContext('2d')!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(canvas);
  const colour = (name: string) => style.getPropertyValue(name).trim() || '#888';
  const colours: Record<Phase, string> = {
    queue: colour('--rn-queue'), fetch: colour('--rn-fetch'), run: colour('--rn-running'), store: colour('--rn-store')
  };
  const failed = colour('--rn-failed');
  const dim = colour('--rn-dim');
  const line = colour('--rn-line');
  const x = (time: number) => gutter + ((time - view.from) / (view.to - view.from)) * (width - gutter);
  context.font = `11px ${style.fontFamily}`;
  context.textBaseline = 'middle';

  axis(context, view, x, rows.length * LANE, height, width, gutter, origin, { dim, line });
  rows.forEach((lane, index) => {
    const top = index * LANE;
    context.fillStyle = line;
    context.fillRect(0, top + LANE - 0.5, width, 0.5);
    const worker = picture.workers.get(lane.worker);
    const actor = worker && picture.actors.get(worker.actor);
    context.fillStyle = dim;
    context.fillText(fit(context, actor ? actor.name || actor.class_name : `worker ${lane.worker}`, gutter - 8), 2, top + LANE / 2);
  });
  context.save();
  context.beginPath();
  context.rect(gutter, 0, width - gutter, rows.length * LANE);
  context.clip();
  rows.forEach((lane, index) => drawLane(context, lane, index * LANE, x, view, now, colours, failed));
  context.restore();

  return (px, py) => {
    const lane = rows[Math.floor(py / LANE)];
    if (!lane || px < gutter) {
      return null;
    }
    const time = view.from + ((px - gutter) / (width - gutter)) * (view.to - view.from);
    const slack = ((view.to - view.from) / (width - gutter)) * 2;
    for (let i = lane.tasks.length - 1; i >= 0; i--) {
      const task = lane.tasks[i];
      if (time >= task.started - slack && time <= (task.ended || now) + slack) {
        const span = spans(task, now).find(s => s.phase !== 'queue' && time >= s.from - slack && time <= s.to + slack);
        if (span) {
          return { x: px, y: py, span };
        }
      }
    }
    return null;
  };
}

/** A time on the axis: "0", "20 s", "1.5 s", "250 ms". */
function mark(time: number): string {
  const size = Math.abs(time);
  if (size < 1e-9) {
    return '0';
  }
  return size >= 1 && size < 60 ? `${+time.toFixed(3)} s` : `${time < 0 ? '−' : ''}${seconds(size)}`;
}

function axis(
  context: CanvasRenderingContext2D, view: View, x: (time: number) => number, bottom: number, height: number,
  width: number, gutter: number, origin: number, colours: { dim: string; line: string }
): void {
  for (const at of ticks(view, (width - gutter) / 110, origin)) {
    context.fillStyle = colours.line;
    context.fillRect(x(at), 0, 1, bottom);
    context.fillStyle = colours.dim;
    context.fillText(mark(at - origin), Math.min(x(at) + 3, width - 44), (bottom + height) / 2 + 1);
  }
}

function drawLane(
  context: CanvasRenderingContext2D, lane: Lane, top: number, x: (time: number) => number, view: View,
  now: number, colours: Record<Phase, string>, failed: string
): void {
  let drawnTo = -Infinity; // spans that fall into a pixel already drawn are left out
  for (const task of lane.tasks) {
    const end = task.ended || now;
    if (end < view.from || task.started > view.to) {
      continue;
    }
    if (x(end) < drawnTo + 0.4) {
      continue;
    }
    for (const span of spans(task, now)) {
      const from = x(span.from);
      const wide = Math.max(x(span.to) - from, span.phase === 'run' ? 1 : 0);
      context.fillStyle = span.phase === 'run' && task.state === 'FAILED' ? failed : colours[span.phase];
      if (span.phase === 'queue') {
        context.fillRect(from, top + 2, wide, 2);
      } else {
        context.fillRect(from, top + 6, Math.max(wide - (wide > 3 ? 0.5 : 0), 0.5), LANE - 11);
      }
      if (span.phase === 'run' && wide > 34) {
        context.fillStyle = '#fff';
        const left = Math.max(from, x(view.from));
        context.fillText(fit(context, task.name, Math.min(wide, x(view.to) - left) - 8), left + 4, top + 6 + (LANE - 11) / 2);
      }
    }
    drawnTo = x(end);
  }
}

function fit(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) {
    return text;
  }
  let cut = text;
  while (cut.length > 1 && context.measureText(`${cut}…`).width > width) {
    cut = cut.slice(0, -1);
  }
  return width > 14 ? `${cut}…` : '';
}
