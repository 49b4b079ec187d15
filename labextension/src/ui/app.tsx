/** The dashboard: tabs, banner, and the state that the views share. No Jupyter in here. */

import { render } from 'preact';
import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { counted } from './format';
import { Link, Reply, Requests } from './link';
import { Message, Picture } from './model';
import { Overview } from './overview';
import { Tasks, TaskFilter, NO_FILTER } from './tasks';
import { Actors, Objects, Workers } from './tables';
import { Timeline } from './timeline';

export const TABS = ['overview', 'tasks', 'actors', 'objects', 'workers', 'timeline'] as const;
export type Tab = (typeof TABS)[number];

/** What the home of the views (a widget, a panel) knows about the kernel. */
export interface Outside {
  /** '' while all is well; else a title and a hint shown instead of, or above, the picture. */
  title: string;
  hint: string;
  /** Whether the last picture is still worth showing, greyed. */
  stale: boolean;
}
const WELL: Outside = { title: '', hint: '', stale: false };

export interface ViewProps {
  picture: Picture;
  now: number;
  narrow: boolean;
  act: (request: Message) => Promise<Reply>;
  ask: (request: Message) => Promise<Reply>;
  show: (tab: Tab, filter?: Partial<TaskFilter>) => void;
}

interface Toast { text: string; bad: boolean; interrupt?: boolean }

const clock = () => performance.now() / 1000;

/** Silence (seconds) after which the picture is called stale; the kernel speaks every five. */
const SILENCE = 12;

export class Dashboard {
  readonly picture = new Picture();
  readonly requests: Requests;
  outside: Outside = WELL;
  onTab: ((tab: Tab) => void) | undefined;
  /** Called after each message; the lab's status bar listens. */
  onChange: (() => void) | undefined;
  private update: (() => void) | undefined;
  private frame = 0;
  private timers: number[] = [];
  private root: HTMLElement | undefined;
  private hiddenTimer = 0;

  constructor(readonly link: Link, readonly firstTab: Tab = 'overview') {
    this.requests = new Requests(link);
  }

  /** Draws into `root` and says hello. */
  mount(root: HTMLElement): void {
    this.root = root;
    root.classList.add('rn-root');
    // Keys typed here are not the notebook's shortcuts (a "d d" in the filter deletes no cell).
    root.dataset.lmSuppressShortcuts = 'true';
    render(<App board={this} subscribe={update => (this.update = update)} />, root);
    this.timers.push(window.setInterval(() => this.draw(), 1000));
    this.timers.push(window.setInterval(() => this.ping(), 20000));
    document.addEventListener('visibilitychange', this.visibility);
    this.say('hello');
  }

  unmount(): void {
    this.say('bye');
    this.timers.forEach(timer => clearInterval(timer));
    this.timers = [];
    clearTimeout(this.hiddenTimer);
    document.removeEventListener('visibilitychange', this.visibility);
    cancelAnimationFrame(this.frame);
    this.requests.abandon('The view was closed.');
    this.update = undefined;
    if (this.root) {
      render(null, this.root);
    }
  }

  say(what: 'hello' | 'ping' | 'bye'): void {
    this.link.send({ do: what });
  }

  /** Says that somebody still looks; a hidden page doesn't. */
  ping(): void {
    if (!document.hidden) {
      this.say('ping');
    }
  }

  /** Takes a message from the kernel. */
  receive(message: Message): void {
    if (message?.kind === 'reply') {
      this.requests.answered(message);
      return;
    }
    const wasAlive = this.picture.life === 'running';
    this.picture.apply(message, clock());
    if (wasAlive && this.picture.life !== 'running') {
      this.requests.abandon('The runtime was stopped.');
    }
    this.draw();
  }

  /** Sets what the home knows of the kernel; `WELL` when all is well. */
  setOutside(outside: Partial<Outside>): void {
    this.outside = { ...WELL, ...outside };
    if (this.outside.title) {
      this.requests.abandon(this.outside.title);
    }
    this.draw();
  }

  /** Empties the picture: another kernel is followed now. */
  forget(): void {
    this.picture.reset();
    this.requests.abandon('The kernel was left.');
    this.draw();
  }

  /** Opens a view, as a click on its tab does. */
  show(tab: Tab): void {
    this.wanted = tab;
    this.draw();
  }

  /** Does what a command asks for and shows the answer, as a click on a button does. */
  command(request: Message): void {
    this.queued = request;
    this.draw();
  }

  /** Left by `show` and `command` for the drawn view to take. */
  wanted: Tab | undefined;
  queued: Message | undefined;

  draw(): void {
    this.onChange?.();
    if (!this.frame && this.update) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.update?.();
      });
    }
  }

  private visibility = () => {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = window.setTimeout(() => this.say('bye'), 30000);
    } else {
      this.say('hello');
    }
  };
}

function banner(board: Dashboard, silence: number): Outside {
  if (board.outside.title) {
    return board.outside;
  }
  const picture = board.picture;
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

function summary(picture: Picture): string {
  const workers = [...picture.workers.values()].filter(worker => !worker.exit).length;
  return counted(workers, 'worker');
}

function App(props: { board: Dashboard; subscribe: (update: () => void) => void }) {
  const { board } = props;
  const [, update] = useReducer((n: number) => n + 1, 0);
  const [tab, setTab] = useState<Tab>(board.firstTab);
  const [filter, setFilter] = useState<TaskFilter>(NO_FILTER);
  const [toast, setToast] = useState<Toast | null>(null);
  const [narrow, setNarrow] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const opened = useRef(clock());
  props.subscribe(() => update(0));

  useEffect(() => {
    const watch = new ResizeObserver(entries => setNarrow(entries[0].contentRect.width < 560));
    watch.observe(root.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (!toast || toast.interrupt) {
      return undefined;
    }
    const timer = setTimeout(() => setToast(null), toast.bad ? 12000 : 5000);
    return () => clearTimeout(timer);
  }, [toast]);

  const { picture } = board;
  const at = clock();
  const silence = at - (picture.heard || opened.current);
  const outside = banner(board, silence);

  const act = async (request: Message) => {
    const reply = await board.requests.ask(request, () =>
      setToast({ text: 'The kernel is busy and has not taken the request yet.', bad: true, interrupt: true })
    );
    setToast({ text: reply.text, bad: !reply.ok });
    return reply;
  };
  const show = (to: Tab, change?: Partial<TaskFilter>) => {
    setTab(to);
    board.onTab?.(to);
    if (change) {
      setFilter({ ...NO_FILTER, ...change });
    }
  };
  useEffect(() => {
    // Commands of the page (the palette) come in here, so that they show like clicks.
    const { wanted, queued } = board;
    board.wanted = board.queued = undefined;
    if (wanted) {
      show(wanted);
    }
    if (queued) {
      void act(queued);
    }
  });
  const view: ViewProps = {
    picture, now: picture.now(at), narrow, act, show, ask: request => board.requests.ask(request)
  };
  const blank = outside.title && !outside.stale;

  return (
    <div class={`rn-app ${narrow ? 'rn-narrow' : ''}`} ref={root}>
      <Tabs tab={tab} show={show} note={blank ? '' : summary(picture)} live={!outside.title} />
      {outside.title && outside.stale ? (
        <div class="rn-banner" role="status"><b>{outside.title}.</b> {outside.hint}</div>
      ) : null}
      <div class={`rn-view ${outside.stale ? 'rn-stale' : ''}`} role="tabpanel" id="rn-panel" aria-label={tab}>
        {blank ? (
          <div class="rn-empty rn-whole" role="status">
            <div class="rn-empty-title">{outside.title}</div>
            <div><Hint text={outside.hint} /></div>
          </div>
        ) : (
          <>
            {tab === 'overview' ? <Overview {...view} /> : null}
            {tab === 'tasks' ? <Tasks {...view} filter={filter} setFilter={setFilter} /> : null}
            {tab === 'actors' ? <Actors {...view} /> : null}
            {tab === 'objects' ? <Objects {...view} /> : null}
            {tab === 'workers' ? <Workers {...view} /> : null}
            {tab === 'timeline' ? <Timeline {...view} /> : null}
          </>
        )}
      </div>
      <div class="rn-live" role="status" aria-live="polite">
        {toast ? (
          <div class={`rn-toast ${toast.bad ? 'rn-bad' : ''}`}>
            <span>{toast.text}</span>
            {toast.interrupt ? (
              board.link.interrupt ? (
                <button type="button" class="rn-button" onClick={() => { board.link.interrupt!(); setToast(null); }}>
                  Interrupt the kernel
                </button>
              ) : <span>Interrupting the kernel (■) cancels the running cell’s tasks.</span>
            ) : null}
            <button type="button" class="rn-button rn-small" aria-label="Close this message" onClick={() => setToast(null)}>✕</button>
          </div>
        ) : null}
      </div>
    </div>
  );
}

/** Text in which commands (%magic, call()) are set as code. */
function Hint(props: { text: string }) {
  const parts = props.text.split(/(%\w+(?: (?:start|dashboard|raynb))?|\braynb\.\w+\(\))/);
  return <>{parts.map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part))}</>;
}

function Tabs(props: { tab: Tab; show: (tab: Tab) => void; note: string; live: boolean }) {
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) {
      return;
    }
    const next = TABS[(TABS.indexOf(props.tab) + step + TABS.length) % TABS.length];
    props.show(next);
    const list = event.currentTarget as HTMLElement;
    list.querySelector<HTMLElement>(`[data-tab="${next}"]`)?.focus();
    event.preventDefault();
  };
  return (
    <div class="rn-top">
      <div class="rn-tabs" role="tablist" aria-label="Views of raynb" onKeyDown={keys}>
        {TABS.map(name => (
          <button key={name} type="button" role="tab" data-tab={name} aria-selected={props.tab === name}
            aria-controls="rn-panel" tabIndex={props.tab === name ? 0 : -1} onClick={() => props.show(name)}>
            {name[0].toUpperCase() + name.slice(1)}
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
