/** A box of the graph was chosen: shows its cell in whichever open notebook has it. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { GO_TO_CELL } from '../ui/cells';

export function followCells(app: JupyterFrontEnd, notebooks: INotebookTracker): void {
  document.addEventListener(GO_TO_CELL, event => {
    const wanted = (event as CustomEvent<string>).detail;
    notebooks.forEach(({ id, content }) => {
      const place = content.widgets.findIndex(cell => cell.model.id === wanted);
      if (place >= 0) {
        app.shell.activateById(id);
        content.activeCellIndex = place;
        void content.scrollToItem(place);
      }
    });
  });
}
