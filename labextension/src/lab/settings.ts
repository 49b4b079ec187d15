/** The settings that JupyterLab's settings editor has for raynb; their schema is schema/plugin.json. */

import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Tab, isTab } from '../ui/view';

export interface Settings {
  side: 'left' | 'right';
  tab: Tab;
  pinned: boolean;
  statusBar: boolean;
  progress: 'kernel' | 'on' | 'off';
}

export const DEFAULTS: Settings = { side: 'right', tab: 'overview', pinned: false, statusBar: true, progress: 'kernel' };

/** Calls `apply` with the settings now and after each change; with the defaults where there are none. */
export async function watchSettings(registry: ISettingRegistry | null, id: string, apply: (settings: Settings) => void): Promise<void> {
  const settings = await registry?.load(id).catch(() => null);
  const tell = () => {
    const found = (settings?.composite ?? {}) as Record<string, unknown>;
    const tab = String(found.tab ?? '');
    apply({
      side: found.side === 'left' ? 'left' : 'right',
      tab: isTab(tab) ? tab : DEFAULTS.tab,
      pinned: found.follow === 'pinned',
      statusBar: found.statusBar !== false,
      progress: found.progress === 'on' || found.progress === 'off' ? found.progress : 'kernel'
    });
  };
  settings?.changed.connect(tell);
  tell();
}
