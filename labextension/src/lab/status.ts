/** The status bar item: busy slots, the store's use, unfinished tasks. A click opens the panel. */

import { Widget } from '@lumino/widgets';
import { bytes, counted } from '../ui/format';
import { slots } from '../ui/model';
import { unfinished } from '../ui/overview';
import { Follower } from './follower';

export class Status extends Widget {
  private button = document.createElement('button');
  private bar = document.createElement('span');
  private text = document.createElement('span');

  constructor(private follower: Follower, open: () => void) {
    super();
    this.id = 'raynb-status';
    this.button.type = 'button';
    this.button.className = 'rn-status';
    this.button.addEventListener('click', open);
    const track = document.createElement('span');
    track.className = 'rn-status-bar';
    track.setAttribute('aria-hidden', 'true');
    track.append(this.bar);
    this.button.append(track, this.text);
    this.node.append(this.button);
    this.update_();
  }

  /** Draws what the picture says now; hidden while there is no runtime. */
  update_(): void {
    const { picture } = this.follower.board;
    const shown = this.follower.connected;
    this.button.hidden = !shown;
    this.button.style.display = shown ? '' : 'none';
    if (!shown) {
      return;
    }
    const { whole, busy } = slots(picture.total, picture.available);
    const tasks = unfinished(picture.groups);
    const text = `raynb ${+busy.toFixed(1)}/${+whole.toFixed(1)} · ${bytes(picture.store.used)}${tasks ? ` · ${counted(tasks, 'task')}` : ''}`;
    if (this.text.textContent !== text) {
      this.text.textContent = text;
      this.button.title = `raynb in ${this.follower.title}: ${busy} of ${whole} CPU slots busy, ` +
        `${bytes(picture.store.used)} of ${bytes(picture.store.limit)} in the object store, ${counted(tasks, 'unfinished task')}. Opens the panel.`;
      this.button.setAttribute('aria-label', this.button.title);
    }
    this.bar.style.width = `${whole ? (100 * busy) / whole : 0}%`;
  }
}
