/** The tour: a copy of the quickstart, in the folder that is open. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import cells from './tour.json';

interface Cell { cell_type: string; metadata: object; source: string; outputs?: []; execution_count?: null }

/** The tour as a notebook of format 4.4. */
export function tourNotebook(): object {
  const made = (cells as string[][]).map(([kind, source]): Cell =>
    kind === 'code'
      ? { cell_type: 'code', metadata: {}, source, outputs: [], execution_count: null }
      : { cell_type: 'markdown', metadata: {}, source });
  return {
    cells: made, nbformat: 4, nbformat_minor: 4,
    metadata: { kernelspec: { display_name: 'Python 3', language: 'python', name: 'python3' } }
  };
}

/** Writes the tour beside the person's files, under a name that is free, and opens it. */
export async function openTour(app: JupyterFrontEnd, folder: string): Promise<void> {
  const { contents } = app.serviceManager;
  for (let number = 0; ; number++) {
    const path = `${folder ? `${folder}/` : ''}raynb-tour${number ? `-${number}` : ''}.ipynb`;
    const taken = await contents.get(path, { content: false }).then(() => true, () => false);
    if (!taken) {
      const saved = await contents.save(path, { type: 'notebook', format: 'json', content: tourNotebook() });
      await app.commands.execute('docmanager:open', { path: saved.path, factory: 'Notebook' });
      return;
    }
  }
}
