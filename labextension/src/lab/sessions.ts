/** One session for each kernel that is looked at, shared by the panel, tabs, outputs and status bar. */

import type { Kernel } from '@jupyterlab/services';
import { Outside, Session } from '../ui/session';
import { Connection, State } from './connection';
import { Displays } from './displays';

export const OUTSIDE: Record<Exclude<State, 'open'> | 'nothing' | 'kernel', Outside> = {
  nothing: {
    title: 'No notebook is open', hint: 'The panel shows the runtime of the active notebook or console.', stale: false
  },
  kernel: { title: 'There is no kernel', hint: 'Choose one with Kernel, Change Kernel.', stale: false },
  none: { title: 'raynb is not loaded in this notebook', hint: 'Load it with %load_ext raynb', stale: false },
  restarting: { title: 'The kernel is restarting', hint: 'Afterwards, run %load_ext raynb again.', stale: false },
  dead: { title: 'The kernel is dead', hint: 'Restart it; then run %load_ext raynb', stale: false },
  disconnected: { title: 'No connection to the kernel', hint: 'The picture is the last that came.', stale: true }
};

/** A session without a kernel, which says why. */
export function blank(why: 'nothing' | 'kernel'): Session {
  const session = new Session({ send: () => undefined });
  session.outside = OUTSIDE[why];
  return session;
}

interface Known { session: Session; connection: Connection; displays: Displays; opened: Set<() => void> }

export class Sessions {
  private known = new Map<Kernel.IKernelConnection, Known>();
  /** Whether no status bar looks at the active kernel, so that cards do it themselves (Notebook 7). */
  cardsLook = false;
  /** Called with each session when its comm opens. */
  onOpen: ((session: Session) => void) | undefined;

  constructor(private running: () => Iterable<{ path: string; kernel: { id: string } | null }>) {}

  of(kernel: Kernel.IKernelConnection): Session {
    return this.entry(kernel).session;
  }

  /** What follows the displays of a kernel. */
  displays(kernel: Kernel.IKernelConnection): Displays {
    return this.entry(kernel).displays;
  }

  /** Calls `action` whenever the comm to a kernel opens, now if it is open; returns what ends that. */
  whenOpen(kernel: Kernel.IKernelConnection, action: () => void): () => void {
    const { opened, connection } = this.entry(kernel);
    opened.add(action);
    if (connection.open) {
      action();
    }
    return () => opened.delete(action);
  }

  isOpen(kernel: Kernel.IKernelConnection): boolean {
    return this.entry(kernel).connection.open;
  }

  private entry(kernel: Kernel.IKernelConnection): Known {
    const found = this.known.get(kernel);
    if (found) {
      return found;
    }
    const session: Session = new Session({
      send: message => connection.send(message),
      interrupt: () => void kernel.interrupt(),
      document: id => [...this.running()].find(one => one.kernel?.id === id)?.path
    });
    session.outside = { title: 'Connecting', hint: '', stale: false };
    const displays = new Displays(kernel, session);
    const opened = new Set<() => void>();
    const connection: Connection = new Connection(kernel, {
      message: message => session.receive(message),
      state: state => {
        this.stateChanged(session, state);
        displays.changed(state);
        if (state === 'open') {
          opened.forEach(action => action());
        }
      }
    });
    const entry = { session, connection, displays, opened };
    this.known.set(kernel, entry);
    kernel.disposed.connect(() => {
      this.known.delete(kernel);
      connection.dispose();
      session.dispose();
      displays.dispose();
    });
    return entry;
  }

  /** The sessions of all kernels that are looked at. */
  all(): Session[] {
    return [...this.known.values()].map(entry => entry.session);
  }

  private stateChanged(session: Session, state: State): void {
    if (state === 'open') {
      session.setOutside({});
      session.greet();
      this.onOpen?.(session);
      return;
    }
    if (state !== 'disconnected') {
      session.picture.reset();
    }
    session.setOutside(OUTSIDE[state]);
  }
}
