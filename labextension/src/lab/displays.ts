/**
 * What the displays of one kernel that change come to say. A page that shows them from a file (it was
 * reloaded, or opened later) hears of no update by itself: this asks what they say by now, and listens.
 */

import type { Kernel } from '@jupyterlab/services';
import type { DisplaysReply } from '../ui/messages';
import type { Session } from '../ui/session';
import { State } from './connection';

export type Bundle = Record<string, unknown>;

/** Somebody who shows a display. */
export interface Shown {
  news(bundle: Bundle): void;
  /** The kernel that could change it is gone; `seen`: while this page was there. */
  gone(seen: boolean): void;
}

export class Displays {
  private shown = new Map<string, Set<Shown>>();
  private state: State | undefined;
  private asks = false;

  constructor(kernel: Kernel.IKernelConnection, private session: Session) {
    kernel.iopubMessage.connect(this.heard, this);
  }

  /** Calls `one` with what the display comes to say; returns what ends that. */
  follow(id: string, one: Shown): () => void {
    const all = this.shown.get(id) ?? new Set();
    this.shown.set(id, all.add(one));
    this.askSoon();
    return () => {
      all.delete(one);
      if (!all.size && this.shown.get(id) === all) {
        this.shown.delete(id);
      }
    };
  }

  /** The connection to the kernel has changed. */
  changed(state: State): void {
    const before = this.state;
    this.state = state;
    if (state === 'open') {
      this.askSoon();
    } else if (state !== 'disconnected') {
      this.end(before === 'open' || before === 'disconnected');
    }
  }

  dispose(): void {
    this.end(this.state === 'open');
  }

  /** Asks for all in one message, once whoever is being drawn has said what it shows. */
  private askSoon(): void {
    if (this.asks || this.state === undefined || this.state === 'disconnected') {
      return;
    }
    this.asks = true;
    queueMicrotask(() => {
      this.asks = false;
      if (this.state !== 'open') {
        this.end(false);
      } else if (this.shown.size) {
        const ids = [...this.shown.keys()];
        void this.session.requests.ask<DisplaysReply & { ok: boolean }>({ do: 'displays', ids })
          .then(reply => reply.ok && this.told(ids, reply.displays));
      }
    });
  }

  private told(ids: string[], found: DisplaysReply['displays']): void {
    for (const id of ids) {
      for (const one of [...this.shown.get(id) ?? []]) {
        if (found[id]) {
          one.news(found[id]);
        } else {
          one.gone(false);
        }
      }
    }
  }

  private heard(_: unknown, message: { header: { msg_type: string }; content: unknown }): void {
    if (message.header.msg_type === 'update_display_data') {
      const content = message.content as { data?: Bundle; transient?: { display_id?: string } };
      for (const one of [...this.shown.get(content.transient?.display_id ?? '') ?? []]) {
        one.news(content.data ?? {});
      }
    }
  }

  private end(seen: boolean): void {
    const all = [...this.shown.values()];
    this.shown.clear();
    all.forEach(some => some.forEach(one => one.gone(seen)));
  }
}
