/** One place where views are drawn: which kernel it shows, which view, and when it is drawn again. */

import { render } from 'preact';
import { App } from './app';
import { Request } from './messages';
import { Session } from './session';
import { Tab } from './view';

export interface Options {
  tab?: Tab;
  /** Fills a box of fixed height (a panel, a tab of the main area). */
  fill?: boolean;
  /** Lies outside of notebooks, so that the page's shortcuts work in it (its palette, its side bars). */
  outside?: boolean;
}

let boards = 0;

const TICK_MS = 1000;

export class Dashboard {
  tab: Tab;
  readonly fill: boolean;
  readonly outside: boolean;
  /** A request left by a command, for the drawn view to take. */
  queued: Request | undefined;
  onTab: ((tab: Tab) => void) | undefined;
  private number = ++boards;
  private update: (() => void) | undefined;
  private frame = 0;
  private tick: ReturnType<typeof setInterval> | undefined;
  private root: HTMLElement | undefined;
  private leave: (() => void)[] = [];

  constructor(public session: Session, options: Options = {}) {
    this.tab = options.tab ?? 'overview';
    this.fill = options.fill ?? false;
    this.outside = options.outside ?? false;
  }

  /** An id for an element of this dashboard; there may be several on one page. */
  id(name: string): string {
    return `rn-${name}-${this.number}`;
  }

  /** Draws into `root` and begins to look. */
  mount(root: HTMLElement): void {
    this.root = root;
    root.classList.add('rn-root');
    if (!this.outside) {
      // Keys typed in a cell's output are not the notebook's shortcuts (a "d d" deletes no cell).
      root.dataset.lmSuppressShortcuts = 'true';
    }
    this.enter();
    render(<App board={this} subscribe={update => (this.update = update)} />, root);
    this.tick = setInterval(() => this.draw(), TICK_MS);
  }

  unmount(): void {
    clearInterval(this.tick);
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.exit();
    this.update = undefined;
    if (this.root) {
      render(null, this.root);
      this.root = undefined;
    }
  }

  /** Shows another kernel. */
  use(session: Session): void {
    if (session === this.session) {
      return;
    }
    this.exit();
    this.session = session;
    if (this.root) {
      this.enter();
    }
    this.draw();
  }

  /** Opens a view, as a click on its tab does. */
  show(tab: Tab): void {
    this.tab = tab;
    this.onTab?.(tab);
    this.draw();
  }

  /** Does what a command asks for and shows the answer, as a click on a button does. */
  command(request: Request): void {
    this.queued = request;
    this.draw();
  }

  /** Puts the focus on the chosen tab. */
  focus(): void {
    this.root?.querySelector<HTMLElement>(`[data-tab="${this.tab}"]`)?.focus();
  }

  draw(): void {
    if (!this.frame && this.update) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.update?.();
      });
    }
  }

  private enter(): void {
    this.leave = [this.session.subscribe(() => this.draw()), this.session.look()];
  }

  private exit(): void {
    this.leave.forEach(leave => leave());
    this.leave = [];
  }
}
