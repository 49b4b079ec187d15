/** What every view gets; the views import this, the app imports the views. */

import { Reply } from './link';
import { Request } from './messages';
import { Filter, Picture } from './picture';
import { Remembered } from './session';

export const TABS = ['overview', 'tasks', 'actors', 'objects', 'workers', 'nodes', 'timeline', 'history', 'cells', 'kernels'] as const;
export type Tab = (typeof TABS)[number];

export const isTab = (name: string): name is Tab => (TABS as readonly string[]).includes(name);

/** What a view's tab is called. */
export const tabTitle = (tab: Tab): string => (tab === 'kernels' ? 'All kernels' : tab[0].toUpperCase() + tab.slice(1));

/** "worker 2"; where there is hardly room, as the timeline's lanes have it: "w2". */
export const workerWords = (worker: number, width: number): string => (width < 300 ? `w${worker}` : `worker ${worker}`);

export interface ViewProps {
  picture: Picture;
  now: number;
  /** Width of the view in px. */
  width: number;
  /** Whether the view fills a box of fixed height (a panel), or is as high as its content (a cell). */
  fill: boolean;
  remembered: Remembered;
  /** Does something and shows the answer. */
  act: (request: Request) => Promise<Reply>;
  /** Asks for something that a view shows itself. */
  ask: <R extends Reply>(request: Request) => Promise<R>;
  show: (tab: Tab, filter?: Partial<Filter>) => void;
  /** The notebook that Jupyter's kernel of this id belongs to now; '' where that is not known. */
  document: (kernel: string) => string;
  /** Draws again: something remembered has changed. */
  redraw: () => void;
}
