/** Follows the active notebook's kernel, and hands its messages to one dashboard. */

import { ISessionContext } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Dashboard, Outside } from '../ui/app';
import { Connection } from './connection';

const OUTSIDE: Record<string, Outside> = {
  notebook: {
    title: 'No notebook is open', hint: 'The panel shows the runtime of the active notebook.', stale: false
  },
  kernel: { title: 'The notebook has no kernel', hint: 'Choose one with Kernel, Change Kernel.', stale: false },
  none: { title: 'raynb is not loaded in this notebook', hint: 'Load it with %load_ext raynb', stale: false },
  restarting: { title: 'The kernel is restarting', hint: 'Afterwards, run %load_ext raynb again.', stale: false },
  dead: { title: 'The kernel is dead', hint: 'Restart it; then run %load_ext raynb', stale: false },
  disconnected: { title: 'No connection to the kernel', hint: 'The picture is the last that came.', stale: true }
};

export class Follower {
  readonly board: Dashboard;
  private connection: Connection | null = null;
  private context: ISessionContext | null = null;
  /** The notebook that is followed. */
  title = '';

  constructor(tracker: INotebookTracker) {
    this.board = new Dashboard({
      send: message => this.connection?.send(message),
      interrupt: () => void this.connection?.kernel.interrupt()
    });
    tracker.currentChanged.connect(() => this.notebookChanged(tracker.currentWidget));
    this.notebookChanged(tracker.currentWidget);
    // The status bar lives on the picture too, so the kernel is asked to go on without the panel.
    window.setInterval(() => this.board.ping(), 20000);
  }

  get connected(): boolean {
    return this.connection?.open === true && this.board.picture.life === 'running';
  }

  get kernel() {
    return this.connection?.kernel ?? null;
  }

  private notebookChanged(panel: NotebookPanel | null): void {
    const context = panel && !panel.isDisposed ? panel.sessionContext : null;
    this.title = panel ? panel.title.label : '';
    if (context === this.context) {
      return;
    }
    this.context?.kernelChanged.disconnect(this.kernelChanged, this);
    this.context = context;
    context?.kernelChanged.connect(this.kernelChanged, this);
    this.follow();
  }

  private kernelChanged(): void {
    this.follow();
  }

  private follow(): void {
    const kernel = this.context?.session?.kernel ?? null;
    if (kernel && this.connection?.kernel === kernel) {
      return;
    }
    this.connection?.dispose();
    this.connection = null;
    this.board.forget();
    if (!kernel) {
      this.board.setOutside(OUTSIDE[this.context ? 'kernel' : 'notebook']);
      return;
    }
    this.board.setOutside({ title: 'Connecting', hint: '', stale: false });
    this.connection = new Connection(kernel, {
      message: data => this.board.receive(data),
      state: state => {
        if (state === 'open') {
          this.board.setOutside({});
          this.board.say('hello');
          return;
        }
        if (state !== 'disconnected') {
          this.board.forget();
        }
        this.board.setOutside(OUTSIDE[state]);
      }
    });
  }
}
