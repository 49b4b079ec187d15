/** The widget in the notebook (anywidget): the same views, carried by the widget's own comm. */

import { Dashboard } from './ui/dashboard';
import { KernelMessage } from './ui/messages';
import { Session } from './ui/session';
import { isTab } from './ui/view';

interface Model {
  get(name: 'tab'): string;
  get(name: 'fill'): boolean | undefined;
  send(message: unknown): void;
  on(event: string, handler: (message: KernelMessage) => void): void;
  off(event: string, handler: (message: KernelMessage) => void): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const first = model.get('tab');
  const session = new Session({ send: message => model.send(message) });
  const board = new Dashboard(session, { tab: isTab(first) ? first : 'overview', fill: model.get('fill') });
  const receive = (message: KernelMessage) => session.receive(message);
  model.on('msg:custom', receive);
  board.mount(el);
  return () => {
    model.off('msg:custom', receive);
    board.unmount();
    session.dispose();
  };
}

export default { render };
