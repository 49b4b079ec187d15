/**
 * The way to the kernel, whatever carries it. Requests are numbered and answered; one that is
 * not answered soon means that the kernel is busy and takes messages one after the other.
 */

import { Configure, Hello, ReplyMessage, Request } from './messages';

export interface Link {
  send(message: Hello | Configure | (Request & { n: number; runtime?: string })): void;
  /** Interrupts the running cell; absent where the page cannot do that. */
  interrupt?: () => void;
  /** The path of the notebook that a kernel of this id belongs to now; absent where the page cannot know. */
  document?: (kernel: string) => string | undefined;
}

export type Reply = Pick<ReplyMessage, 'ok' | 'text'> & Partial<ReplyMessage>;

interface Waiting { resolve: (reply: Reply) => void; late: ReturnType<typeof setTimeout> | undefined }

export class Requests {
  private waiting = new Map<number, Waiting>();

  /**
   * @param runtime - names the runtime that the person who asks sees: ids mean nothing in another one.
   * @param next - the first number.
   */
  constructor(private link: Link, private lateAfter = 1500, private runtime = () => '', private next = 1) {}

  /** Sends a request; `late` is called once if no answer came in time (it may still come). */
  ask<R extends Reply = Reply>(request: Request, late?: () => void): Promise<R> {
    const n = this.next++;
    return new Promise(resolve => {
      const timer = late ? setTimeout(late, this.lateAfter) : undefined;
      this.waiting.set(n, { resolve: resolve as (reply: Reply) => void, late: timer });
      const runtime = this.runtime();
      this.link.send({ ...request, n, ...(runtime && { runtime }) });
    });
  }

  /** Gives a reply to whoever waits for it; returns whether somebody did. */
  answered(reply: ReplyMessage): boolean {
    const waiting = this.waiting.get(reply.n ?? 0);
    if (!waiting) {
      return false;
    }
    this.waiting.delete(reply.n ?? 0);
    clearTimeout(waiting.late);
    waiting.resolve(reply);
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
