/**
 * Output that came while a notebook was closed. Jupyter sends a cell's output only to the page that ran it; the
 * kernel remembers what each cell has shown (raynb/jupyter/output/transcripts.py). A page that comes later asks
 * for it, puts it into cells that provably show an earlier state of it, and goes on to do so; the others are offered.
 */

import type { Kernel } from '@jupyterlab/services';
import type { ICodeCellModel } from '@jupyterlab/cells';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Widget } from '@lumino/widgets';
import type { CellOutputs, OutputsReply } from '../ui/messages';
import { Sessions } from './sessions';
import { Output, compare, plain } from './shown';

/** Between two questions while a cell goes on. */
const PAUSE_MS = 200;
const KINDS = new Set(['stream', 'display_data', 'update_display_data', 'execute_result', 'error', 'clear_output', 'execute_input', 'status']);

/** A run of a cell as this page knows it; `written`: what the page has put into the cell, or found equal there. */
interface Known { run: CellOutputs; outputs: Output[]; written: string | null }

type Heard = { header: { msg_type: string }; parent_header?: { msg_id?: string; session?: string } };

/** Keeps the cells of one notebook complete. */
class CatchUp {
  private known = new Map<string, Known>();
  private kernel: Kernel.IKernelConnection | null = null;
  private leave: (() => void)[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking = false;
  private again = false;
  private took = 0;

  constructor(private panel: NotebookPanel, private sessions: Sessions, private changed: () => void) {
    panel.sessionContext.kernelChanged.connect(this.attach, this);
    panel.disposed.connect(() => this.detach());
    void panel.context.ready.then(() => this.attach());
  }

  /** How many cells show something else than their runs have shown, so that nobody but a person can tell. */
  get offered(): number {
    return [...this.known.values()].filter(one => one.written === null && one.run.whole).length;
  }

  /** Puts into all cells what their runs have shown. */
  catchUp(): void {
    for (const [id, one] of this.known) {
      const model = this.model(id);
      if (one.written === null && model && one.run.whole) {
        this.write(model, one);
      }
    }
    this.changed();
  }

  private attach(): void {
    const kernel = this.panel.isDisposed ? null : this.panel.sessionContext.session?.kernel ?? null;
    if (kernel === this.kernel || !this.panel.context.isReady) {
      return;
    }
    this.detach();
    this.kernel = kernel;
    if (kernel) {
      kernel.iopubMessage.connect(this.heard, this);
      const unfollow = this.sessions.whenOpen(kernel, () => void this.ask());
      this.leave = [unfollow, () => kernel.iopubMessage.disconnect(this.heard, this)];
    }
  }

  private detach(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.leave.forEach(leave => leave());
    this.leave = [];
    this.kernel = null;
    this.known.clear();
    this.changed();
  }

  /** Something was sent for a run that another page has asked for, or this one before it was loaded again. */
  private heard(_: unknown, message: Heard): void {
    const parent = message.parent_header;
    const kind = message.header.msg_type;
    if (!KINDS.has(kind) || !parent?.msg_id) {
      return;
    }
    const own = parent.session === this.kernel?.clientId;
    const concerns = own ? kind === 'execute_input' && this.offered > 0 // what was offered may be of a run before that
      : kind === 'update_display_data' || [...this.known.values()].some(one => one.run.request === parent.msg_id);
    if (concerns && this.timer === undefined) {
      // A long answer is not asked for again and again.
      this.timer = setTimeout(() => {
        this.timer = undefined;
        void this.ask();
      }, Math.max(PAUSE_MS, 5 * this.took));
    }
  }

  private async ask(): Promise<void> {
    const { kernel } = this;
    if (!kernel || this.asking || !this.sessions.isOpen(kernel)) {
      this.again = this.asking;
      return;
    }
    this.asking = true;
    const began = performance.now();
    try {
      for (let more = true; more && kernel === this.kernel;) {
        const seen = Object.fromEntries([...this.known].map(([id, one]) => [id, [one.run.request, one.run.version]]));
        const reply = await this.sessions.of(kernel).requests.ask<OutputsReply>({ do: 'outputs', seen });
        more = reply.ok && reply.more;
        if (reply.ok && kernel === this.kernel) {
          Object.entries(reply.cells).forEach(([id, run]) => this.take(id, run));
        }
      }
    } finally {
      this.asking = false;
      this.took = performance.now() - began;
    }
    this.changed();
    if (this.again) {
      this.again = false;
      void this.ask();
    }
  }

  private take(id: string, run: CellOutputs): void {
    const before = this.known.get(id);
    const one: Known = before?.run.request === run.request ? before : { run, outputs: [], written: null };
    one.run = run;
    one.outputs.length = Math.min(one.outputs.length, run.length);
    for (const [place, output] of Object.entries(run.outputs)) {
      one.outputs[Number(place)] = output;
    }
    const model = this.model(id);
    if (!model || run.session === this.kernel?.clientId) {
      // Of a run that this page has asked for it has all; remembered so that it is not told again.
      one.written = '';
      this.known.set(id, one);
      return;
    }
    const shown = model.outputs.toJSON();
    const mine = one.written !== null && one.written === shown.map(plain).join('\n');
    const saved = this.known.has(id) ? NaN : Date.parse(this.panel.context.contentsModel?.last_modified ?? '') / 1000;
    this.known.set(id, one);
    const found = compare(shown, one.outputs, run, model.executionCount, saved);
    if (mine || found === 'behind') {
      this.write(model, one);
    } else {
      one.written = found === 'same' ? shown.map(plain).join('\n') : null;
    }
  }

  /** Makes a cell show what its run has shown; outputs that are right already are left alone. */
  private write(model: ICodeCellModel, one: Known): void {
    const { outputs } = model;
    const wanted = one.outputs.map(({ updated, ...output }) => output as { output_type: string });
    model.trusted = true; // all of it is the kernel's own, as when the cell is run
    if (outputs.length > wanted.length) {
      outputs.clear(false);
    }
    for (const [place, output] of wanted.entries()) {
      if (place >= outputs.length) {
        outputs.add(output);
      } else if (plain(outputs.get(place).toJSON()) !== plain(output)) {
        outputs.set(place, output);
      }
    }
    if (!one.run.running) {
      model.executionCount = one.run.count;
    }
    one.written = outputs.toJSON().map(plain).join('\n');
  }

  private model(id: string): ICodeCellModel | undefined {
    const found = this.panel.content.widgets.find(cell => cell.model.id === id)?.model;
    return found?.type === 'code' ? found as ICodeCellModel : undefined;
  }
}

/** Does so for all open notebooks. */
export class CatchUps {
  private all = new Map<Widget, CatchUp>();

  /** `changed`: what is offered in some notebook may be other now. */
  constructor(notebooks: INotebookTracker, private sessions: Sessions, private changed: () => void) {
    notebooks.forEach(panel => this.add(panel));
    notebooks.widgetAdded.connect((_, panel) => this.add(panel));
  }

  offered(document: Widget | null): number {
    return (document && this.all.get(document)?.offered) ?? 0;
  }

  catchUp(document: Widget | null): void {
    if (document) {
      this.all.get(document)?.catchUp();
    }
  }

  private add(panel: NotebookPanel): void {
    this.all.set(panel, new CatchUp(panel, this.sessions, this.changed));
    panel.disposed.connect(() => this.all.delete(panel));
  }
}
