/**
 * The way to the kernel, whatever carries it. Requests are numbered and answered; one that is
 * not answered soon means that the kernel is busy and takes messages one after the other.
 */

import { Message } from './model';

export interface Link {
  send(message: Message): void;
  /** Interrupts the running cell; absent where the page cannot do that. */
  interrupt?: () => void;
}

export interface Reply { ok: boolean; text: string; [key: string]: any }

interface Waiting { resolve: (reply: Reply) => void; late: number | undefined }

export class Requests {
  private next = 1;
  private waiting = new Map<number, Waiting>();

  constructor(private link: Link, private lateAfter = 1500) {}

  /** Sends a request; `late` is called once if no answer came in time (it may still come). */
  ask(request: Message, late?: () => void): Promise<Reply> {
    const n = this.next++;
    return new Promise(resolve => {
      const timer = late ? (setTimeout(late, this.lateAfter) as unknown as number) : undefined;
      this.waiting.set(n, { resolve, late: timer });
      this.link.send({ ...request, n });
    });
  }

  /** Gives a reply to whoever waits for it; returns whether somebody did. */
  answered(message: Message): boolean {
    const waiting = this.waiting.get(message.n);
    if (message.kind !== 'reply' || !waiting) {
      return false;
    }
    this.waiting.delete(message.n);
    clearTimeout(waiting.late);
    waiting.resolve(message as unknown as Reply);
    return true;
  }

  /** Ends all that wait: the kernel they were sent to is gone. */
  abandon(why: string): void {
    for (const waiting of this.waiting.values()) {
      clearTimeout(waiting.late);
      waiting.resolve({ ok: false, text: why });
    }
    this.waiting.clear();
  }

  get pending(): number {
    return this.waiting.size;
  }
}
