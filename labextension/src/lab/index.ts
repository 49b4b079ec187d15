/** The JupyterLab extension: a side panel, a status bar item, and commands. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { LabIcon } from '@jupyterlab/ui-components';
import { Widget } from '@lumino/widgets';
import { Follower } from './follower';
import { Status } from './status';

const icon = new LabIcon({
  name: 'raynb:icon',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">' +
    '<circle cx="5" cy="12" r="3"/><circle cx="19" cy="5" r="2.4"/><circle cx="19" cy="12" r="2.4"/>' +
    '<circle cx="19" cy="19" r="2.4"/><path d="M5 11.2h14v1.6H5zM5.6 11.2 18.5 4.3l.8 1.4L6.4 12.6zM6.4 11.4l12.9 6.9-.8 1.4L5.6 12.8z"/></g></svg>'
});

class Panel extends Widget {
  private heading = document.createElement('div');
  private drawn = false;
  private view = document.createElement('div');

  constructor(private follower: Follower) {
    super();
    this.id = 'raynb-panel';
    this.addClass('rn-panel');
    this.title.caption = 'raynb: tasks, actors and objects of the active notebook';
    this.title.icon = icon;
    this.heading.className = 'rn-panel-title';
    this.node.append(this.heading, this.view);
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'raynb');
  }

  /** Shows whose runtime it is. */
  retitle(): void {
    const text = this.follower.title ? `raynb in ${this.follower.title}` : 'raynb';
    if (this.heading.textContent !== text) {
      this.heading.textContent = text;
    }
  }

  protected onAfterShow(): void {
    if (!this.drawn) {
      this.drawn = true;
      this.follower.board.mount(this.view);
    }
  }
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'raynb:plugin',
  description: "Shows the tasks, actors and objects of the active notebook's raynb runtime.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette, IStatusBar, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd, tracker: INotebookTracker, palette: ICommandPalette | null,
    statusBar: IStatusBar | null, restorer: ILayoutRestorer | null
  ) => {
    const follower = new Follower(tracker);
    const panel = new Panel(follower);
    app.shell.add(panel, 'right', { rank: 900, type: 'raynb' });
    restorer?.add(panel, 'raynb-panel');
    const open = () => app.shell.activateById(panel.id);
    const status = new Status(follower, open);
    statusBar?.registerStatusItem('raynb:status', { item: status, align: 'left', rank: 900 });
    follower.board.onChange = () => {
      status.update_();
      panel.retitle();
    };
    // Silence is news too: the bar must not show slots of a runtime that is gone.
    window.setInterval(() => follower.board.onChange?.(), 2000);

    const category = 'raynb';
    const add = (id: string, label: string, execute: () => void) => {
      app.commands.addCommand(id, { label, execute });
      palette?.addItem({ command: id, category });
    };
    const ask = (request: object) => () => {
      open();
      void follower.board.command(request as any);
    };
    add('raynb:open', 'Show the raynb panel', open);
    for (const tab of ['overview', 'tasks', 'actors', 'objects', 'workers', 'timeline'] as const) {
      add(`raynb:${tab}`, `raynb: Show ${tab}`, () => {
        open();
        follower.board.show(tab);
      });
    }
    add('raynb:cancel-all', 'raynb: Cancel all tasks of this notebook', ask({ do: 'cancel_all' }));
    add('raynb:interrupt', 'raynb: Interrupt the running cell and cancel its tasks', () => {
      void follower.kernel?.interrupt();
    });
  }
};

export default plugin;
