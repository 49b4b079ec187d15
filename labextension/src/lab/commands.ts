/** What the command palette, the View menu, the launcher and raynb's outputs can do. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Dialog, ICommandPalette, showDialog } from '@jupyterlab/apputils';
import type { ILauncher } from '@jupyterlab/launcher';
import { Request } from '../ui/messages';
import { unfinished } from '../ui/picture';
import { Session } from '../ui/session';
import { TABS, Tab, isTab, tabTitle } from '../ui/view';
import { icon, iconUrl } from './icon';
import { Home } from './panel';
import { openTour } from './tour';

const CATEGORY = 'raynb';

export interface Parts {
  app: JupyterFrontEnd;
  panel: Home;
  session: () => Session;
  interrupt: () => Promise<void> | undefined;
  /** Opens a view as a tab of the main area, beside the document; null where that has room for the document only (Notebook 7). */
  openView: ((tab: Tab, path: string) => void) | null;
}

export const COMMANDS = {
  open: 'raynb:open', view: 'raynb:open-view', tour: 'raynb:tour', interrupt: 'raynb:interrupt', cancelAll: 'raynb:cancel-all',
  catchUp: 'raynb:catch-up'
};

export function addCommands(parts: Parts, palette: ICommandPalette | null, launcher: ILauncher | null): () => void {
  const { app, panel } = parts;
  let rank = 0;
  const conditional: string[] = [];
  const inPalette = (command: string, args?: object) => palette?.addItem({ command, category: CATEGORY, rank: rank++, ...(args ? { args: args as never } : {}) });
  const open = () => panel.reveal(app.shell);
  const showInPanel = (tab: Tab) => {
    panel.board.show(tab);
    open();
  };
  const alive = () => parts.session().picture.life === 'running';
  const busy = () => alive() && unfinished(parts.session().picture.states) > 0;

  app.commands.addCommand(COMMANDS.open, { label: 'Show raynb', caption: 'Show the raynb panel', icon, execute: open });
  inPalette(COMMANDS.open);
  for (const tab of TABS.filter(name => name !== 'nodes')) {
    app.commands.addCommand(`raynb:${tab}`, {
      label: `Show ${tabTitle(tab)} in the Panel`,
      execute: () => showInPanel(tab)
    });
    inPalette(`raynb:${tab}`);
  }
  app.commands.addCommand(COMMANDS.view, {
    label: args => (isTab(String(args.tab ?? '')) && args.tab !== 'overview' ? `Open ${tabTitle(args.tab as Tab)} in a Tab` : 'Open the raynb Dashboard in a Tab'),
    icon,
    isVisible: () => parts.openView !== null,
    execute: args => {
      const wanted = String(args.tab ?? '');
      const tab = isTab(wanted) ? wanted : 'overview';
      if (parts.openView) {
        parts.openView(tab, String(args.path ?? ''));
      } else {
        showInPanel(tab);
      }
    }
  });
  for (const tab of ['overview', 'tasks', 'timeline'] as const) {
    inPalette(COMMANDS.view, { tab });
  }
  app.commands.addCommand(COMMANDS.tour, {
    label: args => (args.isLauncher ? 'raynb Tour' : 'Open the raynb Tour'), caption: 'A notebook that shows what raynb does', icon,
    execute: args => openTour(app, String(args.cwd ?? ''))
  });
  inPalette(COMMANDS.tour);
  launcher?.add({ command: COMMANDS.tour, category: 'Notebook', rank: 90, args: { isLauncher: true }, kernelIconUrl: iconUrl });

  app.commands.addCommand(COMMANDS.interrupt, {
    label: 'Interrupt the Running Cell and Cancel Its Tasks', isEnabled: alive, execute: () => parts.interrupt()
  });
  app.commands.addCommand(COMMANDS.cancelAll, {
    label: 'Cancel All Tasks…', isEnabled: busy,
    execute: async () => {
      const tasks = unfinished(parts.session().picture.states);
      if (await sure('Cancel all tasks?', `${tasks} unfinished ${tasks === 1 ? 'task' : 'tasks'} of this notebook will be cancelled.`, 'Cancel Tasks')) {
        run({ do: 'cancel_all' });
      }
    }
  });
  const run = (request: Request) => {
    open();
    panel.board.command(request);
  };
  for (const command of [COMMANDS.interrupt, COMMANDS.cancelAll]) {
    conditional.push(command);
    inPalette(command);
  }

  let last = '';
  return () => {
    const now = `${alive()} ${busy()}`;
    if (now !== last) {
      last = now;
      conditional.forEach(command => app.commands.notifyCommandChanged(command));
    }
  };
}

/** Adds the command that puts into cells what came while their notebook was closed. */
export function addCatchUp(app: JupyterFrontEnd, execute: () => void, palette: ICommandPalette | null): void {
  app.commands.addCommand(COMMANDS.catchUp, { label: 'Show All Output That Came While the Notebook Was Closed', execute });
  palette?.addItem({ command: COMMANDS.catchUp, category: CATEGORY });
}

async function sure(title: string, body: string, label: string): Promise<boolean> {
  const buttons = [Dialog.cancelButton({ label: 'Keep' }), Dialog.warnButton({ label })];
  const answer = await showDialog({ title, body, buttons });
  return answer.button.accept;
}
