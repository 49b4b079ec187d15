/** The homes of the views in JupyterLab: the side panel, and tabs of the main area. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Widget } from '@lumino/widgets';
import { Dashboard, Options } from '../ui/dashboard';
import { counted } from '../ui/format';
import { Session } from '../ui/session';
import { icon } from './icon';

/** Draws a dashboard while it is shown. */
export class Home extends Widget {
  readonly board: Dashboard;
  private heading = document.createElement('div');
  private offer = document.createElement('div');
  private said = document.createElement('span');
  private accept = () => undefined as void;
  private view = document.createElement('div');
  /** Called on Escape, where no row, menu or field takes it: the way back to the document. */
  onLeave: (() => void) | undefined;

  constructor(session: Session, options: Options = {}) {
    super();
    this.board = new Dashboard(session, { ...options, fill: true, outside: true });
    this.addClass('rn-home');
    this.heading.className = 'rn-home-title';
    this.view.className = 'rn-home-view';
    this.offer.className = 'rn-root rn-home-offer';
    this.offer.setAttribute('role', 'status');
    this.offer.hidden = true;
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'rn-button';
    button.textContent = 'Catch up';
    button.title = 'Puts into these cells what their code and their tasks have printed and displayed';
    button.addEventListener('click', () => this.accept());
    this.offer.append(this.said, button);
    this.node.append(this.heading, this.offer, this.view);
    this.node.addEventListener('keydown', event => {
      if (event.key === 'Escape' && !event.defaultPrevented && !(event.target as Element).closest('input, select')) {
        this.onLeave?.();
      }
    });
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'raynb');
    this.title.icon = icon;
  }

  /** Shows another kernel's runtime, and whose it is. */
  use(session: Session, document: string): void {
    const text = document ? `raynb in ${document}` : 'raynb';
    if (this.heading.textContent !== text) {
      this.heading.textContent = text;
    }
    this.board.use(session);
  }

  /** Opens the side bar at it; where it is open already, it only takes the focus (Notebook 7 would close it). */
  reveal(shell: JupyterFrontEnd['shell']): void {
    if (this.isVisible) {
      this.activate();
    } else {
      shell.activateById(this.id);
    }
  }

  /** Offers to put output into so many cells; 0: there is nothing to offer. */
  offers(cells: number, act: () => void): void {
    const text = `${counted(cells, 'cell')} may not show all that came while the notebook was closed.`;
    this.accept = act;
    this.offer.hidden = !cells;
    if (this.said.textContent !== text) {
      this.said.textContent = text;
    }
  }

  protected onAfterShow(): void {
    this.draw();
  }

  protected onAfterAttach(): void {
    if (this.isVisible) {
      this.draw();
    }
  }

  protected onBeforeHide(): void {
    this.board.unmount();
    this.drawn = false;
  }

  protected onBeforeDetach(): void {
    if (this.drawn) {
      this.board.unmount();
      this.drawn = false;
    }
  }

  protected onActivateRequest(): void {
    this.board.focus();
  }

  private drawn = false;

  private draw(): void {
    if (!this.drawn) {
      this.drawn = true;
      this.board.mount(this.view);
    }
  }
}
