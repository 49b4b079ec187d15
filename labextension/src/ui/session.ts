/**
 * One kernel as the page knows it: its picture, the requests to it, and what the views of it remember.
 * Every view of the same kernel shares one session, so they never disagree. No Jupyter in here.
 */

import { Link, Requests } from './link';
import { KernelMessage } from './messages';
import { Filter, NO_FILTER, Picture } from './picture';
import { Sort } from './sorting';

/** What the home of the views (a widget, a panel) knows about the kernel. */
export interface Outside {
  /** '' while all is well; else a title and a hint shown instead of, or above, the picture. */
  title: string;
  hint: string;
  /** Whether the last picture is still worth showing, greyed. */
  stale: boolean;
}
export const WELL: Outside = { title: '', hint: '', stale: false };

/** What a person has chosen in the views of one kernel. */
export interface Remembered {
  filter: Filter;
  /** Table → the id of the row that is open. */
  open: Record<string, string>;
  /** Table → the order of its rows. */
  sort: Record<string, Sort>;
  /** The row whose stack was asked for beside it; its detail shows it. */
  stack: string;
}

const pageId = () => Math.random().toString(16).slice(2);

/** Whoever shares a comm (windows, consoles, the page before it was loaded again) hears all answers: no two count from the same number. */
const firstNumber = () => 1 + Math.floor(Math.random() * 2 ** 30) * 2 ** 20;

export const clock = () => performance.now() / 1000;

const PING_MS = 20000;
const HIDDEN_MS = 30000;

let sessions = 0;

export class Session {
  /** Tells sessions apart. */
  readonly number = ++sessions;
  /** Tells the kernel who of those that share the comm (windows, consoles) looks, and who has left. */
  readonly page = pageId();
  readonly picture = new Picture();
  readonly requests: Requests;
  readonly remembered: Remembered = { filter: NO_FILTER, open: {}, sort: {}, stack: '' };
  outside: Outside = WELL;
  /** When the views began to wait for news. */
  since = clock();
  private listeners = new Set<() => void>();
  private lookers = 0;
  private ping: ReturnType<typeof setInterval> | undefined;
  private hidden: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly link: Link) {
    this.requests = new Requests(link, undefined, () => this.picture.runtime, firstNumber());
  }

  /** Calls `listener` after each change; returns what ends that. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Says hello for a view, and that it still looks as long as it does; returns what ends that. The
   * kernel hears one hello and one bye, however many views there are.
   */
  look(): () => void {
    if (this.lookers++ === 0) {
      this.say('hello');
      this.ping = setInterval(() => this.sayPing(), PING_MS);
      document.addEventListener('visibilitychange', this.visibility);
    }
    let looks = true;
    return () => {
      if (looks && --this.lookers === 0) {
        this.rest();
        this.say('bye');
      }
      looks = false;
    };
  }

  /** Whether the kernel is telling news: the picture is that of now. */
  get watched(): boolean {
    return this.lookers > 0 && this.picture.life === 'running' && !this.outside.title;
  }

  say(what: 'hello' | 'ping' | 'bye'): void {
    this.link.send({ do: what, page: this.page });
  }

  /** Asks for the whole picture again, if somebody looks: a comm has just opened. */
  greet(): void {
    if (this.lookers) {
      this.say('hello');
    }
  }

  /** Takes a message from the kernel. */
  receive(message: KernelMessage): void {
    if (message?.kind === 'reply') {
      this.requests.answered(message);
      return;
    }
    const wasAlive = this.picture.life === 'running';
    const before = this.picture.runtime;
    this.picture.apply(message, clock());
    if (wasAlive && this.picture.life !== 'running') {
      this.requests.abandon('The runtime was stopped.');
    }
    if (before && before !== this.picture.runtime) {
      // Ids and scopes mean others now: no row opens by itself, and no filter asks for the cell of another run.
      this.remembered.open = {};
      this.remembered.stack = '';
      this.remembered.filter = { ...this.remembered.filter, cell: '' };
    }
    this.changed();
  }

  /** Sets what the home knows of the kernel; nothing when all is well. */
  setOutside(outside: Partial<Outside>): void {
    this.outside = { ...WELL, ...outside };
    this.since = clock();
    if (this.outside.title) {
      this.requests.abandon(this.outside.title);
    }
    this.changed();
  }

  /** Ends the timers; for a kernel that is gone. */
  dispose(): void {
    this.rest();
    this.lookers = 0;
    this.requests.abandon('The kernel was left.');
    this.listeners.clear();
  }

  private changed(): void {
    for (const listener of this.listeners) {
      listener();
    }
  }

  private sayPing(): void {
    if (!document.hidden) {
      this.say('ping');
    }
  }

  private rest(): void {
    clearInterval(this.ping);
    clearTimeout(this.hidden);
    document.removeEventListener('visibilitychange', this.visibility);
  }

  private visibility = () => {
    clearTimeout(this.hidden);
    if (document.hidden) {
      this.hidden = setTimeout(() => this.say('bye'), HIDDEN_MS);
    } else {
      this.say('hello');
    }
  };
}
