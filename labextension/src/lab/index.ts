/** The JupyterLab extension: side panel, tabs, status bar item, outputs, commands, settings. */

import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Session } from '../ui/session';
import { CatchUps } from './catch_up';
import { followCells } from './cells';
import { COMMANDS, addCatchUp, addCommands } from './commands';
import { ActiveFollower } from './follower';
import { addRenderers } from './outputs';
import { Home } from './panel';
import { Panes } from './panes';
import { Sessions, blank } from './sessions';
import { Settings, watchSettings } from './settings';
import { Status } from './status';

const ID = 'raynb:plugin';

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: "Shows the tasks, actors and objects of the active notebook's raynb runtime.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [IConsoleTracker, ICommandPalette, IStatusBar, ILayoutRestorer, ISettingRegistry, ILauncher, ILabShell],
  activate: (
    app: JupyterFrontEnd, notebooks: INotebookTracker, consoles: IConsoleTracker | null, palette: ICommandPalette | null,
    statusBar: IStatusBar | null, restorer: ILayoutRestorer | null, registry: ISettingRegistry | null, launcher: ILauncher | null,
    labShell: ILabShell | null
  ) => {
    const sessions = new Sessions(() => app.serviceManager.sessions.running());
    sessions.cardsLook = !statusBar;
    const panel = new Home(blank('nothing'));
    panel.id = 'raynb-panel';
    panel.addClass('rn-panel');
    panel.title.caption = 'raynb: tasks, actors and objects of the active notebook';
    const status = new Status(() => panel.reveal(app.shell));

    let commandsChanged: () => void = () => undefined;
    let shown: Session | undefined;
    let unsubscribe: (() => void) | undefined;
    const active = new ActiveFollower(sessions, notebooks, consoles, (session, title) => {
      panel.use(session, title);
      status.use(session, title);
      if (session !== shown) {
        unsubscribe?.();
        unsubscribe = session.subscribe(() => commandsChanged());
        shown = session;
      }
      commandsChanged();
    });
    panel.onLeave = () => {
      if (active.current && !active.current.isDisposed) {
        app.shell.activateById(active.current.id);
      }
    };
    const panes = new Panes(app, notebooks, consoles, sessions, active);
    commandsChanged = addCommands(
      {
        app, panel, session: () => active.session,
        interrupt: () => active.current?.sessionContext.session?.kernel?.interrupt(),
        openView: labShell ? (tab, path) => panes.open(tab, path) : null
      },
      palette, launcher
    );

    followCells(app, notebooks);
    const catchUps = new CatchUps(notebooks, sessions, () => offer());
    const catchUp = () => catchUps.catchUp(active.current);
    const offer = () => panel.offers(catchUps.offered(active.current), catchUp);
    notebooks.currentChanged.connect(offer);
    addCatchUp(app, catchUp, palette);
    notebooks.forEach(one => addRenderers(one.content.rendermime, one, sessions, app.commands));
    notebooks.widgetAdded.connect((_, one) => addRenderers(one.content.rendermime, one, sessions, app.commands));
    consoles?.forEach(one => addRenderers(one.console.rendermime, one, sessions, app.commands));
    consoles?.widgetAdded.connect((_, one) => addRenderers(one.console.rendermime, one, sessions, app.commands));

    let progress: Settings['progress'] = 'kernel';
    const configure = (session: Session) => session.link.send({ do: 'configure', progress });
    sessions.onOpen = configure;
    let item: { dispose(): void } | undefined;
    let side = '';
    void watchSettings(registry, ID, settings => {
      if (settings.side !== side) {
        side = settings.side;
        app.shell.add(panel, side, { rank: 900, type: 'raynb' });
      }
      if (settings.statusBar && !item) {
        item = statusBar?.registerStatusItem('raynb:status', { item: status, align: 'left', rank: 900 });
      } else if (!settings.statusBar) {
        item?.dispose();
        item = undefined;
      }
      if (!panel.isVisible) {
        panel.board.tab = settings.tab;
      }
      active.pinned = settings.pinned;
      progress = settings.progress;
      sessions.all().forEach(configure);
    });
    restorer?.add(panel, 'raynb-panel');
    if (restorer) {
      panes.restore(restorer, COMMANDS.view);
    }
  }
};

export default plugin;
