/** Views as tabs of the main area: as many as one likes, each of one document's kernel, restored with the layout. */

import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { IConsoleTracker } from '@jupyterlab/console';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Tab } from '../ui/view';
import { ActiveFollower, Document, DocumentFollower } from './follower';
import { Home } from './panel';
import { Sessions, blank } from './sessions';

type Pane = MainAreaWidget<Home>;

const pathOf = (document: Document): string => (document as NotebookPanel).context?.path ?? document.sessionContext.path;

export class Panes {
  private tracker = new WidgetTracker<Pane>({ namespace: 'raynb-views' });
  private places = new WeakMap<Pane, { tab: Tab; path: string }>();
  private count = 0;

  constructor(
    private app: JupyterFrontEnd, private notebooks: INotebookTracker, private consoles: IConsoleTracker | null,
    private sessions: Sessions, private active: ActiveFollower
  ) {}

  restore(restorer: ILayoutRestorer, command: string): void {
    void restorer.restore(this.tracker, {
      command,
      args: pane => ({ ...this.places.get(pane) }),
      name: pane => `${this.places.get(pane)?.path}:${this.places.get(pane)?.tab}`
    });
  }

  private document(path: string): Document | null {
    const wanted = (one: Document) => pathOf(one) === path;
    return this.notebooks.find(wanted) ?? this.consoles?.find(wanted) ?? null;
  }

  /** Opens a view of a document's kernel (default: the active one's), or shows the one that is open. */
  open(tab: Tab, path: string): void {
    const followed = this.active.current;
    const own = path || (followed && !followed.isDisposed ? pathOf(followed) : '');
    const there = this.tracker.find(pane => this.places.get(pane)?.path === own && this.places.get(pane)?.tab === tab);
    if (there) {
      this.app.shell.activateById(there.id);
      return;
    }
    const home = new Home(blank('nothing'), { tab });
    const pane: Pane = new MainAreaWidget({ content: home });
    pane.id = `raynb-view-${++this.count}`;
    pane.title.icon = home.title.icon;
    pane.title.closable = true;
    const place = { tab, path: own };
    this.places.set(pane, place);
    const describe = () => {
      pane.title.label = `raynb ${place.tab}`;
      pane.title.caption = `raynb ${place.tab} of ${place.path || 'no notebook'}`;
    };
    home.board.onTab = to => {
      place.tab = to;
      describe();
      void this.tracker.save(pane);
    };
    const follower = new DocumentFollower(this.sessions, (session, title) => {
      home.use(session, title);
      const named = follower.current && pathOf(follower.current);
      if (named && named !== place.path) { // it was renamed: the layout comes back with the new name
        place.path = named;
        void this.tracker.save(pane);
      }
      describe();
    });
    const find = () => {
      if (!follower.current) {
        follower.follow(this.document(place.path));
      }
    };
    find();
    this.notebooks.widgetAdded.connect(find);
    this.consoles?.widgetAdded.connect(find);
    pane.disposed.connect(() => {
      this.notebooks.widgetAdded.disconnect(find);
      this.consoles?.widgetAdded.disconnect(find);
      follower.dispose();
    });
    void this.tracker.add(pane);
    this.app.shell.add(pane, 'main', { mode: 'split-right', ref: followed && !followed.isDisposed ? followed.id : null });
    this.app.shell.activateById(pane.id);
  }
}
