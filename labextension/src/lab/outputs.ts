/**
 * Outputs that raynb's cells leave in a notebook: those that go on changing (live.ts), and the dashboard, which
 * shares the panel's connection. A dashboard of a runtime that has ended shows the picture that was saved.
 */

import type { CommandRegistry } from '@lumino/commands';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';
import { Dashboard } from '../ui/dashboard';
import { Session } from '../ui/session';
import { Tab, isTab } from '../ui/view';
import { Document } from './follower';
import { CARD, CardOutput, LIVE, LiveOutput } from './live';
import { Sessions } from './sessions';

export const DASHBOARD = 'application/vnd.raynb.dashboard+json';

/** Before the factory of widgets, which would show "model not found" once the kernel is gone. */
const RANK = -100;

interface Factories { addFactory(factory: IRenderMime.IRendererFactory, rank?: number): void }

/** Makes a document's outputs show raynb's own data. */
export function addRenderers(rendermime: Factories, document: Document, sessions: Sessions, commands: CommandRegistry): void {
  const add = (type: string, createRenderer: (options: IRenderMime.IRendererOptions) => IRenderMime.IRenderer) =>
    rendermime.addFactory({ safe: true, mimeTypes: [type], createRenderer }, RANK);
  add(LIVE, () => new LiveOutput(document, sessions));
  add(CARD, () => new CardOutput(document, sessions, commands));
  add(DASHBOARD, options => new DashboardOutput(document, sessions, options.sanitizer));
}

class DashboardOutput extends Widget implements IRenderMime.IRenderer {
  private board: Dashboard | null = null;
  private session: Session | null = null;
  private unsubscribe: (() => void) | null = null;
  private saved = document.createElement('div');
  private live = document.createElement('div');
  private runtime = '';
  private tab: Tab = 'overview';

  constructor(private home: Document, private sessions: Sessions, private sanitizer: IRenderMime.ISanitizer) {
    super();
    this.addClass('rn-output');
    this.node.append(this.saved, this.live);
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const data = model.data[DASHBOARD] as { tab: string; runtime: string };
    this.runtime = data.runtime;
    const picture = document.createElement('div');
    picture.className = 'rn-saved';
    // The notebook may come from somebody else, and this is drawn also where it is not trusted.
    picture.innerHTML = this.sanitizer.sanitize(String(model.data['text/html'] ?? ''));
    this.saved.replaceChildren(picture);
    this.tab = isTab(data.tab) ? data.tab : 'overview';
    if (!this.board) {
      // A notebook that is just being opened has its outputs before it has its kernel.
      this.home.sessionContext.kernelChanged.connect(this.attach, this);
      this.attach();
    }
  }

  /** Looks at the document's kernel, once there is one, and at the next when it was changed. */
  private attach(): void {
    const kernel = this.home.sessionContext.session?.kernel;
    const session = kernel ? this.sessions.of(kernel) : this.session;
    if (session && session !== this.session) {
      this.unsubscribe?.();
      this.unsubscribe = session.subscribe(() => this.choose());
      this.session = session;
      if (this.board) {
        this.board.use(session);
      } else {
        this.board = new Dashboard(session, { tab: this.tab });
        this.board.mount(this.live);
      }
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
