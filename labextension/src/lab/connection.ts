/**
 * The comm to one kernel. The kernel opens it when raynb is loaded; a page that comes later finds
 * it by its target's name. Follows restarts: after one, the kernel has forgotten the comm.
 */

import type { Kernel } from '@jupyterlab/services';
import type { KernelMessage } from '../ui/messages';

export const TARGET = 'raynb';

/** 'open': a comm is there, say hello. 'none': raynb isn't loaded. Else the kernel's trouble. */
export type State = 'open' | 'none' | 'restarting' | 'dead' | 'disconnected';

export interface Listener {
  message(message: KernelMessage): void;
  state(state: State): void;
}

export class Connection {
  private comm: Kernel.IComm | null = null;
  private gone = false;
  private trouble = false;

  constructor(readonly kernel: Kernel.IKernelConnection, private listener: Listener) {
    kernel.registerCommTarget(TARGET, this.opened);
    kernel.statusChanged.connect(this.statusChanged, this);
    kernel.connectionStatusChanged.connect(this.connectionChanged, this);
    void this.find();
  }

  send(data: object): void {
    if (this.comm && !this.comm.isDisposed && !this.kernel.isDisposed) {
      this.comm.send(data as Parameters<Kernel.IComm['send']>[0]);
    }
  }

  get open(): boolean {
    return this.comm !== null && !this.comm.isDisposed;
  }

  /** Looks for the comm that the kernel opened before this page was there. */
  async find(): Promise<void> {
    try {
      await this.kernel.info;
      const reply = await this.kernel.requestCommInfo({ target_name: TARGET });
      if (this.gone || this.open) {
        return;
      }
      const ids = reply.content.status === 'ok' ? Object.keys(reply.content.comms) : [];
      if (ids.length) {
        this.take(this.kernel.createComm(TARGET, ids[ids.length - 1]));
      } else {
        this.listener.state('none');
      }
    } catch (error) {
      // The kernel went away while it was asked; its status says so.
      if (!this.gone && !this.trouble) {
        this.listener.state('none');
      }
    }
  }

  dispose(): void {
    this.send({ do: 'bye' });
    this.gone = true;
    this.kernel.statusChanged.disconnect(this.statusChanged, this);
    this.kernel.connectionStatusChanged.disconnect(this.connectionChanged, this);
    if (!this.kernel.isDisposed) {
      this.kernel.removeCommTarget(TARGET, this.opened);
    }
    // Only this page lets go of it (close() would tell the kernel); other pages go on using it.
    this.comm?.dispose();
    this.comm = null;
  }

  private opened = (comm: Kernel.IComm): void => {
    this.take(comm);
  };

  private take(comm: Kernel.IComm): void {
    if (this.gone) {
      return;
    }
    this.comm = comm;
    this.trouble = false;
    comm.onMsg = message => {
      if (this.comm === comm && !this.gone) {
        this.listener.message(message.content.data as unknown as KernelMessage);
      }
    };
    comm.onClose = () => {
      if (this.comm === comm && !this.gone) {
        this.comm = null;
        this.listener.state('none');
      }
    };
    this.listener.state('open');
  }

  private statusChanged(_: unknown, status: string): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead' || status === 'terminating') {
      this.comm = null;
      this.trouble = true;
      this.listener.state(status === 'dead' || status === 'terminating' ? 'dead' : 'restarting');
    } else if (this.trouble && (status === 'idle' || status === 'busy' || status === 'starting')) {
      this.trouble = false;
      void this.find();
    }
  }

  private connectionChanged(_: unknown, status: string): void {
    if (status === 'disconnected' || status === 'connecting') {
      this.comm = null;
      this.trouble = true;
      this.listener.state('disconnected');
    } else if (status === 'connected' && this.trouble) {
      this.trouble = false;
      void this.find();
    }
  }
}
