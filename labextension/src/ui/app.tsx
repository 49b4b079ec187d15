/** The frame of the views: tabs, banner, answers. */

import { ComponentType } from 'preact';
import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { Cells } from './cells';
import type { Dashboard } from './dashboard';
import { counted } from './format';
import { History } from './history';
import { Reply } from './link';
import { Request } from './messages';
import { Overview } from './overview';
import { Kernels } from './kernels';
import { Hint, useKeptFocus } from './parts';
import { Filter, NO_FILTER, Picture } from './picture';
import { Outside, Session, WELL, clock } from './session';
import { Actors, Nodes, Objects, Workers } from './tables';
import { Tasks } from './tasks';
import { Timeline } from './timeline';
import { TABS, Tab, ViewProps, tabTitle } from './view';

const VIEWS: Record<Tab, ComponentType<ViewProps>> = {
  overview: Overview, tasks: Tasks, actors: Actors, objects: Objects, workers: Workers, nodes: Nodes,
  timeline: Timeline, history: History, cells: Cells,
  kernels: Kernels
};

/** `from`: whose answer it is; another kernel's view doesn't show it, nor interrupts that kernel. */
interface Toast { text: string; bad: boolean; from: Session; interrupt?: boolean }

/** Views in which nothing takes the focus: it is theirs, so that keys can scroll them. */
const SCROLLS: Tab[] = ['history'];

/** Silence (seconds) after which the picture is called stale; the kernel speaks every five. */
const SILENCE = 12;
const GOOD_MS = 5000;
const BAD_MS = 12000;

function banner(session: Session, silence: number): Outside {
  if (session.outside.title) {
    return session.outside;
  }
  const { picture } = session;
  if (picture.life === 'running' && silence > SILENCE) {
    return {
      title: `No news from the kernel for ${Math.round(silence)} s`,
      hint: 'It may be restarting, or one long call keeps Python’s lock. After a restart, run %raynb dashboard again.',
      stale: true
    };
  }
  switch (picture.life) {
    case 'running':
      return WELL;
    case 'failed':
      return { title: 'The view stopped', hint: picture.why, stale: false };
    case 'starting':
      return { title: 'The runtime is starting', hint: '', stale: false };
    case 'stopped':
      return { title: 'No runtime is running', hint: picture.why || 'Start one with %raynb start, or raynb.init().', stale: false };
    default:
      return silence > 3
        ? { title: 'Waiting for the kernel', hint: 'If it was restarted, run %load_ext raynb and %raynb dashboard again.', stale: false }
        : { title: 'Connecting', hint: '', stale: false };
  }
}

function note(picture: Picture): string {
  let alive = 0;
  for (const worker of picture.workers.values()) {
    alive += worker.exit ? 0 : 1;
  }
  return counted(alive, 'worker');
}

export function App(props: { board: Dashboard; subscribe: (update: () => void) => void }) {
  const { board } = props;
  const [, update] = useReducer((n: number) => n + 1, 0);
  const [toast, setToast] = useState<Toast | null>(null);
  const [width, setWidth] = useState(0);
  const root = useRef<HTMLDivElement>(null);
  const { session, tab, fill } = board;
  props.subscribe(() => update(0));
  useKeptFocus(root, () => root.current?.querySelector<HTMLElement>('.rn-view'));

  useEffect(() => {
    const watch = new ResizeObserver(entries => setWidth(Math.floor(entries[0].contentRect.width)));
    watch.observe(root.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (!toast || toast.interrupt) {
      return undefined;
    }
    const timer = setTimeout(() => setToast(null), toast.bad ? BAD_MS : GOOD_MS);
    return () => clearTimeout(timer);
  }, [toast]);

  const { picture } = session;
  const at = clock();
  const silence = at - Math.max(picture.heard, session.since);
  const outside = banner(session, silence);
  const act = async (request: Request): Promise<Reply> => {
    const reply = await session.requests.ask(request, () =>
      setToast({ text: 'The kernel is busy and has not taken the request yet.', bad: true, from: session, interrupt: true })
    );
    // A runtime that was stopped on purpose abandons what was asked of it, this included.
    const meant = request.do === 'stop' || request.do === 'restart';
    setToast({ text: reply.text, bad: !reply.ok && !(meant && picture.life !== 'running'), from: session });
    return reply;
  };
  const show = (to: Tab, filter?: Partial<Filter>) => {
    if (filter) {
      session.remembered.filter = { ...NO_FILTER, ...filter };
    }
    board.show(to);
  };
  useEffect(() => {
    // A command of the page (the palette) comes in here, so that it shows like a click.
    const { queued } = board;
    board.queued = undefined;
    if (queued) {
      void act(queued);
    }
  });
  const view: ViewProps = {
    picture, now: picture.now(at), width: width || 600, fill, remembered: session.remembered, act, show,
    ask: request => session.requests.ask(request), redraw: () => update(0),
    document: kernel => session.link.document?.(kernel) ?? ''
  };
  // The other kernels' runtimes can be seen without one of this kernel, as long as the kernel answers.
  const blank = outside.title !== '' && !outside.stale && (tab !== 'kernels' || session.outside.title !== '' || picture.life === 'waiting');
  const View = VIEWS[tab];
  // Another kernel's view is another one: what this one keeps would be shown, and asked for, in its place.
  const key = `${session.number} ${tab}`;
  const empty: Partial<Record<Tab, boolean>> = { nodes: picture.nodes.length === 0, cells: picture.graph === 0 };
  const tabs = TABS.filter(name => !empty[name] || tab === name);

  return (
    <div class={`rn-app ${width && width < 420 ? 'rn-narrow' : ''} ${fill ? 'rn-fill' : ''}`} ref={root}>
      <Tabs tabs={tabs} tab={tab} show={show} note={blank ? '' : note(picture)} live={!outside.title} />
      {outside.title && outside.stale ? (
        <div class="rn-banner" role="status"><b>{outside.title}.</b> <Hint text={outside.hint} /></div>
      ) : null}
      <div class={`rn-view ${outside.stale ? 'rn-stale' : ''}`} role="tabpanel" id={board.id('view')}
        aria-label={tabTitle(tab)} tabIndex={SCROLLS.includes(tab) ? 0 : -1}>
        {blank ? (
          <div class={`rn-empty rn-whole ${outside.title === 'Connecting' ? 'rn-late' : ''}`} role="status">
            <div class="rn-empty-title">{outside.title}</div>
            <div><Hint text={outside.hint} /></div>
            {session.outside.title ? null : picture.life === 'stopped' ? (
              <button type="button" class="rn-button" onClick={() => void act({ do: 'start' })}>Start the runtime</button>
            ) : picture.life === 'failed' && !picture.why.includes('version') ? (
              <button type="button" class="rn-button" onClick={() => void act({ do: 'restart' })}>Restart the runtime</button>
            ) : null}
          </div>
        ) : width ? <View key={key} {...view} /> : null}
      </div>
      <div class="rn-live" role="status" aria-live="polite">
        {toast?.from === session ? <Answer toast={toast} close={() => setToast(null)} /> : null}
      </div>
    </div>
  );
}

function Answer(props: { toast: Toast; close: () => void }) {
  const { toast, close } = props;
  const { interrupt } = toast.from.link;
  return (
    <div class={`rn-toast ${toast.bad ? 'rn-bad' : ''}`}>
      <span>{toast.text}</span>
      {toast.interrupt && interrupt ? (
        <button type="button" class="rn-button rn-small" onClick={() => { interrupt(); close(); }}>Interrupt the kernel</button>
      ) : null}
      {toast.interrupt && !interrupt ? <span>Interrupting the kernel (■) cancels the running cell’s tasks.</span> : null}
      <button type="button" class="rn-button rn-small" aria-label="Close this message" onClick={close}>✕</button>
    </div>
  );
}

function Tabs(props: { tabs: readonly Tab[]; tab: Tab; show: (tab: Tab) => void; note: string; live: boolean }) {
  const { tabs, tab } = props;
  const keys = (event: KeyboardEvent) => {
    const at = tabs.indexOf(tab);
    const to: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in to)) {
      return;
    }
    const next = tabs[(to[event.key] + tabs.length) % tabs.length];
    props.show(next);
    (event.currentTarget as HTMLElement).querySelector<HTMLElement>(`[data-tab="${next}"]`)?.focus();
    event.preventDefault();
  };
  return (
    <div class="rn-top">
      <div class="rn-tabs" role="tablist" aria-label="Views of raynb" onKeyDown={keys}>
        {tabs.map(name => (
          <button key={name} type="button" role="tab" data-tab={name} aria-selected={tab === name}
            tabIndex={tab === name ? 0 : -1} onClick={() => props.show(name)} aria-label={tabTitle(name)}>
            {name === 'kernels' ? <><span class="rn-roomy">All </span>kernels</> : tabTitle(name)}
          </button>
        ))}
      </div>
      <div class="rn-alive">
        <span class={`rn-pulse ${props.live ? 'rn-on' : ''}`} aria-hidden="true" />
        {props.note}
      </div>
    </div>
  );
}
