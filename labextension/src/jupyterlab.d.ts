/**
 * The part of JupyterLab's interfaces that the extension uses. The packages themselves are shared
 * by JupyterLab at run time; declaring what is used keeps hundreds of megabytes of types out of
 * the build.
 */

declare module '@lumino/signaling' {
  export interface ISignal<T, U> {
    connect(slot: (sender: T, args: U) => any, thisArg?: any): boolean;
    disconnect(slot: (sender: T, args: U) => any, thisArg?: any): boolean;
  }
}

declare module '@lumino/messaging' {
  export class Message {}
}

declare module '@lumino/widgets' {
  import { Message } from '@lumino/messaging';
  export class Widget {
    constructor(options?: { node?: HTMLElement });
    id: string;
    node: HTMLElement;
    title: { label: string; caption: string; icon?: any; closable: boolean };
    addClass(name: string): void;
    readonly isDisposed: boolean;
    readonly isVisible: boolean;
    dispose(): void;
    protected onAfterShow(message: Message): void;
    protected onAfterHide(message: Message): void;
  }
}

declare module '@jupyterlab/services' {
  import { ISignal } from '@lumino/signaling';
  export namespace Kernel {
    interface IComm {
      readonly commId: string;
      readonly isDisposed: boolean;
      onMsg: (message: { content: { data: any } }) => any;
      onClose: (message: any) => any;
      send(data: any): any;
      dispose(): void;
    }
    interface IKernelConnection {
      readonly id: string;
      readonly status: string;
      readonly isDisposed: boolean;
      readonly statusChanged: ISignal<IKernelConnection, string>;
      readonly connectionStatusChanged: ISignal<IKernelConnection, string>;
      readonly info: Promise<any>;
      registerCommTarget(name: string, callback: (comm: IComm, message: any) => any): void;
      removeCommTarget(name: string, callback: (comm: IComm, message: any) => any): void;
      requestCommInfo(content: { target_name?: string }): Promise<{ content: { status: string; comms: Record<string, any> } }>;
      createComm(target: string, id?: string): IComm;
      hasComm?(id: string): boolean;
      interrupt(): Promise<void>;
      requestExecute(content: { code: string; silent?: boolean }): any;
    }
  }
}

declare module '@jupyterlab/apputils' {
  import { ISignal } from '@lumino/signaling';
  import { Kernel } from '@jupyterlab/services';
  export interface ISessionContext {
    readonly path: string;
    readonly name: string;
    readonly isDisposed: boolean;
    readonly session: { kernel: Kernel.IKernelConnection | null } | null;
    readonly kernelChanged: ISignal<ISessionContext, { newValue: Kernel.IKernelConnection | null }>;
    readonly statusChanged: ISignal<ISessionContext, string>;
  }
  export interface ICommandPalette {
    addItem(options: { command: string; category: string; args?: any }): any;
  }
  export const ICommandPalette: any;
}

declare module '@jupyterlab/notebook' {
  import { ISignal } from '@lumino/signaling';
  import { ISessionContext } from '@jupyterlab/apputils';
  export interface NotebookPanel {
    readonly sessionContext: ISessionContext;
    readonly title: { label: string };
    readonly isDisposed: boolean;
  }
  export interface INotebookTracker {
    readonly currentWidget: NotebookPanel | null;
    readonly currentChanged: ISignal<INotebookTracker, NotebookPanel | null>;
  }
  export const INotebookTracker: any;
}

declare module '@jupyterlab/statusbar' {
  import { Widget } from '@lumino/widgets';
  export interface IStatusBar {
    registerStatusItem(id: string, options: {
      item: Widget; align?: 'left' | 'right' | 'middle'; rank?: number; isActive?: () => boolean;
      activeStateChanged?: any;
    }): { dispose(): void };
  }
  export const IStatusBar: any;
}

declare module '@jupyterlab/ui-components' {
  export class LabIcon {
    constructor(options: { name: string; svgstr: string });
  }
}

declare module '@jupyterlab/application' {
  import { Widget } from '@lumino/widgets';
  export interface ILabShell {
    activateById(id: string): void;
  }
  export interface ILayoutRestorer {
    add(widget: Widget, name: string): void;
  }
  export const ILayoutRestorer: any;
  export interface JupyterFrontEnd {
    readonly commands: {
      addCommand(id: string, options: {
        label: string | (() => string); caption?: string; icon?: any;
        execute: (args: any) => any; isEnabled?: () => boolean;
      }): any;
      execute(id: string, args?: any): Promise<any>;
      notifyCommandChanged(id?: string): void;
    };
    readonly shell: {
      add(widget: Widget, area: string, options?: { rank?: number; type?: string }): void;
      activateById(id: string): void;
    };
  }
  export interface JupyterFrontEndPlugin<T> {
    id: string;
    description?: string;
    autoStart?: boolean;
    requires?: any[];
    optional?: any[];
    activate: (app: JupyterFrontEnd, ...services: any[]) => T;
  }
}
