/** A box of the graph was chosen: shows its cell in whichever open notebook has it. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { GO_TO_CELL } from '../ui/cells';

export function followCells(app: JupyterFrontEnd, notebooks: INotebookTracker): void {
  document.addEventListener(GO_TO_CELL, event => {
    const wanted = (event as CustomEvent<string>).detail;
    const placeIn = (panel: NotebookPanel) => panel.content.widgets.findIndex(cell => cell.model.id === wanted);
    // A copy of a notebook has the same ids: the active one comes first.
    const { currentWidget } = notebooks;
    const panel = currentWidget && placeIn(currentWidget) >= 0 ? currentWidget : notebooks.find(one => placeIn(one) >= 0);
    if (panel) {
      const place = placeIn(panel);
      app.shell.activateById(panel.id);
      panel.content.activeCellIndex = place;
      void panel.content.scrollToItem(place);
    }
  });
}
