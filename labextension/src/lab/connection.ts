/**
 * The comm to one kernel. The kernel opens it when raynb is loaded; a page that comes later finds
 * it by its target's name. Follows restarts: after one, the kernel has forgotten the comm.
 */

import type { Kernel } from '@jupyterlab/services';
import type { KernelMessage } from '../ui/messages';
import { commsOf, sendToComm } from './control';

export const TARGET = 'raynb';

/** 'open': a comm is there, say hello. 'none': raynb isn't loaded. Else the kernel's trouble. */
export type State = 'open' | 'none' | 'restarting' | 'dead' | 'disconnected';

export interface Listener {
  message(message: KernelMessage): void;
  state(state: State): void;
}

/** After so long without a word from the kernel it is asked by both channels. */
const DEAF_MS = 4000;
/** The numbers of these questions; those of others are positive. */
const BY_CONTROL = -1;
const BY_SHELL = -2;

export class Connection {
  /** Kernels other than ipykernel may have no control channel that takes comm messages. */
  private control = true;
  private heard = false;
  /** Names the kernel's process. */
  private process = '';
  private deaf: ReturnType<typeof setTimeout> | undefined;
  private comm: Kernel.IComm | null = null;
  private gone = false;
  private trouble = false;

  constructor(readonly kernel: Kernel.IKernelConnection, private listener: Listener) {
    kernel.registerCommTarget(TARGET, this.opened);
    kernel.statusChanged.connect(this.statusChanged, this);
    kernel.connectionStatusChanged.connect(this.connectionChanged, this);
    kernel.iopubMessage.connect(this.spoken, this);
    void this.find();
  }

  send(data: object): void {
    if (!this.comm || this.comm.isDisposed || this.kernel.isDisposed) {
      return;
    }
    if (this.control) {
      if (!this.heard) {
        clearTimeout(this.deaf);
        this.deaf = setTimeout(() => this.fellSilent(), DEAF_MS);
      }
      sendToComm(this.kernel, this.comm.commId, data);
    } else {
      this.comm.send(data as Parameters<Kernel.IComm['send']>[0]);
    }
  }

  get open(): boolean {
    return this.comm !== null && !this.comm.isDisposed;
  }

  /** Looks for the comm that the kernel opened before this page was there. */
  async find(): Promise<void> {
    try {
      const ids = await Promise.race([commsOf(this.kernel, TARGET), this.askShell()]);
      if (this.gone || this.open) {
        return;
      }
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

  /** The same by the shell channel, which answers when no cell runs. */
  private async askShell(): Promise<string[]> {
    await this.kernel.info;
    const reply = await this.kernel.requestCommInfo({ target_name: TARGET });
    return reply.content.status === 'ok' ? Object.keys(reply.content.comms) : [];
  }

  dispose(): void {
    clearTimeout(this.deaf);
    this.gone = true;
    this.kernel.statusChanged.disconnect(this.statusChanged, this);
    this.kernel.connectionStatusChanged.disconnect(this.connectionChanged, this);
    this.kernel.iopubMessage.disconnect(this.spoken, this);
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
    this.heard = false;
    comm.onMsg = message => {
      if (this.comm === comm && !this.gone) {
        this.hear(message.content.data as unknown as KernelMessage);
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

  private hear(message: KernelMessage): void {
    const answered = message.kind === 'reply' ? message.n : 0;
    if (answered === BY_SHELL) {
      if (!this.heard) {
        this.control = false; // unless its answer is only late
        this.listener.state('open');
      }
      return;
    }
    this.heard = true;
    clearTimeout(this.deaf);
    if (answered === BY_CONTROL) {
      this.control = true;
    } else {
      this.listener.message(message);
    }
  }

  /** The kernel may have no control channel for comms, or only be busy: its answers say which of them works. */
  private fellSilent(): void {
    if (this.comm && this.open && !this.gone && !this.heard) {
      sendToComm(this.kernel, this.comm.commId, { do: 'displays', ids: [], n: BY_CONTROL });
      this.comm.send({ do: 'displays', ids: [], n: BY_SHELL });
    }
  }

  /** Another page has restarted the kernel if it speaks with another session: this page is not told otherwise. */
  private spoken(_: unknown, message: { header: { session: string } }): void {
    const { session } = message.header;
    const other = this.process !== '' && session !== this.process;
    this.process = session;
    if (other && this.comm) {
      this.comm = null;
      this.listener.state('restarting');
      void this.find();
    }
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
