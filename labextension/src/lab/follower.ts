/** Which kernel is looked at: that of the active notebook or console, or of one document. */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { IConsoleTracker } from '@jupyterlab/console';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Widget } from '@lumino/widgets';
import { Session } from '../ui/session';
import { Sessions, blank } from './sessions';

/** A document with a kernel. */
export interface Document extends Widget { readonly sessionContext: ISessionContext }

const NOTHING = blank('nothing');
const NO_KERNEL = blank('kernel');

/** Follows the kernel of one document through changes of its kernel. */
export class DocumentFollower {
  private document: Document | null = null;

  constructor(private sessions: Sessions, private changed: (session: Session, title: string) => void) {}

  get title(): string {
    return this.document?.title.label ?? '';
  }

  get current(): Document | null {
    return this.document;
  }

  /** The session of the document's kernel. */
  get session(): Session {
    const kernel = this.document?.sessionContext.session?.kernel;
    return kernel ? this.sessions.of(kernel) : this.document ? NO_KERNEL : NOTHING;
  }

  follow(document: Document | null): void {
    const next = document && !document.isDisposed ? document : null;
    if (next !== this.document) {
      this.leave();
      this.document = next;
      next?.sessionContext.kernelChanged.connect(this.tell, this);
      next?.title.changed.connect(this.tell, this);
      next?.disposed.connect(this.left, this);
    }
    this.tell();
  }

  dispose(): void {
    this.leave();
    this.document = null;
  }

  private leave(): void {
    const old = this.document;
    if (old && !old.isDisposed) {
      old.sessionContext.kernelChanged.disconnect(this.tell, this);
      old.title.changed.disconnect(this.tell, this);
      old.disposed.disconnect(this.left, this);
    }
  }

  private left(): void {
    this.document = null;
    this.tell();
  }

  private tell(): void {
    this.changed(this.session, this.title);
  }
}

/** Follows the notebook or console that was active last. */
export class ActiveFollower extends DocumentFollower {
  /** Stays with the document that it has, if it has one. */
  pinned = false;

  constructor(
    sessions: Sessions, private notebooks: INotebookTracker, private consoles: IConsoleTracker | null,
    changed: (session: Session, title: string) => void
  ) {
    super(sessions, changed);
    notebooks.currentChanged.connect(() => this.take(notebooks.currentWidget));
    consoles?.currentChanged.connect(() => this.take(consoles.currentWidget));
    // A console that is open already becomes current without a change.
    notebooks.activeCellChanged.connect(() => this.take(notebooks.currentWidget));
    this.follow(notebooks.currentWidget ?? consoles?.currentWidget ?? null);
  }

  /** Looks again at what is active. */
  take(document: Document | null): void {
    const held = this.current && !this.current.isDisposed;
    if (this.pinned && held) {
      return;
    }
    this.follow(document ?? this.notebooks.currentWidget ?? this.consoles?.currentWidget ?? null);
  }
}
