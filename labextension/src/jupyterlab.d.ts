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

declare module '@lumino/commands' {
  export interface CommandRegistry {
    execute(id: string, args?: any): Promise<any>;
    hasCommand(id: string): boolean;
    notifyCommandChanged(id?: string): void;
    addCommand(id: string, options: {
      label: string | ((args: any) => string); caption?: string | ((args: any) => string); icon?: any;
      execute: (args: any) => any; isEnabled?: (args: any) => boolean; isVisible?: (args: any) => boolean;
    }): any;
  }
}

declare module '@lumino/messaging' {
  export class Message {}
}

declare module '@lumino/widgets' {
  import { Message } from '@lumino/messaging';
  import { ISignal } from '@lumino/signaling';
  export class Widget {
    constructor(options?: { node?: HTMLElement });
    id: string;
    node: HTMLElement;
    readonly title: { label: string; caption: string; icon: any; closable: boolean; readonly changed: ISignal<any, void> };
    readonly isDisposed: boolean;
    readonly isVisible: boolean;
    readonly isAttached: boolean;
    readonly disposed: ISignal<this, void>;
    addClass(name: string): void;
    activate(): void;
    dispose(): void;
    protected onAfterAttach(message: Message): void;
    protected onBeforeDetach(message: Message): void;
    protected onAfterShow(message: Message): void;
    protected onBeforeHide(message: Message): void;
    protected onActivateRequest(message: Message): void;
  }
}

declare module '@jupyterlab/services' {
  import { ISignal } from '@lumino/signaling';
  export namespace Kernel {
    interface IComm {
      readonly commId: string;
      readonly isDisposed: boolean;
      onMsg: (message: { content: { data: any } }) => void | PromiseLike<void>;
      onClose: (message: any) => void | PromiseLike<void>;
      send(data: any): any;
      dispose(): void;
    }
    interface IKernelConnection {
      readonly id: string;
      readonly status: string;
      readonly clientId: string;
      readonly username: string;
      readonly isDisposed: boolean;
      readonly iopubMessage: ISignal<IKernelConnection, {
        header: { msg_type: string; session: string }; parent_header?: { msg_id?: string; session?: string }; content: any;
      }>;
      readonly statusChanged: ISignal<IKernelConnection, string>;
      readonly connectionStatusChanged: ISignal<IKernelConnection, string>;
      readonly info: Promise<any>;
      readonly disposed: ISignal<any, void>;
      registerCommTarget(name: string, callback: (comm: IComm, message: any) => any): void;
      removeCommTarget(name: string, callback: (comm: IComm, message: any) => any): void;
      requestCommInfo(content: { target_name?: string }): Promise<{ content: { status: string; comms: Record<string, any> } }>;
      createComm(target: string, id?: string): IComm;
      hasComm?(id: string): boolean;
      interrupt(): Promise<void>;
      sendControlMessage(message: any, expectReply?: boolean, disposeOnDone?: boolean): { readonly done: Promise<any> };
      requestExecute(content: { code: string; silent?: boolean }): any;
    }
  }
}

declare module '@jupyterlab/apputils' {
  import { Widget } from '@lumino/widgets';
  import { ISignal } from '@lumino/signaling';
  import { Kernel } from '@jupyterlab/services';
  export interface ISessionContext {
    readonly path: string;
    readonly isDisposed: boolean;
    readonly session: { kernel: Kernel.IKernelConnection | null } | null;
    readonly kernelChanged: ISignal<ISessionContext, any>;
    readonly isReady: boolean;
    readonly ready: Promise<void>;
  }
  export interface ICommandPalette {
    addItem(options: { command: string; category: string; args?: any; rank?: number }): any;
  }
  export const ICommandPalette: any;
  export class MainAreaWidget<T extends Widget = Widget> extends Widget {
    constructor(options: { content: T });
    readonly content: T;
  }
  export class WidgetTracker<T extends Widget = Widget> {
    constructor(options: { namespace: string });
    add(widget: T): Promise<void>;
    save(widget: T): Promise<void>;
    find(wanted: (widget: T) => boolean): T | undefined;
    forEach(visit: (widget: T) => void): void;
  }
  export namespace Dialog {
    interface IButton { readonly accept: boolean }
    function cancelButton(options?: { label?: string }): Readonly<IButton>;
    function warnButton(options?: { label?: string }): Readonly<IButton>;
  }
  export function showDialog(options: { title: string; body: string; buttons: ReadonlyArray<Dialog.IButton> }): Promise<{ button: Dialog.IButton }>;
}

declare module '@jupyterlab/rendermime-interfaces' {
  import { Widget } from '@lumino/widgets';
  export namespace IRenderMime {
    interface IMimeModel { readonly data: { [type: string]: any }; setData(options: { data?: any }): void }
    interface ISanitizer { sanitize(dirty: string): string }
    interface IRendererOptions { sanitizer: ISanitizer }
    interface IRenderer extends Widget { renderModel(model: IMimeModel): Promise<void> }
    interface IRendererFactory {
      readonly safe: boolean;
      readonly mimeTypes: ReadonlyArray<string>;
      createRenderer(options: IRendererOptions): IRenderer;
    }
  }
}

declare module '@jupyterlab/notebook' {
  import { Widget } from '@lumino/widgets';
  import { ISignal } from '@lumino/signaling';
  import { ISessionContext } from '@jupyterlab/apputils';
  import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
  export interface NotebookPanel extends Widget {
    readonly sessionContext: ISessionContext;
    readonly context: {
      readonly path: string; readonly isReady: boolean; readonly ready: Promise<void>;
      readonly contentsModel: { readonly last_modified: string } | null;
    };
    readonly content: Widget & {
      readonly widgets: ReadonlyArray<{ readonly model: { readonly id: string; readonly type: string } }>;
      activeCellIndex: number;
      scrollToItem(place: number): Promise<void>;
      readonly rendermime: { addFactory(factory: IRenderMime.IRendererFactory, rank?: number): void };
    };
  }
  export interface INotebookTracker {
    readonly currentWidget: NotebookPanel | null;
    readonly currentChanged: ISignal<INotebookTracker, NotebookPanel | null>;
    readonly activeCellChanged: ISignal<INotebookTracker, any>;
    readonly widgetAdded: ISignal<INotebookTracker, NotebookPanel>;
    forEach(visit: (panel: NotebookPanel) => void): void;
    find(wanted: (panel: NotebookPanel) => boolean): NotebookPanel | undefined;
  }
  export const INotebookTracker: any;
}

declare module '@jupyterlab/cells' {
  export interface ICodeCellModel {
    readonly id: string;
    readonly type: string;
    trusted: boolean;
    executionCount: number | null;
    readonly outputs: {
      readonly length: number;
      get(place: number): { toJSON(): Record<string, unknown> };
      set(place: number, output: object): void;
      add(output: object): number;
      clear(wait: boolean): void;
      toJSON(): Record<string, unknown>[];
    };
  }
}

declare module '@jupyterlab/console' {
  import { Widget } from '@lumino/widgets';
  import { ISignal } from '@lumino/signaling';
  import { ISessionContext } from '@jupyterlab/apputils';
  import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
  export interface ConsolePanel extends Widget {
    readonly sessionContext: ISessionContext;
    readonly console: Widget & { readonly rendermime: { addFactory(factory: IRenderMime.IRendererFactory, rank?: number): void } };
  }
  export interface IConsoleTracker {
    readonly currentWidget: ConsolePanel | null;
    readonly currentChanged: ISignal<IConsoleTracker, ConsolePanel | null>;
    readonly widgetAdded: ISignal<IConsoleTracker, ConsolePanel>;
    forEach(visit: (panel: ConsolePanel) => void): void;
    find(wanted: (panel: ConsolePanel) => boolean): ConsolePanel | undefined;
  }
  export const IConsoleTracker: any;
}

declare module '@jupyterlab/launcher' {
  export interface ILauncher {
    add(options: { command: string; category?: string; rank?: number; args?: any; kernelIconUrl?: string }): any;
  }
  export const ILauncher: any;
}

declare module '@jupyterlab/settingregistry' {
  import { ISignal } from '@lumino/signaling';
  export namespace ISettingRegistry {
    interface ISettings {
      readonly composite: any;
      readonly changed: ISignal<ISettings, void>;
    }
  }
  export interface ISettingRegistry {
    load(plugin: string): Promise<ISettingRegistry.ISettings>;
  }
  export const ISettingRegistry: any;
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
  import { CommandRegistry } from '@lumino/commands';
  import { WidgetTracker } from '@jupyterlab/apputils';
  export interface ILayoutRestorer {
    add(widget: Widget, name: string): void;
    restore<T extends Widget>(tracker: WidgetTracker<T>, options: {
      command: string; args?: (widget: T) => any; name: (widget: T) => string;
    }): Promise<any>;
  }
  export const ILayoutRestorer: any;
  export interface ILabShell { readonly currentWidget: Widget | null }
  export const ILabShell: any;
  export interface JupyterFrontEnd {
    readonly commands: CommandRegistry;
    readonly serviceManager: {
      readonly sessions: { running(): Iterable<{ path: string; kernel: { id: string } | null }> };
      readonly contents: { save(path: string, options: any): Promise<{ path: string }>; get(path: string, options: any): Promise<any> };
    };
    readonly shell: {
      add(widget: Widget, area: string, options?: { rank?: number; type?: string; mode?: string; ref?: string | null }): void;
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
