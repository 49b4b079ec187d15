/**
 * Outputs of raynb's that go on changing: bars, shown refs and handles, lines that tasks draw over and over, the
 * card of `%load_ext raynb`. Drawn from data, never from HTML. They go live again after a reload of the page, and
 * say what they were once their kernel is gone.
 */

import type { CommandRegistry } from '@lumino/commands';
import type { Kernel } from '@jupyterlab/services';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import { counted } from '../ui/format';
import type { Live } from '../ui/messages';
import { unfinished } from '../ui/picture';
import type { Session } from '../ui/session';
import { Bundle, Shown } from './displays';
import { Document } from './follower';
import { Sessions } from './sessions';

export const LIVE = 'application/vnd.raynb.live+json';
export const CARD = 'application/vnd.raynb.card+json';

type Data = Parameters<IRenderMime.IMimeModel['setData']>[0]['data'];
type Mark = { id: string; live: boolean };

/** Shows one display and follows it, whichever kernel its document has. */
abstract class Following<M extends Mark> extends Widget implements IRenderMime.IRenderer, Shown {
  private mark: M | null = null; // what it says now; the model may be behind
  private model: IRenderMime.IMimeModel | null = null;
  private followed = '';
  private leave: (() => void) | null = null;

  constructor(private type: string, private home: Document, protected sessions: Sessions) {
    super();
    this.addClass('rn-root');
    this.addClass('rn-output');
  }

  /** Draws what it says now. */
  protected abstract draw(mark: M): void;

  /** Its document has this kernel now; null: it follows none any more. */
  protected watch(_: Kernel.IKernelConnection | null): void {}

  /** What it says, and what is saved of it, once its kernel is gone. */
  protected abstract ended(mark: M): { mark: M; text: string };

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.model = model;
    const mark = this.mark = model.data[this.type] as M;
    this.draw(mark);
    if (mark.live) {
      this.follow(mark.id);
    } else {
      this.unfollow();
    }
  }

  news(bundle: Bundle): void {
    const mark = bundle[this.type] as M | undefined;
    if (!mark || !this.model || JSON.stringify(mark) === JSON.stringify(this.model.data[this.type])) {
      return; // JupyterLab itself brought it
    }
    this.mark = mark;
    if (mark.live) {
      this.draw(mark);
    } else {
      this.model.setData({ data: bundle as Data }); // its last state is what is saved
      void this.renderModel(this.model);
    }
  }

  gone(seen: boolean): void {
    const { mark } = this;
    this.unfollow();
    if (!mark?.live) {
      return;
    }
    const end = this.ended(mark);
    this.draw(end.mark);
    if (seen) { // a notebook that is only opened stays as it was saved
      this.model!.setData({ data: { 'text/plain': end.text, [this.type]: end.mark } });
    }
  }

  dispose(): void {
    this.unfollow();
    super.dispose();
  }

  private follow(id: string): void {
    if (this.followed === id) {
      return;
    }
    this.unfollow();
    this.followed = id;
    this.home.sessionContext.kernelChanged.connect(this.attach, this);
    void this.home.sessionContext.ready.then(() => this.attach());
    this.attach();
  }

  private unfollow(): void {
    this.leave?.();
    this.leave = null;
    if (this.followed && !this.home.isDisposed) {
      this.home.sessionContext.kernelChanged.disconnect(this.attach, this);
    }
    this.followed = '';
    this.watch(null);
  }

  private attach(): void {
    const { sessionContext } = this.home;
    if (!this.followed || this.isDisposed || sessionContext.isDisposed) {
      return;
    }
    const kernel = sessionContext.session?.kernel;
    this.leave?.();
    this.leave = kernel ? this.sessions.displays(kernel).follow(this.followed, this) : null;
    this.watch(kernel ?? null);
    if (!kernel && sessionContext.isReady) {
      this.gone(false);
    }
  }
}

const element = <K extends keyof HTMLElementTagNameMap>(tag: K, className = '', text = ''): HTMLElementTagNameMap[K] => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
};

/** A bar, a ref, a handle, a line. */
export class LiveOutput extends Following<Live & Mark> {
  constructor(home: Document, sessions: Sessions) {
    super(LIVE, home, sessions);
    this.addClass('rn-live-output');
  }

  protected draw(mark: Live & Mark): void {
    const line = element('div');
    if (mark.share !== undefined) {
      const bar = element('progress');
      bar.max = 1;
      bar.value = mark.share;
      bar.setAttribute('aria-label', 'tasks of this cell');
      bar.classList.toggle('rn-failed', Boolean(mark.failed));
      line.append(bar, ' ', mark.text ?? '');
    } else if (mark.kind) {
      const code = mark.code ?? '';
      const short = element('small', 'rn-dim', code.length > 8 ? `…${code.slice(-8)}` : code);
      short.title = code;
      const dot = element('span', `rn-dot rn-s-${mark.state || 'GONE'}`);
      dot.setAttribute('aria-hidden', 'true');
      line.append(dot, ' ', element('code', '', mark.kind), ' ', mark.text ?? '', ' ', short);
    } else {
      line.className = 'rn-live-line';
      // The only sequence of raynb's own: a dim prefix says who speaks.
      (mark.text ?? '').split(/\x1b\[2m(.*?)\x1b\[0m/).forEach((part, i) => line.append(i % 2 ? element('span', 'rn-dim', part) : part));
    }
    this.node.replaceChildren(line);
  }

  protected ended(mark: Live & Mark): { mark: Live & Mark; text: string } {
    const text = mark.gone ?? mark.text ?? '';
    return { mark: { ...mark, live: false, text, ...(mark.kind ? { state: '' } : {}) }, text: mark.kind ? `${mark.kind}(${text})` : text };
  }
}

type Rows = [string, string][];
type Card = Mark & { rows: Rows; gone: Rows; buttons: { label: string; command: string; args?: { tab: string } }[] };

/** The card of `%load_ext raynb`, with its buttons. */
export class CardOutput extends Following<Card> {
  private now = element('dd');
  private said = ''; // by the kernel, of a time of day
  private session: Session | null = null;
  private ends: (() => void)[] = [];

  constructor(home: Document, sessions: Sessions, private commands: CommandRegistry) {
    super(CARD, home, sessions);
  }

  protected draw(mark: Card): void {
    const card = element('section', 'rn-loaded');
    card.setAttribute('aria-label', 'raynb');
    const list = element('dl');
    this.said = '';
    for (const [what, value] of mark.rows) {
      list.append(element('dt', '', what), what === 'now' ? this.now : element('dd', '', value));
      this.said = what === 'now' ? value : this.said;
    }
    this.tell();
    const buttons = element('div', 'rn-loaded-buttons');
    for (const { label, command, args } of mark.buttons) {
      // Only ours: a notebook from elsewhere may name any command.
      if (!command.startsWith('raynb:open') && command !== 'raynb:tour' || !this.commands.hasCommand(command)) {
        continue;
      }
      const button = element('button', 'rn-button', label);
      button.type = 'button';
      button.addEventListener('click', () => void this.commands.execute(command, args));
      buttons.append(button);
    }
    card.append(list, buttons);
    this.node.replaceChildren(card);
  }

  protected watch(kernel: Kernel.IKernelConnection | null): void {
    const session = kernel && this.sessions.of(kernel);
    if (session !== this.session) {
      this.ends.forEach(end => end());
      this.session = session;
      this.ends = session ? [session.subscribe(() => this.tell()), ...(this.sessions.cardsLook ? [session.look()] : [])] : [];
      this.tell();
    }
  }

  /** Says what runs now, as long as somebody looks. */
  private tell(): void {
    const picture = this.session?.watched ? this.session.picture : null;
    const tasks = picture ? unfinished(picture.states) : 0;
    const words = tasks ? `${counted(tasks, 'unfinished task')}, ${picture!.running.size} running` : 'nothing is running';
    const text = picture ? words : this.said;
    if (this.now.textContent !== text) {
      this.now.textContent = text;
    }
  }

  protected ended(mark: Card): { mark: Card; text: string } {
    const text = ['raynb', ...mark.gone.map(([what, value]) => `  ${what.padEnd(10)} ${value}`)].join('\n');
    return { mark: { ...mark, live: false, rows: mark.gone }, text };
  }
}
