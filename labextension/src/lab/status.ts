/** The status bar item: busy slots, the store, unfinished and failed tasks. A click opens the panel. */

import { Widget } from '@lumino/widgets';
import { bytes, count, counted } from '../ui/format';
import { slots, unfinished } from '../ui/picture';
import { Session } from '../ui/session';

const TICK_MS = 2000;

export class Status extends Widget {
  private button = document.createElement('button');
  private bar = document.createElement('span');
  private text = document.createElement('span');
  private failed = document.createElement('span');
  private session: Session | undefined;
  private document = '';
  private leave: (() => void)[] = [];
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(open: () => void) {
    super();
    this.id = 'raynb-status';
    this.button.type = 'button';
    this.button.className = 'rn-status';
    this.button.addEventListener('click', open);
    const track = document.createElement('span');
    track.className = 'rn-status-bar';
    track.setAttribute('aria-hidden', 'true');
    track.append(this.bar);
    this.failed.className = 'rn-status-failed';
    this.button.append(track, this.text, this.failed);
    this.node.append(this.button);
    this.draw();
  }

  /** Shows another kernel's runtime. */
  use(session: Session, document: string): void {
    this.document = document;
    if (session !== this.session) {
      this.exit();
      this.session = session;
      if (this.isAttached) {
        this.enter();
      }
    }
    this.draw();
  }

  protected onAfterAttach(): void {
    this.enter();
  }

  protected onBeforeDetach(): void {
    this.exit();
  }

  private enter(): void {
    if (this.session && !this.leave.length) {
      this.leave = [this.session.subscribe(() => this.draw()), this.session.look()];
      // Silence is news too: the bar must not show slots of a runtime that is gone.
      this.timer = setInterval(() => this.draw(), TICK_MS);
    }
  }

  private exit(): void {
    clearInterval(this.timer);
    this.leave.forEach(leave => leave());
    this.leave = [];
  }

  /** Draws what the picture says now; hidden while there is no runtime. */
  private draw(): void {
    const picture = this.session?.picture;
    const shown = picture?.life === 'running' && !this.session?.outside.title;
    this.button.hidden = !shown;
    this.button.style.display = shown ? '' : 'none';
    if (!shown || !picture) {
      return;
    }
    const { whole, busy } = slots(picture.total, picture.available);
    const tasks = unfinished(picture.states);
    const failed = picture.states.FAILED ?? 0;
    const { used, limit, spilled } = picture.store;
    const text = [
      `raynb ${+busy.toFixed(1)}/${+whole.toFixed(1)}`, bytes(used), tasks ? counted(tasks, 'task') : '',
      spilled ? `${bytes(spilled)} on disk` : '', picture.paused.size ? `${picture.paused.size} at a breakpoint` : ''
    ].filter(Boolean).join(' · ');
    const failures = failed ? ` ${count(failed)} failed` : '';
    if (this.text.textContent !== text || this.failed.textContent !== failures) {
      this.text.textContent = text;
      this.failed.textContent = failures;
      this.button.title = `raynb in ${this.document}: ${busy} of ${whole} CPU slots busy, ` +
        `${bytes(used)} of ${bytes(limit)} in the object store, ${bytes(spilled)} on disk, ` +
        `${counted(tasks, 'unfinished task')}, ${counted(failed, 'failed task')}. Opens the panel.`;
      this.button.setAttribute('aria-label', this.button.title);
    }
    this.bar.style.width = `${whole ? (100 * busy) / whole : 0}%`;
  }
}
