/** Views as tabs of the main area: as many as one likes, each of one document's kernel, restored with the layout. */

import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { INotebookTracker } from '@jupyterlab/notebook';
import { Tab } from '../ui/view';
import { ActiveFollower, DocumentFollower } from './follower';
import { Home } from './panel';
import { Sessions, blank } from './sessions';

type Pane = MainAreaWidget<Home>;

export class Panes {
  private tracker = new WidgetTracker<Pane>({ namespace: 'raynb-views' });
  private places = new WeakMap<Pane, { tab: Tab; path: string }>();
  private count = 0;

  constructor(
    private app: JupyterFrontEnd, private notebooks: INotebookTracker, private sessions: Sessions, private active: ActiveFollower
  ) {}

  restore(restorer: ILayoutRestorer, command: string): void {
    void restorer.restore(this.tracker, {
      command,
      args: pane => ({ ...this.places.get(pane) }),
      name: pane => `${this.places.get(pane)?.path}:${this.places.get(pane)?.tab}`
    });
  }

  /** Opens a view of a notebook's kernel (default: the active one's), or shows the one that is open. */
  open(tab: Tab, path: string): void {
    const followed = this.active.current;
    const own = path || this.notebooks.find(panel => panel === followed)?.context.path || '';
    const there = this.tracker.find(pane => this.places.get(pane)?.path === own && this.places.get(pane)?.tab === tab);
    if (there) {
      this.app.shell.activateById(there.id);
      return;
    }
    const home = new Home(blank('nothing'), { tab });
    const pane: Pane = new MainAreaWidget({ content: home });
    pane.id = `raynb-view-${++this.count}`;
    pane.title.label = `raynb ${tab}`;
    pane.title.icon = home.title.icon;
    pane.title.closable = true;
    const place = { tab, path: own };
    this.places.set(pane, place);
    home.board.onTab = to => {
      place.tab = to;
      pane.title.label = `raynb ${to}`;
      void this.tracker.save(pane);
    };
    const follower = new DocumentFollower(this.sessions, (session, title) => home.use(session, title));
    const find = () => {
      if (!follower.current) {
        follower.follow(this.notebooks.find(panel => panel.context.path === own) ?? null);
      }
    };
    find();
    this.notebooks.widgetAdded.connect(find);
    pane.disposed.connect(() => {
      this.notebooks.widgetAdded.disconnect(find);
      follower.dispose();
    });
    void this.tracker.add(pane);
    this.app.shell.add(pane, 'main', { mode: 'split-right', ref: followed && !followed.isDisposed ? followed.id : null });
    this.app.shell.activateById(pane.id);
  }
}
