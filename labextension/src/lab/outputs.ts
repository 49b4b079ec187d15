/**
 * Outputs that raynb's cells leave in a notebook: the card of `%load_ext raynb` with buttons, and the
 * dashboard, which shares the panel's connection. A dashboard of a runtime that has ended shows the picture
 * that was saved with it.
 */

import type { CommandRegistry } from '@lumino/commands';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import { Dashboard } from '../ui/dashboard';
import { Session } from '../ui/session';
import { Tab, isTab } from '../ui/view';
import { Document } from './follower';
import { Sessions } from './sessions';

export const CARD = 'application/vnd.raynb.card+json';
export const DASHBOARD = 'application/vnd.raynb.dashboard+json';

/** Before the factory of widgets, which would show "model not found" once the kernel is gone. */
const RANK = -100;

interface CardData { rows: [string, string][]; buttons: { label: string; command: string; args?: { tab: string } }[] }

interface Factories { addFactory(factory: IRenderMime.IRendererFactory, rank?: number): void }

/** Makes a document's outputs show raynb's own data. */
export function addRenderers(rendermime: Factories, document: Document, sessions: Sessions, commands: CommandRegistry): void {
  rendermime.addFactory({ safe: true, mimeTypes: [CARD], createRenderer: () => new CardOutput(commands) }, RANK);
  rendermime.addFactory(
    { safe: true, mimeTypes: [DASHBOARD], createRenderer: () => new DashboardOutput(document, sessions) }, RANK
  );
}

class CardOutput extends Widget implements IRenderMime.IRenderer {
  constructor(private commands: CommandRegistry) {
    super();
    this.addClass('rn-root');
    this.addClass('rn-output');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const data = model.data[CARD] as unknown as CardData;
    const card = document.createElement('section');
    card.className = 'rn-loaded';
    card.setAttribute('aria-label', 'raynb');
    const list = document.createElement('dl');
    for (const [what, value] of data.rows) {
      const term = document.createElement('dt');
      const text = document.createElement('dd');
      term.textContent = what;
      text.textContent = value;
      list.append(term, text);
    }
    const buttons = document.createElement('div');
    buttons.className = 'rn-loaded-buttons';
    for (const { label, command, args } of data.buttons) {
      if (!this.commands.hasCommand(command)) {
        continue;
      }
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'rn-button';
      button.textContent = label;
      button.addEventListener('click', () => void this.commands.execute(command, args));
      buttons.append(button);
    }
    card.append(list, buttons);
    this.node.replaceChildren(card);
  }
}

class DashboardOutput extends Widget implements IRenderMime.IRenderer {
  private board: Dashboard | null = null;
  private session: Session | null = null;
  private unsubscribe: (() => void) | null = null;
  private saved = document.createElement('div');
  private live = document.createElement('div');
  private runtime = '';
  private tab: Tab = 'overview';

  constructor(private home: Document, private sessions: Sessions) {
    super();
    this.addClass('rn-output');
    this.node.append(this.saved, this.live);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const data = model.data[DASHBOARD] as { tab: string; runtime: string };
    this.runtime = data.runtime;
    this.saved.innerHTML = ''; // ours: text() escapes whatever comes from tasks
    const picture = document.createElement('div');
    picture.className = 'rn-saved';
    picture.innerHTML = String(model.data['text/html'] ?? '');
    this.saved.append(picture);
    this.tab = isTab(data.tab) ? data.tab : 'overview';
    if (!this.board) {
      // A notebook that is just being opened has its outputs before it has its kernel.
      this.home.sessionContext.kernelChanged.connect(this.attach, this);
      this.attach();
    }
  }

  /** Looks at the document's kernel, once there is one. */
  private attach(): void {
    const kernel = this.home.sessionContext.session?.kernel;
    if (kernel && !this.board) {
      this.session = this.sessions.of(kernel);
      this.board = new Dashboard(this.session, { tab: this.tab });
      this.unsubscribe = this.session.subscribe(() => this.choose());
      this.board.mount(this.live);
    }
    this.choose();
  }

  dispose(): void {
    if (!this.home.isDisposed) {
      this.home.sessionContext.kernelChanged.disconnect(this.attach, this);
    }
    this.unsubscribe?.();
    this.board?.unmount();
    super.dispose();
  }

  /** Shows the live views for the runtime that the output was made of, until then what was saved. */
  private choose(): void {
    const { session } = this;
    const connecting = session !== null && (session.outside.title === 'Connecting' || session.picture.life === 'waiting' && !session.outside.title);
    // '': it was shown while the runtime was still starting.
    const mine = session?.picture.life === 'running' && ['', session.picture.runtime].includes(this.runtime);
    this.wasLive = this.wasLive || mine;
    const live = this.wasLive || connecting;
    this.live.hidden = !live;
    this.saved.hidden = live;
  }

  private wasLive = false;
}
